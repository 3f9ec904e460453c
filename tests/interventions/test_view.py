"""What handlers do between the page and the model, without a browser."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest

gr = pytest.importorskip("gradio")

from hf_relvit.spaces.interventions import served as served_module  # noqa: E402
from hf_relvit.spaces.interventions.gate import MAX_SESSIONS  # noqa: E402
from hf_relvit.spaces.interventions.layout import KNOBS, PANELS  # noqa: E402
from hf_relvit.spaces.interventions.state import to_query  # noqa: E402
from hf_relvit.spaces.interventions.view import _CONTROLS, _Wiring, first_example  # noqa: E402


def wired(served) -> _Wiring:
    """Handlers whose components are stood in for by their names: Gradio's own leave an event loop open."""
    made = {name: name for name in (*_CONTROLS, *KNOBS, *PANELS)}
    chips = [f"chip {number}" for number in range(9)]
    return _Wiring({served.name: served}, lambda function: function, {**made, "chips": chips})


def visitor(name: str):
    return SimpleNamespace(session_hash=name)


def test_a_curve_stops_when_its_visitor_asks_for_something_else(served, monkeypatch):
    monkeypatch.setattr(served_module, "_LARGE", 0)
    large = dataclasses.replace(served)
    wiring = wired(large)
    start = first_example(large)
    link, later = (to_query(dataclasses.replace(start, layer=layer)) for layer in (0, 1))
    whole = list(wiring.curve(link, visitor("a")))
    assert len(whole) == 2 and "1 of 2 so far" in whole[0] and "so far" not in whole[1]
    stopped = wiring.curve(link, visitor("a"))
    assert next(stopped) == whole[0]
    assert next(wiring.curve(later, visitor("b"))) != whole[0]  # of somebody else
    assert next(wiring.curve(later, visitor("a"))) != whole[0]
    assert list(stopped) == []


def test_a_small_model_has_its_curve_at_once(served):
    wiring = wired(served)
    state = first_example(served)
    shown = wiring.show(state)
    assert "so far" not in shown[wiring.made["curve"]]
    assert list(wiring.curve(to_query(state), visitor("a"))) == [gr.skip()]


def test_few_sessions_are_remembered(served):
    wiring = wired(served)
    for number in range(2 * MAX_SESSIONS):
        wiring.asked(f"visitor {number}", "x" * 100)
        wiring.asked("one who comes again", "y")
    assert len(wiring.latest) == MAX_SESSIONS
    assert wiring.latest["one who comes again"] == "y"


def test_every_shown_value_has_a_place_on_the_page(served):
    wiring = wired(served)
    shown = wiring.show(first_example(served), controls=True)
    assert set(shown) <= set(wiring.every)
