"""Stimuli: rendering, memory when streaming, PNG, and building to Parquet (224 px, noise included)."""

from __future__ import annotations

import io
import resource
import subprocess
import sys
import tempfile
import time

import datasets
import machine
import numpy as np
from PIL import Image

from hf_relvit.building import rows as dataset_rows
from hf_relvit.building.build import build
from hf_relvit.building.dataset_folder import check_folder
from hf_relvit.building.settings import BuildConfig
from hf_relvit.dataset_builders.scenes.builder import Scenes
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.stimuli.objects import ObjectSet
from hf_relvit.stimuli.png import encode_png
from hf_relvit.stimuli.rendering import render
from hf_relvit.stimuli.scenes import SceneTable, sample

B16 = GEOMETRIES["b16"]
BATCH = 64


def render_by_pixel(table: SceneTable) -> np.ndarray:
    """The original algorithm (paper's official code, in our words): a Python loop over the pixels of each object.

    Four draws a pixel, each an array of one number: which of the object's two colors (equal in the paper's stimuli),
    and the noise of three channels, each clipped and cast by itself.
    """
    objects, rng = ObjectSet.default(), np.random.RandomState(0)
    size, patch = table.geometry.sprite_size, table.geometry.patch_size
    images = np.full(
        (len(table), table.geometry.image_size, table.geometry.image_size, 3), 255, dtype=np.uint8
    )
    for i in range(len(table)):
        for j in range(table.shape.shape[1]):
            mean = objects.palette[table.color[i, j]].tolist()
            top, left = (table.corner[i, j].astype(int) * patch + table.jitter[i, j]).tolist()
            for y, x in np.argwhere(objects.sprites(size)[table.shape[i, j]]).tolist():
                color = (mean, mean)[rng.binomial(1, 0.5)]
                pixel = np.zeros(3, dtype=np.uint8)
                for channel in range(3):
                    value = rng.normal(color[channel], 10, size=1)
                    pixel[channel] = value.clip(0, 250).astype(np.uint8).item()
                images[i, top + y, left + x] = pixel
    return images


def render_in_batches(table: SceneTable) -> None:
    for start in range(0, len(table), BATCH):
        render(table[start : start + BATCH])


def rendering():
    for task in ("discrimination", "rmts"):
        table = sample(task, B16, "train", 4096)
        render(table[:BATCH])
        fast = len(table) / machine.best(lambda table=table: render_in_batches(table), 5)
        loop = 16 / machine.best(lambda table=table: render_by_pixel(table[:16]))
        drawn = 6400 / machine.best(lambda task=task: sample(task, B16, "train", 6400))
        rates = {"images_per_second": fast, "loop_images_per_second": loop, "ratio": fast / loop}
        yield {"what": f"rendering, {task}, one core", **rates}
        yield {"what": f"drawing scenes, {task}, one core", "scenes_per_second": drawn}


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def streaming():
    def fresh(blocks):
        for block in blocks:
            render_in_batches(sample("discrimination", B16, "train", 4096, block=block))

    fresh(range(1))
    before = peak_mib()
    fresh(range(1, 14))
    yield {
        "what": "peak memory, from 4,096 to 57,344 rendered images",
        "more_mib": peak_mib() - before,
    }
    with tempfile.TemporaryDirectory() as cache:
        rows = iter(
            Scenes(cache, "b16-256", task="discrimination", n_train=50_000)
            .as_streaming_dataset(split="train")
            .decode(False)
        )
        for _ in range(2_000):
            next(rows)
        before = peak_mib()
        for _ in rows:
            pass
    yield {
        "what": "peak memory, from 2,000 to 50,000 streamed rows of a builder",
        "more_mib": peak_mib() - before,
    }


def encode_default(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def png():
    pictures = render(sample("discrimination", B16, "train", 512))
    rate, size = {}, {}
    for encode in (encode_png, encode_default):
        rate[encode] = len(pictures) / machine.best(
            lambda encode=encode: [encode(picture) for picture in pictures]
        )
        size[encode] = sum(len(encode(picture)) for picture in pictures) / 1000 / len(pictures)
    yield {
        "what": "PNG, one core",
        "images_per_second": rate[encode_png],
        "pillow_images_per_second": rate[encode_default],
        "ratio": rate[encode_png] / rate[encode_default],
        "kb_an_image": size[encode_png],
        "pillow_kb_an_image": size[encode_default],
    }


def building():
    def rate() -> float:
        with tempfile.TemporaryDirectory() as out:
            seconds = machine.best(
                lambda: build(BuildConfig("discrimination", "b16-256"), out, processes=2), 1
            )
            return sum(split["rows"] for split in check_folder(out, "b16-256")["splits"]) / seconds

    ours = rate()
    dataset_rows.encode_png = encode_default
    pillow = rate()
    dataset_rows.encode_png = encode_png
    rates = {"images_per_second": ours, "pillow_images_per_second": pillow, "ratio": ours / pillow}
    yield {"what": "building to Parquet, two processes", **rates}


def shards():
    """The peak memory of a process that builds one shard of ten thousand scenes of a set of any size."""
    for n in (10_000, 1_000_000, 10_000_000):
        command = [sys.executable, __file__, str(n)]
        done = subprocess.run(command, capture_output=True, check=True, text=True)
        peak, seconds = map(float, done.stdout.split())
        yield {
            "what": f"one shard of 10,000 scenes (64 px) of a set of {n:,}",
            "peak_mib": peak,
            "seconds": seconds,
        }


def one_shard(n: int) -> None:
    """Run in a process of its own: prints its peak in MiB, and seconds."""
    count = n // 10_000
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        sizes = {"n_train": n, "n_eval": 2 * count}
        build(BuildConfig("discrimination", "quick-256", **sizes), out, shard=f"{count}/{count}")
        print(peak_mib(), time.perf_counter() - start)


if __name__ == "__main__":
    datasets.disable_progress_bars()
    if len(sys.argv) > 1:
        one_shard(int(sys.argv[1]))
    else:
        measured = [*rendering(), *streaming(), *png(), *building(), *shards()]
        print(machine.write("stimuli", measured))
