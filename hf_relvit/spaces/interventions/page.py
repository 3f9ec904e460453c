"""From a state to the pieces of the page, as text: no Gradio."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import Any

import numpy as np

from hf_relvit.analysis.attention import KINDS

from . import drawing, text
from .engine import InterventionCurve, Prediction, answer, react, scene_table, source_table
from .served import Served
from .state import PlacedObject, State

CONDITION_LABELS = {
    "edit": "after",
    "other": "control: other source object",
    "random": "control: random directions",
    "shuffled": "control: shuffled probe",
}


def panels(served: Served, state: State) -> dict[str, str]:
    """Everything that depends on the state: "scene", "source", "decision", "stages", "overlay", "outcome", "often"."""
    prediction, result = react(served, state)
    limits = served.limits
    count = len(state.scene)
    picture = scene_table(state.scene, limits).pixels()[0]
    source_picture = source_table(state, limits).pixels()[0]
    named = _named(state)
    scene = named[:count]
    source = named[count:]
    heat, whose = _heat(served, state, prediction)
    attended = [(letter, placed, letter == whose) for letter, placed, _ in scene]
    board = partial(drawing.board, geometry=limits.geometry)
    overlay = board(picture, attended, heat=heat, label=f"Where the tokens of {whose} look")
    decision = _said(text.decision(served, state, prediction))
    return {
        "scene": board(picture, scene, label=_spoken("scene", scene)),
        "source": board(source_picture, source, label=_spoken("source", source)),
        "decision": decision + drawing.gauges([("this scene", prediction.same, "before")]),
        "stages": drawing.stages(prediction.shares, KINDS, state.attention_layer),
        "overlay": overlay + _said(text.attention(state, prediction), "small"),
        "outcome": _outcome(served, state, prediction, result),
        "often": _often(served, state),
    }


def _named(state: State) -> list[tuple[str, PlacedObject, bool]]:
    """Letter, object and whether it is selected, of the scene and of the source."""
    return [
        (state.name(index), placed, index == state.selected)
        for index, placed in enumerate(state.placed_objects)
    ]


def _spoken(board: str, named: list[tuple[str, PlacedObject, bool]]) -> str:
    """What a picture shows, for screen readers."""
    objects = [f"{letter} is a {text.name(placed)}" for letter, placed, _ in named]
    return f"The {board}: {', '.join(objects)}"


def summary(served: Served, state: State) -> dict[str, Any]:
    """The same for programs: what the model says before and after, by layer, and the sentences."""
    prediction, result = react(served, state)
    edited = {}
    for name, curve in result.same.items():
        edited[name] = [None if np.isnan(same) else same for same in curve.tolist()]
    return {
        "same": prediction.same,
        "right": prediction.answer == prediction.truth,
        "goal_same": result.goal,
        "edited_same": edited,
        "decision": text.decision(served, state, prediction),
        "what_happened": text.outcome(served, state, prediction, result),
        "how_often": text.often(served.about, state),
    }


def own_picture(served: Served, picture: np.ndarray) -> str:
    """A picture of one's own, uint8 ``(side, side, 3)``, as the model gets to see it, and what it says."""
    same = answer(served, picture)
    drawn = drawing.board(
        picture,
        [],
        served.limits.geometry,
        label="Your picture as the model sees it",
    )
    said = _said(
        "This is all that the model sees of it. It was trained on scenes like those above, so take its answer lightly."
    )
    return drawn + drawing.gauges([("your picture", same, "before")]) + said


def notice(message: str, kind: str = "note") -> str:
    """A line above the page: what the person did ("note"), or what went wrong ("fault")."""
    return f'<p class="notice {kind}" role="status">{escape(message)}</p>' if message else ""


def _said(sentence: str, kind: str = "") -> str:
    return f'<p class="said {kind}" aria-live="polite">{escape(sentence)}</p>'


def _heat(served: Served, state: State, prediction: Prediction) -> tuple[np.ndarray, str]:
    """Attention of the selected object's tokens (A's, if the source's are selected) on each patch, and its name."""
    index = state.selected if state.selected < len(state.scene) else 0
    geometry = served.model.config.geometry
    patches = scene_table(state.scene, served.limits).patches()
    tokens = geometry.tokens(patches)[0, index]
    heads = prediction.maps[state.attention_layer]
    attention = heads.mean(0) if state.attention_head < 0 else heads[state.attention_head]
    sent = attention[tokens].mean(0)
    return sent[geometry.prefix_tokens :], state.name(index)


def _outcome(
    served: Served,
    state: State,
    prediction: Prediction,
    result: InterventionCurve,
) -> str:
    happened = _said(text.outcome(served, state, prediction, result))
    after = result.same["edit"][state.layer]
    if np.isnan(after):
        return happened
    rows = [("before", prediction.same, "before")]
    lines = []
    for name, curve in result.same.items():
        label = CONDITION_LABELS[name]
        kind = "edit" if name == "edit" else "control"
        rows.append((label, float(curve[state.layer]), kind))
        lines.append((label, name, curve))
    change = "stays" if int(after > 0.5) == prediction.answer else "flips"
    often = _said(text.often(served.about, state))
    return (
        f'<p class="badge {change}">the answer {change}</p>{drawing.gauges(rows)}'
        f"{happened}{often}{_said(text.scope(served))}<h4>This scene, every layer</h4>"
        f"{drawing.curves(lines, state.layer, level=('before', prediction.same))}"
    )


def _often(served: Served, state: State) -> str:
    rows = text.measured(served.about, state)
    if not rows:
        return ""
    layers = served.limits.layers
    intervals = np.full((2, layers), np.nan)
    values: dict[str, np.ndarray] = {}
    for row in rows:
        curve = values.setdefault(row["condition"], np.full(layers, np.nan))
        curve[row["layer"]] = row["accuracy"]
        if row["condition"] == "edit":
            intervals[:, row["layer"]] = (row["ci_low"], row["ci_high"])
    labels = CONDITION_LABELS | {"edit": "works"}
    lines = [(labels[name], name, curve) for name, curve in values.items()]
    chart = drawing.curves(lines, state.layer, intervals=intervals, ends=("never", "always"))
    return f"<h4>Many scenes like this one, every layer</h4>{chart}"
