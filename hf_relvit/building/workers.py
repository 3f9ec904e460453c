"""Work in other processes: spawned, never forked, and none outlives the process that gave the work out.

A forked copy of a process that runs threads (pyarrow, torch, a progress bar) may hang on a lock that a thread held,
and a signal that meets a fork may be lost. A spawned process starts clean, so no signal needs a handler: whatever ends
the owner ends the work, and a worker that finds its owner gone ends itself.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

from ..errors import RelViTError

_CONTEXT = multiprocessing.get_context("spawn")
_ITEM, _DONE, _FAILED = range(3)


class WorkerLost(RelViTError):
    """A worker process ended without an answer."""


class Workers:
    """Spawned processes that are started when there is work, kept for more, and killed at the end of the block.

    Example::

        with Workers(2) as workers:
            for number, item in workers.run(function, [(argument,), (another,)]):
                ...
    """

    def __init__(self, count: int):
        self.count = count
        self._processes: dict[Connection, Any] = {}

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *ending: object) -> None:
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.join()

    def run(
        self, function: Callable[..., Iterable], jobs: Sequence[tuple]
    ) -> Iterator[tuple[int, Any]]:
        """Call ``function(*job)`` for each job, and yield (number of the job, item) for each of the items it gives.

        Args:
            function: gives an iterable; like the jobs and the items, it is pickled.
            jobs: started in their order; items of several jobs come in any order.

        Raises:
            WorkerLost: a worker was killed.
            Exception: the first that a job raised.
        """
        waiting = deque(enumerate(jobs))
        self._start(min(self.count, len(jobs)))
        idle = list(self._processes)
        busy: dict[Connection, int] = {}
        while waiting or busy:
            while waiting and idle:
                connection = idle.pop()
                number, job = waiting.popleft()
                busy[connection] = number
                self._send(connection, (function, job))
            ready: Any = wait(list(busy))
            for connection in ready:
                kind, content = self._receive(connection)
                if kind == _ITEM:
                    yield busy[connection], content
                elif kind == _DONE:
                    del busy[connection]
                    idle.append(connection)
                else:
                    raise content

    def _start(self, count: int) -> None:
        resource_tracker.ensure_running()  # it would undo the mask of `_without_ctrl_c`
        while len(self._processes) < count:
            connection, remote = _CONTEXT.Pipe()
            process = _CONTEXT.Process(target=_serve, args=(remote,), daemon=True)
            try:
                with _without_ctrl_c():
                    process.start()
            except RuntimeError as error:  # a worker that runs the script of its owner
                raise RelViTError(
                    "several processes from a script: expected its calls below `if __name__ == '__main__':`, "
                    "or one process"
                ) from error
            self._processes[connection] = process
            remote.close()

    def _send(self, connection: Connection, message: tuple) -> None:
        try:
            connection.send(message)
        except OSError as error:
            raise self._lost(connection) from error

    def _receive(self, connection: Connection) -> tuple[int, Any]:
        try:
            return connection.recv()
        except (EOFError, OSError) as error:
            raise self._lost(connection) from error

    def _lost(self, connection: Connection) -> WorkerLost:
        process = self._processes[connection]
        process.join(1)
        return WorkerLost(
            f"a worker process ended with code {process.exitcode}, perhaps for want of memory: run the same again, "
            "with fewer --processes"
        )


@contextlib.contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Processes that start here never see Ctrl-C, which a terminal sends to all; the owner gets it after the block."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection) -> None:
    """A worker's life: calls, and the items that they give, until its owner ends."""
    threading.Thread(target=_end_with_owner, daemon=True).start()
    while True:
        function, job = connection.recv()
        try:
            for item in function(*job):
                connection.send((_ITEM, item))
            connection.send((_DONE, None))
        except Exception as error:
            # The cause, as pickle keeps none; its traceback as a note.
            cause = error.__cause__ or error
            cause.add_note("".join(traceback.format_exception(error)))
            connection.send((_FAILED, cause))


def _end_with_owner() -> None:
    owner = multiprocessing.parent_process()
    assert owner is not None
    owner.join()
    os._exit(1)
