"""Calls that end by SIGKILL, which no handler sees, at a chosen moment."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable

_CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir")


def killed_before(step: int, work: Callable[[], object]) -> bool:
    """Work in a forked process, killed before its ``step``-th change of a file; False if it comes to its end."""
    child = os.fork()
    if child == 0:
        _kill_before(step)
        work()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL)
    return code != 0


def _kill_before(step: int) -> None:
    changes = itertools.count(1)

    def count(event, given):
        written = event == "open" and given[2] & (os.O_WRONLY | os.O_RDWR)
        if (written or event in _CHANGES) and next(changes) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
