"""What Ctrl-C and ``kill`` do to a build and to its worker processes."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

_UNHANDLED = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt if signum == signal.SIGINT else SystemExit(128 + signum)


def _ours() -> list[signal.Signals]:
    return [number for number in _UNHANDLED if signal.getsignal(number) is _interrupt]


@contextlib.contextmanager
def interrupted_once() -> Iterator[None]:
    """Ctrl-C reaches the workers too, `kill` does not: let this process alone act on either, and end the workers."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    # Where there is another handler, somebody else decides.
    free = [
        n for n, default in _UNHANDLED.items() if in_main_thread and signal.getsignal(n) is default
    ]
    for number in free:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number in free:
            signal.signal(number, _UNHANDLED[number])


def _fall_silent(signum: int, frame: FrameType | None) -> None:
    sys.unraisablehook = lambda unraisable: None  # a worker's last words say nothing new


def _into_worker() -> None:
    ours = _ours()
    for number in ours:
        signal.signal(number, _fall_silent if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ours)


# Python forgets a signal that reaches a new process before its first step, and whoever sent it to end the worker waits
# for ever. Held back by the kernel over the fork, it comes when the worker is ready.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, _ours()),
        after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, _ours()),
        after_in_child=_into_worker,
    )
