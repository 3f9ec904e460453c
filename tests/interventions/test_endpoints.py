"""The functions for programs: what they answer is what the model does, and bad input is one sentence."""

from __future__ import annotations

import inspect
import json

import pytest

gr = pytest.importorskip("gradio")

from hf_relvit.spaces.interventions.endpoints import Endpoints  # noqa: E402
from hf_relvit.spaces.interventions.engine import react  # noqa: E402
from hf_relvit.spaces.interventions.moves import first_state  # noqa: E402
from hf_relvit.spaces.interventions.state import from_query  # noqa: E402

NAMES = ("scene", "swap", "push", "score")


@pytest.fixture
def endpoints(served):
    return Endpoints({served.name: served}, {served.name: first_state(served.limits)}, lambda f: f)


def state_of(served, link: str):
    return from_query(link, {served.name: first_state(served.limits)}, {served.name: served.limits})


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_json_and_need_no_argument(endpoints, name):
    assert json.loads(json.dumps(getattr(endpoints, name)(), allow_nan=False))


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_typed_and_told_in_one_line(name):
    """Gradio gives agents the first line of each."""
    function = getattr(Endpoints, name)
    told = inspect.getdoc(function).split("Args:")[1].split("\n\n")[0].strip().split("\n")
    parameters = list(inspect.signature(function).parameters.values())[1:]
    assert [line.split(":")[0].strip() for line in told] == [each.name for each in parameters]
    assert all(each.annotation is not inspect.Parameter.empty for each in parameters)


def test_a_swap_is_that_of_the_page(endpoints, served):
    said = endpoints.swap(property="shape", layer=1, edited=1)
    state = state_of(served, said["link"])
    assert (state.action, state.prop, state.layer, state.edited) == ("swap", "shape", 1, 1)
    prediction, curve = react(served, state)
    assert said["same"] == prediction.same
    assert said["after"] == {name: same[1] for name, same in curve.same.items()}


def test_objects_come_back_as_they_were_given(endpoints, served):
    given = endpoints.scene()["objects"]
    assert endpoints.scene(objects=given)["objects"] == given
    assert {placed["shape"] for placed in given[:2]} == {"star"}


def test_scores_are_the_counts_of_all_layers(endpoints, served):
    rows = endpoints.score(action="swap", property="color")["rows"]
    assert {row["layer"] for row in rows} == {0, 1}
    assert {row["condition"] for row in rows} == {"edit", "other", "random"}
    assert all(row in served.about["measured"] for row in rows)


STAR = {"shape": "star", "color": "pink", "row": 0, "column": 0}
BAD = [
    ("scene", {"model": "../.."}),
    ("scene", {"model": 5}),
    ("scene", {"objects": "star"}),
    ("scene", {"objects": []}),
    ("scene", {"objects": [STAR] * 5}),
    ("scene", {"objects": [STAR, STAR]}),
    ("scene", {"objects": [STAR, STAR | {"row": 99}]}),
    ("scene", {"objects": [STAR, STAR | {"row": "1"}]}),
    ("scene", {"objects": [STAR, STAR | {"row": 1.5}]}),
    ("scene", {"objects": [STAR, STAR | {"row": True}]}),
    ("scene", {"objects": [STAR, STAR | {"shape": "dog"}]}),
    ("scene", {"objects": [STAR, STAR | {"shape": []}]}),
    ("scene", {"objects": [STAR, STAR | {"size": 2}]}),
    ("scene", {"objects": [STAR, 7]}),
    ("swap", {"property": "size"}),
    ("swap", {"property": 7}),
    ("swap", {"layer": 99}),
    ("swap", {"layer": "0"}),
    ("swap", {"edited": -1}),
    ("swap", {"source": [STAR]}),
    ("push", {"alpha": float("nan")}),
    ("push", {"alpha": "1"}),
    ("push", {"alpha": True}),
    ("push", {"pair": 2}),
    ("score", {"action": "guess"}),
    ("score", {"action": []}),
    ("score", {"method": None}),
]


@pytest.mark.parametrize(("name", "call"), BAD)
def test_bad_values_are_one_sentence(endpoints, name, call):
    with pytest.raises(gr.Error) as caught:
        getattr(endpoints, name)(**call)
    said = str(caught.value.message)
    assert "expected" in said or "overlap" in said
    assert "link" not in said and "\n" not in said and len(said) < 400


ODD = [5, -1.5, 1e9, True, None, "x", "x" * 5000, [], [[]], ["x"], {}, {"path": "http://x/"}]
PARAMETERS = [
    (function, name)
    for function in (*NAMES, "react")
    for name in list(inspect.signature(getattr(Endpoints, function)).parameters)[1:]
]


@pytest.mark.parametrize(("function", "name"), PARAMETERS)
def test_whatever_json_a_parameter_gets_the_answer_is_json_or_a_sentence(endpoints, function, name):
    refused = 0
    for value in ODD:
        try:
            json.dumps(getattr(endpoints, function)(**{name: value}))
        except gr.Error as error:
            refused += 1
            assert "expected" in error.message and "\n" not in error.message
            assert len(error.message) < 400
    assert refused >= len(ODD) - 4  # some are legal: none, a number in its range, no model
