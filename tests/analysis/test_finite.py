"""A model whose numbers are not finite ends every measurement in one line, and no table is made from it."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from tiny import TINY

from hf_relvit.analysis.align import AlignConfig, align
from hf_relvit.analysis.alignment_methods import fit_alignment
from hf_relvit.analysis.attention import measure_attention
from hf_relvit.analysis.das_config import DASConfig
from hf_relvit.analysis.diagnosis import DiagnosisConfig, diagnose
from hf_relvit.analysis.knockout import KnockoutConfig, knock_out_heads
from hf_relvit.analysis.novel import NovelConfig, inject_novel
from hf_relvit.analysis.probes import ProbeConfig, probe
from hf_relvit.analysis.scores import score_alignment
from hf_relvit.analysis.similarity import object_similarity
from hf_relvit.analysis.steering import SteeringConfig, steer
from hf_relvit.building.dataset_folder import open_folder
from hf_relvit.dataset_builders import photorealistic
from hf_relvit.errors import RelViTError
from hf_relvit.modeling.finite import FiniteWatch
from hf_relvit.recipes.recipes import RECIPES
from hf_relvit.stimuli.photorealistic.pairs import PhotoPairs
from hf_relvit.training.config import TrainConfig
from hf_relvit.training.evaluation import evaluate, sample_splits
from hf_relvit.training.run import build_model

PROBES = ProbeConfig(epochs=1, train_scenes=32, scenes=16)
SWAPS = DASConfig(epochs=1)


@functools.cache
def whole():
    checkpoint = build_model(TrainConfig(**TINY))
    checkpoint.model.eval()
    return checkpoint


@functools.cache
def probes():
    return probe(whole(), whole().distribution(), PROBES)


@functools.cache
def alignment():
    return fit_alignment(whole(), pairs("train"), 0, SWAPS)


def pairs(split="test"):
    return whole().distribution().pairs("color", split, 16)


def scenes(count=16):
    return whole().distribution().sample("test", count)


def photos():
    data = open_folder(photorealistic.__path__[0], "tiny")["test"]
    return PhotoPairs.from_dataset(data, whole().geometry)


FROM_STATES = {
    "attention": lambda c: measure_attention(c, scenes()),
    "attention of photos": lambda c: measure_attention(c, photos()),
    "probes": lambda c: probe(c, c.distribution(), PROBES),
    "similarity": lambda c: object_similarity(c, photos()),
}
"""Measurements that do not read answers, so that the head need not be whole."""
FROM_ANSWERS = {
    "alignments": lambda c: align(
        c, c.distribution(), AlignConfig(pairs=16, test_pairs=16, epochs=1)
    ),
    "search": lambda c: fit_alignment(c, pairs("train"), 0, SWAPS),
    "search with patience": lambda c: fit_alignment(c, pairs("train"), 0, DASConfig(patience=1)),
    "scores": lambda c: score_alignment(c, alignment(), pairs()),
    "control": lambda c: score_alignment(c, alignment(), pairs(), "wrong_object"),
    "novel": lambda c: inject_novel(
        c, [alignment()], c.distribution(), NovelConfig(bank=16, pairs=16)
    ),
    "steering": lambda c: steer(c, probes(), scenes(), SteeringConfig((1.0,))),
    "knockout": lambda c: knock_out_heads(c, scenes(), KnockoutConfig(heads=1)),
    "evaluation": lambda c: evaluate(c, sample_splits(c.distribution(), 16)),
    "diagnosis": lambda c: diagnose(c, c.distribution(), DiagnosisConfig(scenes=16)),
}


def test_every_analysis_is_here():
    known = {"das", "das_random"} | FROM_STATES.keys() | FROM_ANSWERS.keys()
    assert set(RECIPES) <= known, "add the new one above"


def broken(place: str, value: float):
    """The checkpoint with one weight that is not finite; the fingerprints of its blocks are as they were."""
    checkpoint = copy.deepcopy(whole())
    model = checkpoint.model
    first = next(model.backbone.parameters())
    weight = first if place == "embeddings" else model.classifier.weight
    with torch.no_grad():
        weight.view(-1)[0] = value
    return checkpoint


def refused(measure, checkpoint):
    with pytest.raises(RelViTError, match=r"not finite|loss of epoch 1 is nan") as caught:
        measure(checkpoint)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("name", FROM_STATES | FROM_ANSWERS)
def test_states_that_are_not_finite_are_one_line(name, value):
    refused((FROM_STATES | FROM_ANSWERS)[name], broken("embeddings", value))


@pytest.mark.parametrize("name", FROM_ANSWERS)
def test_answers_that_are_not_finite_are_one_line(name):
    refused(FROM_ANSWERS[name], broken("head", torch.nan))


def test_a_watch_asks_once_and_remembers():
    watch = FiniteWatch("numbers")
    watch.check()
    watch.see(torch.ones(3))
    watch.check()
    watch.see(torch.tensor([1, torch.inf]))
    watch.see(torch.ones(2, 2))
    with pytest.raises(RelViTError, match=r"^numbers that are not finite"):
        watch.check()
