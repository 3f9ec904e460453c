"""A bar moves with every few passes of the model: one step per batch of all pushes shows nothing for minutes."""

from __future__ import annotations

import functools
import sys

import pytest

from hf_relvit import progress
from hf_relvit.analysis.diagnosis import DiagnosisConfig, diagnose

from .measurements import FROM_ANSWERS, FROM_STATES, alignment, probes, whole

MEASURES = FROM_STATES | FROM_ANSWERS
FEW = 4
"""Passes of the model at most until a bar moves: those of a batch as it is come with its first edit."""


class Recorder:
    """Counts passes of a model between moves of any bar, and keeps how far each bar came."""

    def __init__(self):
        self.waited = 0
        self.longest = 0
        self.bars = []

    def passed(self, *_):
        self.waited += 1
        self.longest = max(self.longest, self.waited)

    def moved(self):
        self.waited = 0


class CountedBar:
    """In the place of ``progress_bar``: what the analyses use of a bar."""

    def __init__(self, recorder, iterable=None, *, total=None, disable=False, **options):
        assert not disable
        self.iterable = iterable
        self.total = len(iterable) if total is None else total
        self.n = 0
        self.recorder = recorder
        recorder.bars.append(self)

    def __iter__(self):
        for item in self.iterable:
            yield item
            self.update()

    def update(self):
        self.n += 1
        self.recorder.moved()

    def __enter__(self):
        return self

    def __exit__(self, *ending):
        pass

    def close(self):
        pass

    def set_postfix(self, **values):
        pass

    def set_description_str(self, text):
        pass


@pytest.mark.parametrize("name", MEASURES)
def test_bars_move_with_every_few_passes(name, monkeypatch):
    alignment(0), alignment(1), probes()  # measured elsewhere
    watch(MEASURES[name], monkeypatch)


@pytest.mark.long
def test_bars_move_while_all_of_them_are_made(monkeypatch):
    small = DiagnosisConfig(16, 64, pairs=16, test_pairs=16, epochs=1, layers=(0, 1))
    watch(lambda c, **shown: diagnose(c, c.distribution(), small, **shown), monkeypatch)


def watch(measure, monkeypatch):
    """Measure with bars, and count the passes between their moves."""
    recorder = Recorder()
    usual = progress.progress_bar
    bar = functools.partial(CountedBar, recorder)
    ours = [module for name, module in sys.modules.items() if name.startswith("hf_relvit.")]
    for module in ours:
        if vars(module).get("progress_bar") is usual:
            monkeypatch.setattr(module, "progress_bar", bar)
    model = whole().model
    hook = model.register_forward_hook(recorder.passed)
    try:
        measure(whole(), progress=True)
    finally:
        hook.remove()
    assert recorder.bars
    assert recorder.longest <= FEW
    assert all(bar.n == bar.total for bar in recorder.bars)
