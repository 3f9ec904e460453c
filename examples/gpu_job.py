# /// script
# requires-python = ">=3.11"
# dependencies = ["hf_relvit"]
#
# [tool.uv]
# find-links = ["/relvit/dist"]  # the wheel of this clone; without this line, the package of the index
#
# [tool.hf-jobs]
# flavor = "h200"
# timeout = "6h"
# secrets = ["HF_TOKEN"]
# volumes = ["dist:/relvit/dist", "examples:/relvit/examples", "benchmarks:/relvit/benchmarks"]
# ///
"""A large experiment on a rented GPU, by one line, from the root of a clone with a wheel in dist/:

    hf jobs uv run examples/gpu_job.py replicate-paper-gpu --repo YOU/replicate-paper-gpu

Its minutes and its cost, before anything is spent: python examples/gpu_job.py replicate-paper-gpu --estimate

The finished cells go to the repository while it runs. The same line goes on with what is there: after a time-out, an
error, or on another flavor.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import subprocess
import sys
import time
from pathlib import Path

from hf_relvit.errors import RelViTError
from hf_relvit.hub.studies import fetch_study, send_study
from hf_relvit.study.cells import cells_of
from hf_relvit.study.grid import IMAGES_PER_SECOND, Study, plan
from hf_relvit.study.run import run_single, run_study
from hf_relvit.training.config import vit

HERE = Path(__file__).resolve().parents[1]
ROOT = HERE if (HERE / "examples").is_dir() else Path("/relvit")
CLIP = "openai/clip-vit-base-patch16"

PRICES_KNOWN_ON = (
    "2026-08-21"  # huggingface.co/docs/hub/jobs-pricing; `hf jobs hardware` has those of today
)


@dataclasses.dataclass(frozen=True)
class Flavor:
    """A machine with one GPU of at least 80 GB, as the analyses keep 45 GB of states there.

    Attributes:
        dollars: per hour.
        speed: beside an H200, by the bf16 operations per second of the data sheets (989, 312 and 504 TFLOP/s).
    """

    dollars: float
    speed: float


FLAVORS = {
    "h200": Flavor(5.00, 1.0),
    "a100-large": Flavor(2.50, 0.32),
    "rtx-pro-6000": Flavor(2.75, 0.51),
}


@dataclasses.dataclass(frozen=True)
class Grid:
    """A grid of examples/.

    Attributes:
        file: its name.
        beside: minutes per run on an H200 beside the training steps, as its head estimates them.
        backbone: to begin with, in place of the folder that the grid names.
    """

    file: str
    beside: float
    backbone: str | None = None


GRIDS = {
    "replicate-paper-gpu": Grid("replicate_paper_gpu.yaml", 2.9, CLIP),
    "table1-gpu-discrimination": Grid("table1_gpu_discrimination.yaml", 1.5),
    "table1-gpu-rmts": Grid("table1_gpu_rmts.yaml", 1.5),
}
BENCHMARKS = ("bench_gpu_training", "bench_gpu_analysis")
BENCH = "bench-gpu"
BENCH_MINUTES = (
    15.0  # on an H200: seven rates of 220 steps with compiling, alignments in all layers
)

REDUCED = dict(
    geometry="quick",
    backbone=vit(12, 48, 12),
    images=32,
    n_train=32,
    batch_size=16,
    n_eval=32,
    evaluations=1,
    warmup_steps=0,
    bf16=False,
    compile=False,
)
REDUCED_CAUSAL = dict(pairs=8, test_pairs=8, epochs=1, scenes=32, test_scenes=8, layers=[11])


def planned(name: str, reduced: bool) -> Study:
    """The study of a grid; reduced to its first and last run on a tiny model, for a CPU."""
    grid = GRIDS[name]
    file = str(ROOT / "examples" / grid.file)
    if not reduced:
        return plan(file, backbone=grid.backbone)
    study = plan(file, **REDUCED)
    causal = study.causal and dataclasses.replace(study.causal, **REDUCED_CAUSAL)
    ends = (study.runs[0], study.runs[-1])
    return dataclasses.replace(study, runs=ends, causal=causal)


def minutes(name: str, study: Study | None, flavor: str) -> float:
    """Estimated from operations, not measured."""
    if study is None:
        return BENCH_MINUTES / FLAVORS[flavor].speed
    training = study.images / IMAGES_PER_SECOND / 60
    beside = GRIDS[name].beside * len(study.runs)
    return (training + beside) / FLAVORS[flavor].speed


def estimate(name: str, study: Study | None, flavor: str, price: float | None) -> str:
    """The work, its minutes and its cost, in words."""
    expected = minutes(name, study, flavor)
    dollars = FLAVORS[flavor].dollars if price is None else price
    source = f"as known on {PRICES_KNOWN_ON}" if price is None else "as given"
    work = study.work if study else f"{len(BENCHMARKS)} benchmarks"
    return (
        f"{name} on {flavor}: {work}, about {expected:.0f} minutes (estimated, not measured), "
        f"about ${expected / 60 * dollars:.2f} at ${dollars:.2f} per hour, {source}"
    )


def do_study(study: Study, out: Path, repo: str, every: float) -> None:
    """Cell by cell, sent every so many minutes and at the end."""
    total = sum(len(cells_of(run, study, out / run.name)) for run in study.runs)
    sent = time.monotonic()
    for number in range(1, total + 1):
        print(f"[{number}/{total}] {run_single(study, out, number)}", flush=True)
        if time.monotonic() - sent >= 60 * every:
            try_to_send(out, repo)
            sent = time.monotonic()
    run_study(study, out)
    send_study(out, repo)


def try_to_send(out: Path, repo: str) -> None:
    """A Hub that cannot be reached for a while does not end hours of work: the next commit has these files, too."""
    try:
        send_study(out, repo)
    except RelViTError as error:
        print(f"not sent: {error}", flush=True)


def do_benchmarks(out: Path, repo: str, reduced: bool) -> None:
    """Each in a process of its own, from a copy of the folder: a mounted one cannot be written to."""
    code = out.parent / "benchmarks"
    shutil.copytree(ROOT / "benchmarks", code, ignore=shutil.ignore_patterns("results"))
    for name in BENCHMARKS:
        result = name.removeprefix("bench_") + ("_reduced.json" if reduced else ".json")
        if (out / result).exists():
            print(f"{name}: finished before", flush=True)
            continue
        subprocess.run(
            [sys.executable, code / f"{name}.py", *(["--reduced"] if reduced else [])], check=True
        )
        out.mkdir(exist_ok=True)
        shutil.copy(code / "results" / result, out)
        send_study(out, repo)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("grid", choices=[*GRIDS, BENCH])
    parser.add_argument("--repo", help="OWNER/NAME of a dataset repository, private if it is new")
    parser.add_argument("--estimate", action="store_true", help="print minutes and cost, and stop")
    parser.add_argument("--flavor", choices=FLAVORS, default="h200", help="for the estimate")
    parser.add_argument("--price", type=float, help="dollars per hour, in place of the known price")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of the studies")
    parser.add_argument("--every", type=float, default=5, help="minutes from commit to commit")
    parser.add_argument("--reduced", action="store_true", help="two tiny runs, to try it on a CPU")
    options = parser.parse_args()
    study = None if options.grid == BENCH else planned(options.grid, options.reduced)
    print(estimate(options.grid, study, options.flavor, options.price), flush=True)
    if options.estimate:
        return
    if options.repo is None:
        parser.error("--repo OWNER/NAME: where the results go")
    out = options.out / options.grid
    fetch_study(options.repo, out)
    if study is None:
        do_benchmarks(out, options.repo, options.reduced)
    else:
        do_study(study, out, options.repo, options.every)


if __name__ == "__main__":
    try:
        main()
    except RelViTError as error:
        sys.exit(f"error: {error}")
