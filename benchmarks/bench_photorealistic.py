"""Photorealistic scenes: seconds per image for both variants, visible noise, processes, memory (224 px)."""

from __future__ import annotations

import importlib.util
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import datasets
import machine
import numpy as np
from threadpoolctl import threadpool_limits

from hf_relvit.building.farm import Farm, Job
from hf_relvit.stimuli.photorealistic.library import Library
from hf_relvit.stimuli.photorealistic.placement import draw_twins, scene_mask
from hf_relvit.stimuli.photorealistic.rendering import SAMPLES, choose_variant, render_photo
from hf_relvit.stimuli.photorealistic.scenes import SceneOptions, pairings

PAIRS = 4
OPTIONS = SceneOptions(n=64)


def scenes(count: int = PAIRS) -> list:
    library = Library.default()
    return [
        scene
        for pair in pairings(OPTIONS, len(library))[:count]
        for scene in draw_twins(pair, OPTIONS, library)
    ]


def one(variant: str) -> None:
    """Run in a process of its own, as a process has one variant: prints its row."""
    library, wanted, wall, cpu = Library.default(), scenes(PAIRS + 1), [], []
    for scene in wanted:
        start, used = time.perf_counter(), time.process_time()
        render_photo(scene, library, variant=variant)
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    first, rest = slice(0, 2), slice(2, None)  # the first two load objects and compile
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(np.mean(wall[rest]), np.mean(cpu[rest]), wall[first][0], peak)


def speed():
    for variant in ("scalar", "llvm"):
        if choose_variant(variant) != variant:
            continue
        command = [sys.executable, __file__, variant]
        wall, cpu, first, peak = map(
            float, subprocess.run(command, capture_output=True, check=True).stdout.split()
        )
        yield {
            "what": f"rendering, {variant}, one thread, {SAMPLES} paths per pixel",
            "seconds_an_image": wall,
            "cpu_seconds_an_image": cpu,
            "first_image_seconds": first,
            "peak_mib": peak,
        }


def noise():
    library = Library.default()
    errors = []
    for scene in scenes(1)[:1]:
        picture, again, reference = (
            render_photo(scene, library, samples=samples).astype(float)
            for samples in (SAMPLES, 4 * SAMPLES, 256)
        )
        errors.append([np.sqrt(((p - reference) ** 2).mean()) for p in (picture, again)])
    yield {
        "what": "difference from 256 paths per pixel, of 255 levels",
        f"rms_with_{SAMPLES}_paths": float(np.mean(errors, 0)[0]),
        f"rms_with_{4 * SAMPLES}_paths": float(np.mean(errors, 0)[1]),
    }


def planning():
    library = Library.default()
    pairs = pairings(OPTIONS, len(library))[:16]
    seconds = machine.best(lambda: [draw_twins(pair, OPTIONS, library) for pair in pairs], 1) / len(
        pairs
    )
    scene = scenes(1)[0]
    mask = machine.best(lambda: scene_mask(scene, library), 3)
    yield {
        "what": "placing two twins; one mask",
        "seconds_two_twins": seconds,
        "seconds_a_mask": mask,
    }


def processes():
    def seconds(count: int) -> float:
        with tempfile.TemporaryDirectory() as stash:
            start = time.perf_counter()
            farm = Farm(Job(SceneOptions(n=12), None, 224, "scalar"), Path(stash) / "stash")
            farm.run(count, "objects", "generator")
            return time.perf_counter() - start

    one_process, two = seconds(1), seconds(2)
    yield {
        "what": "12 images, start of the processes included",
        "seconds_one_process": one_process,
        "seconds_two_processes": two,
        "ratio": one_process / two,
    }


if __name__ == "__main__":
    if importlib.util.find_spec("mitsuba") is None:
        print("skipped: the renderer needs mitsuba, pip install -e '.[render]'")
        sys.exit(0)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    datasets.disable_progress_bars()
    with threadpool_limits(1):
        if len(sys.argv) > 1:
            one(sys.argv[1])
        else:
            print(machine.write("photorealistic", [*speed(), *noise(), *planning(), *processes()]))
