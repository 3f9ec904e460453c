"""Ten million scenes in a hundred shards, built one after the other: the peak memory of the process of each.

    python benchmarks/ten_million_scenes.py [MINUTES [AT_ONCE]]

Pictures have 48 px. A shard is measured and removed before the next one, so the disk holds one. Figures are kept in
``results/shards.json``; a run that was stopped goes on there. Not in `make bench`: it takes hours.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import datasets
import machine

from hf_relvit.building.build import build
from hf_relvit.building.settings import BuildConfig

SHARDS = 100
SIZES = {"n_train": 10_000_000, "n_eval": 1_600}
RESULT = machine.RESULTS / "shards.json"


def measured() -> list[dict]:
    """The shards of earlier runs."""
    if not RESULT.exists():
        return []
    rows = json.loads(RESULT.read_text(encoding="utf-8"))["rows"]
    return [row for row in rows if "shard" in row]


def in_a_process(number: int) -> dict:
    command = [sys.executable, __file__, "--shard", str(number)]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def one_shard(number: int) -> dict:
    """Run in a process of its own."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        settings = BuildConfig("discrimination", "mini-256", **SIZES)
        folder = build(settings, out, shard=f"{number}/{SHARDS}", say=str)
        files = list(folder.glob("*.parquet"))
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        megabytes = sum(file.stat().st_size for file in files) / 1e6
    return {
        "what": f"shard {number} of {SHARDS}",
        "shard": number,
        "scenes": sum(split["rows"] for split in manifest["splits"]),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "megabytes": megabytes,
        "seconds": time.perf_counter() - start,
    }


def summary(shards: list[dict]) -> dict:
    peaks = sorted(shard["peak_mib"] for shard in shards)
    return {
        "what": f"{len(shards)} of {SHARDS} shards of a set of {SIZES['n_train']:,} training scenes",
        "scenes": sum(shard["scenes"] for shard in shards),
        "lowest_peak_mib": peaks[0],
        "median_peak_mib": peaks[len(peaks) // 2],
        "highest_peak_mib": peaks[-1],
    }


def missing(done: set[int]) -> Iterator[int]:
    """Numbers of the shards that are left: first, last and middle, then all in their order."""
    for number in dict.fromkeys((1, SHARDS, SHARDS // 2, *range(1, SHARDS + 1))):
        if number not in done:
            yield number


def main(minutes: float, at_once: int) -> Path:
    shards = measured()
    start = time.monotonic()
    left = missing({shard["shard"] for shard in shards})
    with ThreadPoolExecutor(at_once) as threads:
        running = [threads.submit(in_a_process, number) for number in islice(left, at_once)]
        while running:
            shards.append(running.pop(0).result())
            machine.write("shards", [summary(shards), *shards])
            if time.monotonic() - start < 60 * minutes:
                running += [threads.submit(in_a_process, number) for number in islice(left, 1)]
    return RESULT


if __name__ == "__main__":
    datasets.disable_progress_bars()
    if sys.argv[1:2] == ["--shard"]:
        print(json.dumps(one_shard(int(sys.argv[2]))))
    else:
        given = dict(enumerate(sys.argv))
        print(main(float(given.get(1, "inf")), int(given.get(2, 1))))
