"""Seconds to `import hf_relvit` and to `relvit --help`, as whole processes beside a bare interpreter."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

import machine

ROUNDS = 9


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    python = sys.executable
    commands = {
        "python -c pass": [python, "-c", "pass"],
        "import hf_relvit": [python, "-c", "import hf_relvit"],
        "relvit --help": [str(Path(python).with_name("relvit")), "--help"],
    }
    times = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            times[name].append(seconds(command))
    bare = statistics.median(times["python -c pass"])
    machine.write(
        "startup",
        [
            {
                "what": name,
                "seconds": statistics.median(values),
                "beyond_python": statistics.median(values) - bare,
            }
            for name, values in times.items()
        ],
    )


if __name__ == "__main__":
    main()
