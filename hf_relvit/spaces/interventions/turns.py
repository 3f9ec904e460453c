"""Whose turn it is: one thread at a time uses a model, and curves wait for those who wait for an answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """A lock with two classes of users. Hooks belong to the model, so nobody may run it beside another."""

    def __init__(self):
        self._model = threading.Lock()
        self._changed = threading.Condition()
        self._asking = 0

    @contextmanager
    def answer(self) -> Iterator[None]:
        """For work that a visitor waits for."""
        with self._changed:
            self._asking += 1
        try:
            with self._model:
                yield
        finally:
            with self._changed:
                self._asking -= 1
                self._changed.notify_all()

    @contextmanager
    def curve(self) -> Iterator[None]:
        """For work that is filled in afterwards: begins only while nobody waits for an answer."""
        with self._changed:
            self._changed.wait_for(lambda: not self._asking)
        with self._model:
            yield
