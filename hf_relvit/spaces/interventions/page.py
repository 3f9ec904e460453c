"""From a state to the pieces of the page, as text: no Gradio."""

from __future__ import annotations

from html import escape

import numpy as np

from hf_relvit.analysis.attention import KINDS

from . import drawing, text
from .engine import InterventionCurve, Prediction, answer, react, scene_table, source_table
from .served import Served
from .state import State

CONDITION_LABELS = {"edit": "after", "other": "control: other source object", "random": "control: random directions",
                    "shuffled": "control: shuffled probe"}  # fmt: skip


def panels(served: Served, state: State) -> dict[str, str]:
    """Everything that depends on the state: "scene", "source", "decision", "stages", "overlay", "outcome", "often"."""
    look, result = react(served, state)
    limits, count = served.limits, len(state.scene)
    table = scene_table(state.scene, limits)
    picture = table.pixels()[0]
    scene = [(state.name(j), thing, j == state.selected) for j, thing in enumerate(state.scene)]
    source = [
        (state.name(j + count), thing, j + count == state.selected)
        for j, thing in enumerate(state.source)
    ]
    spoken = "The scene: " + ", ".join(
        f"{letter} is a {text.name(thing)}" for letter, thing, _ in scene
    )
    spoken_source = "The source: " + ", ".join(
        f"{letter} is a {text.name(thing)}" for letter, thing, _ in source
    )
    other = source_table(state, limits).pixels()[0]
    heat, whose = _heat(served, state, look)
    seen = [(letter, thing, letter == whose) for letter, thing, _ in scene]
    return {
        "scene": drawing.board(picture, scene, limits.geometry, label=spoken),
        "source": drawing.board(other, source, limits.geometry, label=spoken_source),
        "decision": _said(text.decision(served, state, look))
        + drawing.gauges([("this scene", look.same, "before")]),
        "stages": drawing.stages(look.shares, KINDS, state.look_layer),
        "overlay": drawing.board(
            picture, seen, limits.geometry, heat, f"Where the tokens of {whose} look"
        )
        + _said(text.attention(state, look), "small"),
        "outcome": _outcome(served, state, look, result),
        "often": _often(served, state),
    }


def summary(served: Served, state: State) -> dict:
    """The same for programs: what the model says before and after, by layer, and the sentences."""
    look, result = react(served, state)
    return {
        "same": look.same,
        "right": look.answer == look.truth,
        "goal_same": result.goal,
        "edited_same": {
            name: [None if np.isnan(value) else float(value) for value in curve]
            for name, curve in result.same.items()
        },
        "decision": text.decision(served, state, look),
        "what_happened": text.outcome(served, state, look, result),
        "how_often": text.often(served.about, state),
    }


def own_picture(served: Served, picture: np.ndarray) -> str:
    """A picture of one's own, uint8 ``(side, side, 3)``, as the model gets to see it, and what it says."""
    same = answer(served, picture)
    drawn = drawing.board(
        picture, [], served.limits.geometry, label="Your picture as the model sees it"
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


def _heat(served: Served, state: State, look: Prediction) -> tuple[np.ndarray, str]:
    """Attention of the selected object's tokens (A's, if the source's are selected) on each patch, and its name."""
    index = state.selected if state.selected < len(state.scene) else 0
    geometry = served.model.config.geometry
    tokens = geometry.tokens(scene_table(state.scene, served.limits).patches())[0, index]
    maps = look.maps[state.look_layer]
    chosen = maps.mean(0) if state.look_head < 0 else maps[state.look_head]
    return chosen[tokens].mean(0)[geometry.prefix_tokens :], state.name(index)


def _outcome(served: Served, state: State, look: Prediction, result: InterventionCurve) -> str:
    sentence = _said(text.outcome(served, state, look, result))
    sentence += _said(text.often(served.about, state)) + _said(text.scope(served))
    if np.isnan(result.same["edit"][state.layer]):
        return _said(text.outcome(served, state, look, result))
    rows = [("before", look.same, "before")]
    for name, curve in result.same.items():
        rows.append(
            (
                CONDITION_LABELS[name],
                float(curve[state.layer]),
                "edit" if name == "edit" else "control",
            )
        )
    answer = int(result.same["edit"][state.layer] > 0.5)
    badge = "the answer flips" if answer != look.answer else "the answer stays"
    lines = [(CONDITION_LABELS[name], name, curve) for name, curve in result.same.items()]
    chart = drawing.curves(lines, state.layer, level=("before", look.same))
    return (
        f'<p class="badge {"flips" if answer != look.answer else "stays"}">{badge}</p>{drawing.gauges(rows)}{sentence}'
        f"<h4>This scene, every layer</h4>{chart}"
    )


def _often(served: Served, state: State) -> str:
    rows = text.measured(served.about, state)
    if not rows:
        return ""
    layers, names = served.limits.layers, list(dict.fromkeys(row["condition"] for row in rows))
    values = {name: np.full(layers, np.nan) for name in names}
    intervals = np.full((2, layers), np.nan)
    for row in rows:
        values[row["condition"]][row["layer"]] = row["accuracy"]
        if row["condition"] == "edit":
            intervals[:, row["layer"]] = row["ci_low"], row["ci_high"]
    labels = CONDITION_LABELS | {"edit": "works"}
    lines = [(labels[name], name, values[name]) for name in names]
    chart = drawing.curves(lines, state.layer, intervals=intervals, ends=("never", "always"))
    return f"<h4>Many scenes like this one, every layer</h4>{chart}"
