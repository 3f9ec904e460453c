"""A bar moves with every few passes of the model: one step per batch of all pushes shows nothing for minutes."""

from __future__ import annotations

import functools
import sys

import pytest
from tiny import TINY

from hf_relvit import progress
from hf_relvit.analysis.activations import Site, capture_residuals
from hf_relvit.analysis.alignment_methods import fit_alignment
from hf_relvit.analysis.attention import AttentionConfig, measure_attention
from hf_relvit.analysis.das_config import DASConfig
from hf_relvit.analysis.knockout import KnockoutConfig, knock_out_heads
from hf_relvit.analysis.novel import NovelConfig, inject_novel
from hf_relvit.analysis.probes import ProbeConfig, probe
from hf_relvit.analysis.scores import score_alignment
from hf_relvit.analysis.similarity import object_similarity
from hf_relvit.analysis.steering import SteeringConfig, steer
from hf_relvit.building.dataset_folder import open_folder
from hf_relvit.dataset_builders import photorealistic
from hf_relvit.stimuli.photorealistic.pairs import PhotoPairs
from hf_relvit.training.config import TrainConfig
from hf_relvit.training.evaluation import evaluate, sample_splits
from hf_relvit.training.run import build_model

FEW = 4
"""Passes of the model at most until a bar moves: those of a batch as it is come with its first edit."""


@functools.cache
def checkpoint():
    made = build_model(TrainConfig(**TINY))
    made.model.eval()
    return made


@functools.cache
def probes():
    config = ProbeConfig(epochs=1, train_scenes=32, scenes=16)
    return probe(checkpoint(), checkpoint().distribution(), config)


@functools.cache
def alignment(layer):
    return fit_alignment(checkpoint(), pairs("train"), layer, DASConfig(epochs=1))


def pairs(split="test"):
    return checkpoint().distribution().pairs("color", split, 16)


def scenes():
    return checkpoint().distribution().sample("test", 16)


def photos():
    data = open_folder(photorealistic.__path__[0], "tiny")["test"]
    return PhotoPairs.from_dataset(data, checkpoint().geometry)


SHOWN = {"batch_size": 4, "progress": True}
MEASURES = {
    "captures": lambda c: capture_residuals(c, scenes(), [Site("resid_post", 1)], **SHOWN),
    "attention": lambda c: measure_attention(
        c, scenes(), AttentionConfig(batch_size=4), progress=True
    ),
    "similarity": lambda c: object_similarity(c, photos(), **SHOWN),
    "evaluation": lambda c: evaluate(c, sample_splits(c.distribution(), 16), **SHOWN),
    "search": lambda c: fit_alignment(
        c, pairs("train"), 0, DASConfig(epochs=2, batch_size=4), progress=True
    ),
    "scores": lambda c: score_alignment(c, alignment(0), pairs(), **SHOWN),
    "novel": lambda c: inject_novel(
        c,
        [alignment(0), alignment(1)],
        c.distribution(),
        NovelConfig(bank=16, pairs=16, batch_size=4),
        progress=True,
    ),
    "steering": lambda c: steer(c, probes(), scenes(), SteeringConfig(batch_size=8), progress=True),
    "knockout": lambda c: knock_out_heads(
        c, scenes(), KnockoutConfig(heads=1, batch_size=4), progress=True
    ),
}


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


@pytest.mark.parametrize("name", MEASURES)
def test_bars_move_with_every_few_passes(name, monkeypatch):
    alignment(0), alignment(1), probes()  # measured elsewhere
    recorder = Recorder()
    usual = progress.progress_bar
    bar = functools.partial(CountedBar, recorder)
    ours = [module for name, module in sys.modules.items() if name.startswith("hf_relvit.")]
    for module in ours:
        if vars(module).get("progress_bar") is usual:
            monkeypatch.setattr(module, "progress_bar", bar)
    model = checkpoint().model
    hook = model.register_forward_hook(recorder.passed)
    try:
        MEASURES[name](checkpoint())
    finally:
        hook.remove()
    assert recorder.bars
    assert recorder.longest <= FEW
    assert all(bar.n == bar.total for bar in recorder.bars)
