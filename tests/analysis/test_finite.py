"""A model whose numbers are not finite ends every measurement in one line, and no table is made from it."""

from __future__ import annotations

import copy

import pytest
import torch

from hf_relvit.analysis.align import AlignConfig, align
from hf_relvit.analysis.alignment_methods import fit_alignment
from hf_relvit.analysis.attention import measure_attention
from hf_relvit.analysis.das_config import DASConfig
from hf_relvit.analysis.diagnosis import DiagnosisConfig, diagnose
from hf_relvit.analysis.probes import probe
from hf_relvit.analysis.scores import score_alignment
from hf_relvit.errors import RelViTError
from hf_relvit.modeling.finite import FiniteWatch
from hf_relvit.recipes.recipes import RECIPES

from . import measurements
from .measurements import PROBES, alignment, pairs, photos, whole

FROM_STATES = measurements.FROM_STATES | {
    "attention of photos": lambda c: measure_attention(c, photos()),
    "probes": lambda c: probe(c, c.distribution(), PROBES),
}
FROM_ANSWERS = measurements.FROM_ANSWERS | {
    "alignments": lambda c: align(
        c, c.distribution(), AlignConfig(pairs=16, test_pairs=16, epochs=1)
    ),
    "search with patience": lambda c: fit_alignment(c, pairs("train"), 0, DASConfig(patience=1)),
    "control": lambda c: score_alignment(c, alignment(0), pairs(), "wrong_object"),
    "diagnosis": lambda c: diagnose(c, c.distribution(), DiagnosisConfig(scenes=16)),
}


def test_every_analysis_is_here():
    known = {"das", "das_random"} | FROM_STATES.keys() | FROM_ANSWERS.keys()
    assert set(RECIPES) <= known, "add the new one to the measurements"


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
