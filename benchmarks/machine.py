"""What a benchmark ran on, and one way to keep its figures: a table to read and a JSON file to commit."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
_PACKAGES = (
    "hf_relvit",
    "numpy",
    "pillow",
    "pyarrow",
    "datasets",
    "torch",
    "transformers",
    "accelerate",
)


def describe() -> dict:
    """The machine, how busy it was, and the packages; nothing that tells whose it is."""
    return {
        "cpu": _cpu(),
        **_gpu(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),  # above the number of cores: others were at work too
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
    }


def best(function: Callable[[], object], repeats: int = 3) -> float:
    """Seconds of the fastest of some runs, which other work on the machine disturbs least."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def write(name: str, rows: Iterable[dict]) -> Path:
    """Print the figures and keep them, with the machine, in ``benchmarks/results/<name>.json``.

    Args:
        name: of the benchmark.
        rows: one for each thing measured: ``what`` it is, and its figures, named with their units.
    """
    rows = [{key: _rounded(value) for key, value in figures.items()} for figures in rows]
    machine = describe()
    print(f"{machine['cpu']}, {machine['cores']} cores, load {machine['load']}")
    for figures in rows:
        facts = [
            f"{key.replace('_', ' ')} {value}" for key, value in figures.items() if key != "what"
        ]
        print(f"  {figures['what']}: {', '.join(facts)}")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(
        json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n", encoding="utf-8"
    )
    return path


def _gpu() -> dict:
    """Its name, for benchmarks that use one."""
    torch = sys.modules.get("torch")
    return (
        {"gpu": torch.cuda.get_device_name()}
        if torch is not None and torch.cuda.is_available()
        else {}
    )


def _rounded(value):
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )
