"""Every measurement of a tiny model: for tests that each of them must pass."""

from __future__ import annotations

import functools

from tiny import TINY

from hf_relvit.analysis.activations import Site, capture_residuals
from hf_relvit.analysis.alignment_methods import fit_alignment
from hf_relvit.analysis.attention import AttentionConfig, measure_attention
from hf_relvit.analysis.battery import BatteryConfig, measure_battery
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

SCENES = BatteryConfig(train_scenes=32, validation_scenes=16, scenes=16, attention_scenes=4)
PROBES = ProbeConfig(epochs=1, train_scenes=32, scenes=16)


@functools.cache
def whole():
    checkpoint = build_model(TrainConfig(**TINY))
    checkpoint.model.eval()
    return checkpoint


@functools.cache
def probes():
    return probe(whole(), whole().distribution(), PROBES)


@functools.cache
def alignment(layer):
    return fit_alignment(whole(), pairs("train"), layer, DASConfig(epochs=1))


def pairs(split="test"):
    return whole().distribution().pairs("color", split, 16)


def scenes():
    return whole().distribution().sample("test", 16)


def photos():
    data = open_folder(photorealistic.__path__[0], "tiny")["test"]
    return PhotoPairs.from_dataset(data, whole().geometry)


FROM_STATES = {
    "captures": lambda c, **shown: capture_residuals(
        c, scenes(), [Site("resid_post", 1)], batch_size=4, **shown
    ),
    "attention": lambda c, **shown: measure_attention(
        c, scenes(), AttentionConfig(batch_size=4), **shown
    ),
    "battery": lambda c, **shown: measure_battery(c, "discrimination", SCENES, **shown),
    "similarity": lambda c, **shown: object_similarity(c, photos(), batch_size=4, **shown),
}
"""Measurements that do not read answers, so that the head need not be whole."""
FROM_ANSWERS = {
    "evaluation": lambda c, **shown: evaluate(
        c, sample_splits(c.distribution(), 16), batch_size=4, **shown
    ),
    "search": lambda c, **shown: fit_alignment(
        c, pairs("train"), 0, DASConfig(epochs=2, batch_size=4), **shown
    ),
    "scores": lambda c, **shown: score_alignment(c, alignment(0), pairs(), batch_size=4, **shown),
    "novel": lambda c, **shown: inject_novel(
        c,
        [alignment(0), alignment(1)],
        c.distribution(),
        NovelConfig(bank=16, pairs=16, batch_size=4),
        **shown,
    ),
    "steering": lambda c, **shown: steer(
        c, probes(), scenes(), SteeringConfig(batch_size=8), **shown
    ),
    "knockout": lambda c, **shown: knock_out_heads(
        c, scenes(), KnockoutConfig(heads=1, batch_size=4), **shown
    ),
}
