"""Sizes compared with the machine: the impossible is refused in one line before it is tried."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

from .errors import RelViTError

SEEDS = 2**32
"""The random generators take seeds from 0 to this, exclusively."""
MOST_ROWS = 10**9
"""Of a table or a dataset. Our choice: a year of drawing at the speed of two cores."""
MOST_RUNS = 100_000
"""Of a study. Our choice: each is a training of minutes at least."""


def check_seed(seed: object) -> None:
    """Raise RelViTError unless a seed is an integer that every random generator takes."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < SEEDS:
        raise RelViTError(f"seed {seed}: expected an integer from 0 to {SEEDS - 1}")


def check_finite(name: str, value: float, low: float = -math.inf) -> None:
    """Raise RelViTError unless a number is finite and at least ``low``."""
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    if not numeric or not math.isfinite(value) or value < low:
        bound = "" if low == -math.inf else f" of at least {low:g}"
        raise RelViTError(f"{name} {value}: expected a finite number{bound}")


def check_count(
    name: str,
    count: int,
    *,
    least: int = 0,
    most: int = MOST_ROWS,
) -> None:
    """Raise RelViTError for a number that is too small, or beyond anything that can be done in this life."""
    if count < least:
        raise RelViTError(f"{name} {count}: expected at least {least}")
    if count > most:
        raise RelViTError(
            f"{name} {count}: did you mean that many? expected at most {most}", page="size"
        )


def check_memory(name: str, count: int, bytes_each: int) -> None:
    """Raise RelViTError if ``count`` things of ``bytes_each`` bytes do not fit in this machine's memory.

    Args:
        name: of the setting, as the user knows it.
        count: how many things are held at once.
        bytes_each: bytes of one, estimated from below.
    """
    total = memory_bytes()
    if total is not None and count * bytes_each > total:
        raise RelViTError(
            f"{name} {count} needs about {count * bytes_each / 1e9:,.1f} GB of memory, this machine has "
            f"{total / 1e9:.1f} GB: choose at most {total // bytes_each}"
        )


def check_disk(
    name: str,
    count: int,
    bytes_each: int,
    out: Path,
) -> None:
    """Raise RelViTError if ``count`` rows of ``bytes_each`` bytes do not fit on the disk that holds ``out``."""
    folder = Path(out).absolute()
    while not folder.is_dir():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if count * bytes_each > free:
        raise RelViTError(
            f"{name} {count} needs about {count * bytes_each / 1e9:,.1f} GB on the disk of {out}, which has "
            f"{free / 1e9:.1f} GB left: choose at most {free // bytes_each}, or another --out"
        )


def memory_bytes() -> int | None:
    """Memory of this machine, or the share that a container or the system allows this process; None if unknown."""
    sizes = []
    try:
        sizes.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # Windows
        sizes = []
    group = Path("/sys/fs/cgroup/memory.max")
    text = group.read_text(encoding="ascii").strip() if group.is_file() else "max"
    if text.isdecimal():
        sizes.append(int(text))
    return min(sizes, default=None)


def duration(seconds: float) -> str:
    """A time for people, in the unit that fits, such as "12 min"."""
    units = {"s": 1, "min": 60, "h": 3_600, "days": 86_400}
    fitting = [unit for unit, length in units.items() if seconds >= 2 * length]
    unit = fitting[-1] if fitting else "s"
    return f"{seconds / units[unit]:,.0f} {unit}"
