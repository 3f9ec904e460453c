"""Sentences and pictures: whole, true to the numbers, and harmless."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import defaultdict
from itertools import product
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from hf_relvit.analysis.novel import METHODS
from hf_relvit.claims import exceeds_controls
from hf_relvit.measurements import Measurement
from hf_relvit.spaces.interventions import app, counts, drawing, page, style, text
from hf_relvit.spaces.interventions import served as served_module
from hf_relvit.spaces.interventions.engine import InterventionCurve, Prediction
from hf_relvit.spaces.interventions.moves import first_state
from hf_relvit.spaces.interventions.state import ACTIONS, PlacedObject
from hf_relvit.statistics import wilson
from hf_relvit.stimuli.scenes import LABELS


@pytest.fixture
def state(served):
    return first_state(served.limits)


def prediction(same: float, truth: int = 0) -> Prediction:
    return Prediction(same, truth, np.full((2, 2, 6), 1 / 6))


def outcome(goal: int, **curves: float) -> InterventionCurve:
    return InterventionCurve(
        goal, {name: np.array([value, value]) for name, value in curves.items()}, [20, 20], 32
    )


def test_every_panel_is_drawn(served, state):
    for action in ACTIONS:
        panels = page.panels(served, dataclasses.replace(state, action=action, attention_head=1))
        assert set(panels) == {
            "scene",
            "source",
            "decision",
            "stages",
            "overlay",
            "outcome",
            "curve",
            "often",
        }
        for html in panels.values():
            assert not re.search(r"\bnan\b|None|\binf\b", re.sub(r"base64,[^\"]*", "", html))
            assert "http" not in html.replace("http://www.w3.org", "")  # nothing to fetch
            for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL):
                ElementTree.fromstring(svg)


@pytest.mark.parametrize("layer", [0, 1])
def test_the_curve_of_a_large_model_grows_from_the_chosen_layer(served, state, monkeypatch, layer):
    monkeypatch.setattr(served_module, "_LARGE", 0)
    large = dataclasses.replace(served)
    state = dataclasses.replace(state, layer=layer)
    assert "1 of 2 so far" in page.panels(large, state)["curve"]
    first, whole = page.growing_curve(large, state)
    assert first == page.panels(large, state)["curve"]
    assert "so far" not in whole and whole.count("<circle") == 2 * first.count("<circle")


def test_summaries_are_json(served, state):
    summary = json.loads(json.dumps(page.summary(served, state), allow_nan=False))
    assert len(summary["edited_same"]["edit"]) == 2


def test_sentences_for_every_choice(served, state):
    seen = set()
    for action, prop, method, layer, pair in product(
        ACTIONS, ("shape", "color"), METHODS, (0, 1), (0, 1)
    ):
        chosen = dataclasses.replace(
            state,
            action=action,
            prop=prop,
            method=method,
            layer=layer,
            pair=min(pair, len(state.scene) // 2 - 1),
        )
        predicted, result = page.react(served, chosen)
        for sentence in (
            text.outcome(served, chosen, predicted, result),
            text.often(served.about, chosen),
        ):
            assert sentence and not re.search(r"nan|None|  |\{|\}", sentence)
            seen.add(sentence)
    assert len(seen) > 20


def test_the_verdict_follows_the_numbers(served, state):
    said = lambda before, result: text.outcome(served, state, prediction(before), result)  # noqa: E731
    flips = said(0.02, outcome(1, edit=0.97, other=0.03, random=0.01))
    assert "should become same. It does: same (97 %) instead of different (98 %)." in flips
    assert "still different (98 %)" in said(0.02, outcome(1, edit=0.02, other=0.03, random=0.01))
    assert "random directions did the same, so this flip shows nothing" in said(
        0.02, outcome(1, edit=0.97, other=0.03, random=0.8)
    )
    assert "should stay different. It does: different" in said(
        0.02, outcome(0, edit=0.04, other=0.03, random=0.01)
    )


def made_up(state, edit: float, **controls: float) -> dict:
    """about.json with one layer of one intervention, as counted over 100 scenes."""
    name = {"swap": state.prop, "steer": "sample 1", "inject": f"{state.prop} {state.method}"}
    rows = []
    for condition, accuracy in {"edit": edit, **controls}.items():
        low, high = wilson(100 * accuracy, 100)
        numbers = {"accuracy": accuracy, "ci_low": float(low), "ci_high": float(high), "floor": 0.0}
        for before in LABELS:
            known = {"action": state.action, "what": name[state.action], "condition": condition}
            rows.append(known | numbers | {"before": before, "layer": state.layer, "n": 100})
    return {"measured": rows}


CLAIMS = ("is computed from", "uses this direction", "also works on")


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(
    ("edit", "control", "claimed"),
    [
        (0.58, 0.61, False),
        (0.52, 0.58, False),
        (0.7, 0.6, False),
        (0.9, 0.3, True),
        (0.0, 0.0, False),
    ],
)
def test_an_effect_is_claimed_only_above_all_controls(state, action, edit, control, claimed):
    """Intervals of 100 scenes: 70 and 60 of them still overlap."""
    state = dataclasses.replace(state, action=action)
    names = {"swap": ("other", "random"), "steer": ("shuffled",), "inject": ("random",)}[action]
    for above in names:
        controls = dict.fromkeys(names, 0.0) | {above: control}
        said = text.often(made_up(state, edit, **controls), state)
        assert any(claim in said for claim in CLAIMS) == claimed
        assert ("No effect is claimed" in said) != claimed
        assert f"{text.percent(control)} with {counts.CONDITION_NAMES[above]}" in said
        if control >= edit > 0:  # the sentence names the control that forbids the claim
            assert f"the control ({counts.CONDITION_NAMES[above]}, up to " in said


@pytest.mark.parametrize(("alpha", "nearest"), [(0.75, 0.5), (1.5, 1), (3, 2), (3.1, 4), (0, 0.5)])
def test_a_push_between_two_counted_ones_is_read_as_the_nearer_and_of_two_equal_ones_the_weaker(
    state, alpha, nearest
):
    """In every process: the order of a set of strings differs between them."""
    state = dataclasses.replace(state, action="steer", alpha=alpha)
    about = {"measured": []}
    for counted in (0.5, 1, 2, 4):
        for row in made_up(state, 0.5)["measured"]:
            about["measured"].append(row | {"what": f"sample {counted:g}"})
    assert {row["what"] for row in counts.measured(about, state)} == {f"sample {nearest:g}"}


def test_nothing_is_claimed_of_what_was_not_counted(state):
    uncounted = text.often({"measured": []}, state)
    assert "no effect is claimed" in uncounted
    alone = text.often(made_up(state, 0.9), state)  # without doing anything: 0 %
    assert "That lies above all controls" in alone


def test_one_scene_claims_nothing(served, state):
    """Whatever the scene shows: the claim is beside it, from the counts."""
    for action in ACTIONS:
        chosen = dataclasses.replace(state, action=action)
        prediction, curve = page.react(served, chosen)
        for edit in (0.0, 1.0):
            curve.same["edit"][:] = edit
            said = text.outcome(served, chosen, prediction, curve)
            assert not any(claim in said for claim in CLAIMS)
        html = page.panels(served, chosen)["outcome"]
        assert "Findings in one need not hold in another" in html
        assert "effect is claimed" in html or any(claim in html for claim in CLAIMS)


@pytest.mark.parametrize("folder", app.models(), ids=lambda folder: folder.name)
def test_the_card_of_the_space_claims_what_was_counted(folder):
    about = json.loads((folder / "about.json").read_text())
    swaps = {}
    for row in about["measured"]:
        if row["action"] == "swap":
            parts = swaps.setdefault((row["what"], row["before"], row["layer"]), {})
            parts[row["condition"]] = Measurement.from_row(row, row["condition"])
    layers = defaultdict(list)
    for (prop, before, layer), parts in sorted(swaps.items()):
        if exceeds_controls(parts.pop("edit"), parts.values()):
            layers[prop, before].append(str(layer))
    told = ", ".join(
        f"{prop} of {before} pairs after layer{'s' if len(at) > 1 else ''} {', '.join(at)}"
        for (prop, before), at in layers.items()
    )
    card = Path(app.__file__).with_name("README.md").read_text()
    line = next(line for line in card.splitlines() if line.startswith(f"| {about['title']} |"))
    assert f"Swaps above all controls: {told or 'none'}. |" in line


def test_a_control_with_the_same_value_is_no_control(served, state):
    """Y has the color that flips as well: that its swap flips is no argument against the subspace."""
    y = dataclasses.replace(state.source[1], color=state.scene[1].color)
    state = state.with_object(len(state.scene) + 1, y)
    said = text.outcome(
        served, state, prediction(0.02), outcome(1, edit=0.97, other=0.9, random=0.01)
    )
    assert "shows nothing" not in said


def test_the_decision_says_what_is_right_and_what_is_new(served, state):
    right = text.decision(served, state, prediction(0.1, 0))
    assert "The model says different (90 %). That is right: " in right
    assert "That is wrong, it should say same" in text.decision(served, state, prediction(0.1, 1))
    new = state.with_object(0, PlacedObject(19, 3, 3, 1))
    assert "A is a combination of shape and color that training never showed" in text.decision(
        served, new, prediction(0.1)
    )


@pytest.mark.parametrize(
    ("p", "said"),
    [(0, "0 %"), (1, "100 %"), (0.004, "under 1 %"), (0.999, "over 99 %"), (0.5, "50 %")],
)
def test_percent_never_rounds_to_certainty(p, said):
    assert text.percent(p) == said


def test_changes_are_told(state):
    a = state.scene[0]
    assert (
        text.changed(state, state.with_object(0, dataclasses.replace(a, row=0, column=4)))
        == "You moved A to row 1, column 5."
    )
    assert (
        text.changed(state, state.with_object(0, dataclasses.replace(a, color=9)))
        == "A is now a lime star."
    )
    assert text.changed(state, dataclasses.replace(state, selected=1)).startswith("B is selected")
    assert text.changed(state, state) == ""


def test_text_is_escaped():
    assert "<script>" not in page.notice("<script>alert(1)</script>", "fault")
    assert "<b>" not in drawing.gauges([("<b>", 0.5, "before")])


def test_a_chart_without_points_is_whole():
    html = drawing.curves([("after", "edit", np.full(3, np.nan))], 0)
    ElementTree.fromstring(re.search(r"<svg.*</svg>", html, re.DOTALL)[0])


def test_own_picture(served):
    html = page.own_picture(served, np.full((64, 64, 3), 200, np.uint8))
    assert "as the model sees it" in html and "your picture" in html


@pytest.mark.parametrize("condition", ["edit", *counts.CONDITION_NAMES])
def test_every_condition_has_a_line_of_its_own_color(condition):
    assert f".line.{condition}" in style.css()
