"""Where one of some words is expected, any other is refused: taken for the last of them, it would change a result."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from importlib import import_module

import numpy as np
import pytest
from test_public import LAZY
from tiny import TINY

from hf_relvit import analysis
from hf_relvit.analysis.battery import subject_of_task
from hf_relvit.analysis.validity import unmapped_pairs
from hf_relvit.building.settings import BuildConfig
from hf_relvit.doors import _annotations, _evaluated, choices_of
from hf_relvit.errors import RelViTError
from hf_relvit.training.config import TrainConfig
from hf_relvit.training.run import build_model

BAD = ["", "nothing", "Edited", 5, True, np.array([1, 2])]


@pytest.fixture(scope="module")
def checkpoint():
    return build_model(TrainConfig(**TINY))


@pytest.fixture(scope="module")
def pairs(checkpoint):
    return checkpoint.distribution().pairs("color", "test", 4)


def takes_words(hint) -> bool:
    return any(isinstance(word, str) for word in choices_of(hint))


def public() -> dict[str, typing.Any]:
    """Public functions and classes of every package."""
    found = {}
    for package in LAZY:
        module = import_module(package)
        found |= {name: getattr(module, name) for name in module.__all__}
    return found


def parameters() -> set[tuple[str, str]]:
    """Those of public functions that take one of some words."""
    found = set()
    for name, value in public().items():
        if inspect.isfunction(value):
            inner = inspect.unwrap(value)
            for parameter, hint in _annotations(inner):
                if takes_words(_evaluated(inner, hint)):
                    found.add((name, parameter))
    return found


def fields() -> list:
    """Those of public settings that take one or some of some words."""
    found = []
    for name, value in public().items():
        ours = dataclasses.is_dataclass(value) and not hasattr(value, "model_type")
        if ours and name.endswith("Config"):
            for field, hint in typing.get_type_hints(value).items():
                if takes_words(hint):
                    found.append(pytest.param(value, field, hint, id=f"{name}-{field}"))
    return found


FUNCTIONS = {
    ("capture_object_states", "compat"),
    ("measure_battery", "placement"),
    ("score_alignment", "control"),
    ("unmapped_pairs", "variable"),
    ("unmapped_pairs", "swapped"),
}


def test_every_such_parameter_is_tried_below():
    assert parameters() == FUNCTIONS


def refused(call, *arguments, **named):
    with pytest.raises(RelViTError, match="expected") as caught:
        call(*arguments, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("given", BAD, ids=repr)
def test_functions_refuse_other_words(checkpoint, pairs, given):
    scenes = checkpoint.distribution().sample("test", 4)
    refused(analysis.capture_object_states, checkpoint, scenes, compat=given)
    refused(analysis.measure_battery, checkpoint, "discrimination", placement=given)
    refused(subject_of_task, checkpoint, "discrimination", placement=given)
    refused(analysis.unmapped_pairs, pairs, given)
    refused(analysis.unmapped_pairs, pairs, "position", given)
    refused(unmapped_pairs, pairs, given)
    refused(unmapped_pairs, pairs, "position", given)
    site = analysis.Site("resid_post", 0)
    states = analysis.capture_pair_residuals(checkpoint, pairs, [site])
    alignment = analysis.fit_alignment(checkpoint, states, 0, analysis.DASConfig("pca", 1))
    refused(analysis.score_alignment, checkpoint, alignment, states, given)
    refused(states.operands, site, given)
    refused(states.reference_states, site, given)


@pytest.mark.parametrize("given", BAD, ids=repr)
def test_captures_refuse_other_words(checkpoint, given):
    distribution = checkpoint.distribution()
    captures = analysis.PairCaptures(checkpoint, distribution, [0], pairs=4, test_pairs=4)
    refused(captures.network, given)
    refused(analysis.SceneCaptures(checkpoint, distribution, compat=given).get, "test", 4)


@pytest.mark.parametrize("given", BAD[:4], ids=repr)
@pytest.mark.parametrize(("config", "field", "hint"), fields())
def test_settings_refuse_other_words(config, field, hint, given):
    several = "tuple" in str(hint) or "list" in str(hint)
    needed = {"task": "photorealistic", "config": "tiny"} if config is BuildConfig else {}
    refused(config, **needed, **{field: (given,) if several else given})


def test_the_nearest_word_is_named(pairs):
    told = refused(unmapped_pairs, pairs, "jiter")
    assert told.startswith("unknown variable 'jiter': expected one of position, ")
    assert told.endswith("(did you mean 'jitter'?)")
