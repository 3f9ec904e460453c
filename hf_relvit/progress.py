"""Progress of long loops: a bar on a terminal, one line per 10 % in a log, nothing where it is silenced."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm as plain_bar
from tqdm.auto import tqdm as bar_or_widget

PATIENCE = 5.0
"""Seconds from which on a loop is worth a line in a log; our choice."""


class _State:
    silent = False


def silence(silent: bool) -> None:
    """Whether bars and lines are left out in this process from now on, as by ``relvit -q``."""
    _State.silent = silent


def on_terminal() -> bool:
    """Whether a bar can be drawn: in a log, a bar is lines without end."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def progress_bar(iterable: Iterable | None = None, **options: Any) -> plain_bar:
    """A bar of tqdm, with its parameters; a bar that writes lines where there is no terminal."""
    if _State.silent:
        options["disable"] = True
    kind = bar_or_widget if on_terminal() else LineBar
    return kind(iterable, **options)


def slices(count: int, size: int) -> list[slice]:
    """The batches of so many rows, the last one as it comes."""
    return [slice(start, start + size) for start in range(0, count, size)]


def batches(
    count: int,
    size: int,
    label: str,
    shown: bool,
) -> Iterable[slice]:
    """As ``slices``, behind a bar."""
    return progress_bar(slices(count, size), desc=label, disable=not shown, leave=False)


def run_passes(
    add: Callable[[slice], Iterable],
    parts: Sequence[slice],
    passes: int,
    **options: Any,
) -> None:
    """Give each batch to ``add``, which tells after each of its passes; ``options`` of the bar over all of them."""
    total = len(parts) * passes
    with progress_bar(total=total, leave=False, **options) as bar:
        for part in parts:
            for _ in add(part):
                bar.update()


@contextmanager
def library_bars() -> Iterator[None]:
    """The bars of transformers, such as "Loading weights", are drawn inside only where ours are drawn as bars."""
    from transformers.utils import logging

    hidden = logging.is_progress_bar_enabled() and (_State.silent or not on_terminal())
    if hidden:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if hidden:
            logging.enable_progress_bar()


@contextmanager
def transfer_bars() -> Iterator[None]:
    """As ``library_bars``, for the uploads and downloads of huggingface_hub."""
    from huggingface_hub import utils

    hidden = not utils.are_progress_bars_disabled() and (_State.silent or not on_terminal())
    if hidden:
        utils.disable_progress_bars()
    try:
        yield
    finally:
        if hidden:
            utils.enable_progress_bars()


class LineBar(plain_bar):
    """A line at each 10 %, from ``PATIENCE`` seconds on: short loops write nothing."""

    def __init__(self, iterable: Iterable | None = None, **options: Any):
        self.begun = time.monotonic()
        self.tenths = 0
        super().__init__(iterable, **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Write the line that is due; the bar of tqdm is not used."""
        seconds = time.monotonic() - self.begun
        tenths = int(10 * self.n / self.total) if self.total else 0
        if tenths <= self.tenths or seconds < PATIENCE:
            return
        self.tenths = tenths
        name = self.desc.removesuffix(": ") or "progress"
        elapsed = self.format_interval(seconds)
        latest = f", {self.postfix}" if self.postfix else ""
        line = f"{name}: {10 * tenths} % ({self.n} of {self.total}, {elapsed}){latest}"
        print(line, file=self.fp, flush=True)

    def close(self) -> None:
        """End without the empty line and the carriage return of a bar."""
        if not self.disable:
            self.display()
            self.leave = False
            super().close()

    def clear(self, nolock: bool = False) -> None:
        """Nothing: lines are not taken back."""

    def moveto(self, n: int) -> None:
        """Nothing: lines have no position."""
