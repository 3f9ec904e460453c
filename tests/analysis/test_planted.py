"""Networks with known mechanisms: the suite calls each rightly, where interchange accuracy alone would not."""

import functools

import pandas as pd
import pytest
import torch

from hf_relvit.analysis.activations import Site
from hf_relvit.analysis.align import AlignConfig, PairCaptures, align, score
from hf_relvit.analysis.alignment import Alignment
from hf_relvit.analysis.validity import validity_table
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.stimuli.distribution import SceneDistribution

from .conftest import SIGN_OBJECTS
from .planted import planted

SCENES = SceneDistribution("discrimination", GEOMETRIES["quick"], 256, SIGN_OBJECTS)
ILLUSION = "half of what is never read, half of what is never written"
FOUND = "closed_form"

CASES = {
    "a subspace that is read": ("factored", "shape", 0, ("shape",), "carries"),
    "found without a search": ("factored", "shape", 0, FOUND, "carries"),
    "the other property": ("factored", "color", 0, FOUND, "carries"),
    "written but not read": ("copied", "shape", 0, ("shape",), "no"),
    "written and read, beside a copy": ("copied", "shape", 0, FOUND, "carries"),
    "one of two stores": ("twice", "shape", 0, ("shape",), "no"),
    "both stores": ("twice", "shape", 0, ("shape", "copy"), "carries"),
    "both stores, found": ("twice", "shape", 0, FOUND, "carries"),
    "before it moves off the object": ("moved", "shape", 0, FOUND, "carries"),
    "after it moved off the object": ("moved", "shape", 1, FOUND, "no"),
    "a network that memorizes": ("memory", "shape", 0, FOUND, "no"),
    "all of what it memorizes": ("memory", "shape", 0, ("tag",), "no"),
    "two properties in one code": ("shared", "shape", 0, ("color",), "no"),
    "a code that only breaks": ("alarm", "shape", 0, ("tag",), "no"),
    "an illusion": ("dormant", "shape", 0, ILLUSION, "in part"),
    "what the illusion hides": ("dormant", "shape", 0, FOUND, "carries"),
    "a property that is not judged": ("color", "shape", 0, FOUND, "no"),
    "the one that is": ("color", "color", 0, FOUND, "carries"),
}


def _given(network, prop, layer, codes):
    illusion = (network.rows("shape") + network.rows("dormant")) / 2**0.5
    rows = illusion if codes == ILLUSION else network.rows(*codes)
    mask = torch.ones(len(rows), dtype=torch.bool)
    return Alignment(rows, mask, Site("resid_post", layer), prop, "given")


@functools.cache
def scores(case):
    mechanism, prop, layer, codes, _ = CASES[case]
    checkpoint = planted(mechanism)
    sizes = {"pairs": 64, "test_pairs": 96, "scenes": 256}
    config = AlignConfig(property=prop, layers=(layer,), splits=("test",), method=FOUND, **sizes)
    captures = PairCaptures(checkpoint, SCENES, [layer], **sizes)
    if codes == FOUND:
        return align(checkpoint, SCENES, config, captures=captures).frame
    own = _given(checkpoint.model, prop, layer, codes)
    random = _given(captures.random.model, prop, layer, codes)
    frames = [
        score(own, captures, config),
        score(random, captures, config, weights="random"),
    ]
    return pd.concat(frames, ignore_index=True)


def _swaps(case):
    frame = scores(case)
    own = frame[(frame.score == "cause") & (frame.control == "none") & (frame.weights == "trained")]
    return own.set_index("condition").accuracy


@pytest.mark.parametrize("case", CASES)
def test_each_mechanism_is_called_rightly(case):
    table = validity_table(scores(case))
    assert table.verdict.tolist() == [CASES[case][-1]]


def test_interchange_accuracy_alone_is_wrong():
    illusion = _swaps("an illusion")
    assert illusion["all"] == _swaps("a subspace that is read")["all"] == 1
    for case in ("a code that only breaks", "all of what it memorizes"):
        assert _swaps(case)["same"] == 1 and _swaps(case)["different"] == 0


def test_the_illusion_passes_every_control_but_naturalness():
    row = validity_table(scores("an illusion")).iloc[0]
    assert row.wrong_object == row.random_tokens == 0 and row.isolate == 1
    found = validity_table(scores("what the illusion hides")).iloc[0]
    assert row.divergence > 20 * found.divergence


def test_nothing_is_said_where_a_control_was_not_measured():
    frame = scores("a subspace that is read")
    for missing in ("wrong_object", "random weights", "isolate"):
        gone = (frame.control == missing) | (frame.score == missing)
        gone |= (frame.weights == "random") & (missing == "random weights")
        assert validity_table(frame[~gone]).verdict.tolist() == ["not measured"]
