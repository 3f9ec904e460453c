"""The memory of large tensors on a CPU: kept for the next ones, not given back to the system after every operation.

On Linux, glibc asks the system for each large block and gives it back when it is freed, so a forward pass of a ViT
meets hundreds of thousands of page faults. ``benchmarks/bench_allocator.py`` says how much time they take.
"""

from __future__ import annotations

import ctypes
import os
import sys

_OPTIONS = {
    "M_MMAP_THRESHOLD": (-3, 1 << 30),
    "M_TRIM_THRESHOLD": (-1, (1 << 31) - 1),
    "M_TOP_PAD": (-2, 1 << 26),
}
"""Name in mallopt(3) -> its number in malloc.h and its value, bytes: blocks below 1 GiB come from memory that is kept;
a process grows in steps of 64 MiB."""


def keep_freed_memory() -> bool:
    """Let this process keep freed memory for its next tensors; the whole process then stays as large as it ever was.

    Nothing happens outside of glibc, or where the user has set ``MALLOC_...`` variables.

    Returns:
        Whether it does from now on.
    """
    decided = any(name.startswith("MALLOC_") for name in os.environ)
    if decided or sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library, such as musl
        return False
    return all(mallopt(number, value) == 1 for number, value in _OPTIONS.values())
