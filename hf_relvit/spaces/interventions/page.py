"""From a state to the pieces of the page, as text: no Gradio."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from typing import Any

import numpy as np

from hf_relvit.modeling.stages import KINDS

from . import drawing, text
from .counts import measured
from .engine import (
    InterventionCurve,
    Prediction,
    answer,
    attention_on_patches,
    compute_later,
    react,
)
from .passes import scene_table, source_table
from .served import Served
from .state import PlacedObject, State

CONDITION_LABELS = {
    "edit": "after",
    "other": "control: other source object",
    "random": "control: random directions",
    "tokens": "control: random background tokens",
    "labels": "control: shuffled labels",
    "noise": "control: pure noise in the same directions",
    "shuffled": "control: shuffled probe",
}


def panels(served: Served, state: State) -> dict[str, str]:
    """Everything that depends on the state, by the names of ``layout.PANELS``.

    Of a large model the curve has only the chosen layer: see :func:`growing_curve` for the others.
    """
    layers = None if served.at_once else [state.layer]
    prediction, result = react(served, state, layers)
    return {
        **_boards(served, state),
        "decision": _decision(served, state, prediction),
        "stages": drawing.stages(prediction.shares, KINDS, state.attention_layer),
        "overlay": _overlay(served, state, prediction),
        "outcome": _outcome(served, state, prediction, result),
        "curve": _curve(state, prediction, result, layers),
        "often": _often(served, state),
    }


def growing_curve(served: Served, state: State) -> Iterator[str]:
    """The panel "curve" of a large model, with one layer more each time, the nearest first."""
    layers = sorted(range(served.limits.layers), key=lambda layer: abs(layer - state.layer))
    for count, layer in enumerate(layers, 1):
        compute_later(served, state, layer)
        done = layers[:count]
        yield _curve(state, *react(served, state, done), done)


def _boards(served: Served, state: State) -> dict[str, str]:
    """The two pictures."""
    limits = served.limits
    tables = {
        "scene": scene_table(state.scene, limits),
        "source": source_table(state, limits),
    }
    count = len(state.scene)
    named = _named(state)
    shown = {"scene": named[:count], "source": named[count:]}
    boards = {}
    for name, table in tables.items():
        spoken = _spoken(name, shown[name])
        picture = table.pixels()[0]
        boards[name] = drawing.board(
            picture,
            shown[name],
            limits.geometry,
            label=spoken,
        )
    return boards


def _decision(served: Served, state: State, prediction: Prediction) -> str:
    said = _said(text.decision(served, state, prediction))
    return said + drawing.gauges([("this scene", prediction.same, "before")])


def _overlay(served: Served, state: State, prediction: Prediction) -> str:
    """The scene under the attention of an object's tokens: the selected one's, or A's if it is of the source."""
    index = state.selected if state.selected < len(state.scene) else 0
    letter = state.name(index)
    table = scene_table(state.scene, served.limits)
    heads = attention_on_patches(served, state)
    attention = heads.mean(0) if state.attention_head < 0 else heads[state.attention_head]
    heat = attention[table.patches()[0, index]].mean(0)
    named = _named(state)[: len(state.scene)]
    objects = [(name, placed, name == letter) for name, placed, _ in named]
    picture = drawing.board(
        table.pixels()[0],
        objects,
        served.limits.geometry,
        heat=heat,
        label=f"Where the tokens of {letter} look",
    )
    return picture + _said(text.attention(state, prediction), "small")


def _named(state: State) -> list[tuple[str, PlacedObject, bool]]:
    """Letter, object and whether it is selected, of the scene and of the source."""
    return [
        (state.name(index), placed, index == state.selected)
        for index, placed in enumerate(state.placed_objects)
    ]


def _spoken(board: str, named: list[tuple[str, PlacedObject, bool]]) -> str:
    """The content of a picture, for screen readers."""
    objects = [f"{letter} is a {text.name(placed)}" for letter, placed, _ in named]
    return f"The {board}: {', '.join(objects)}"


def decided(served: Served, state: State) -> dict[str, Any]:
    """For programs: the model's answer to the scene as it is."""
    prediction, _ = react(served, state, layers=[])
    return {
        "same": prediction.same,
        "right": prediction.answer == prediction.truth,
        "truth_same": prediction.truth,
        "decision": text.decision(served, state, prediction),
    }


def summary(served: Served, state: State) -> dict[str, Any]:
    """The page for programs: the model's answers before and after, and the sentences.

    "after" is the chosen layer's; "edited_same" is by layer, where a large model has the chosen one alone.
    """
    layers = None if served.at_once else [state.layer]
    prediction, result = react(served, state, layers)
    edited = {}
    for name, curve in result.same.items():
        edited[name] = [None if np.isnan(same) else same for same in curve.tolist()]
    return {
        **decided(served, state),
        "goal_same": result.goal,
        "layer": state.layer,
        "after": {name: same[state.layer] for name, same in edited.items()},
        "edited_same": edited,
        "what_happened": text.outcome(served, state, prediction, result),
        "how_often": text.often(served.about, state),
    }


def own_picture(served: Served, picture: np.ndarray) -> str:
    """A picture of one's own, uint8 ``(side, side, 3)``, as the model gets to see it, and its answer."""
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
    """A line above the page: the person's action ("note"), or an error ("fault")."""
    return f'<p class="notice {kind}" role="status">{escape(message)}</p>' if message else ""


def _said(sentence: str, kind: str = "") -> str:
    return f'<p class="said {kind}" aria-live="polite">{escape(sentence)}</p>'


def _outcome(
    served: Served,
    state: State,
    prediction: Prediction,
    result: InterventionCurve,
) -> str:
    """The answer before and after, beside the controls, with its sentences: the caveat stands beside the claim."""
    happened = _said(
        text.outcome(
            served,
            state,
            prediction,
            result,
        )
    )
    after = result.same["edit"][state.layer]
    if np.isnan(after):
        return happened
    rows = [("before", prediction.same, "before")]
    for name, curve in result.same.items():
        kind = "edit" if name == "edit" else "control"
        rows.append((CONDITION_LABELS[name], float(curve[state.layer]), kind))
    change = "stays" if int(after > 0.5) == prediction.answer else "flips"
    badge = f'<p class="badge {change}">the answer {change}</p>'
    often = _said(text.often(served.about, state))
    return badge + drawing.gauges(rows) + happened + often + _said(text.scope(served))


def _curve(
    state: State,
    prediction: Prediction,
    result: InterventionCurve,
    layers: Iterable[int] | None,
) -> str:
    """This scene over all layers; ``layers`` are those that were computed so far, None for all."""
    if np.isnan(result.same["edit"][state.layer]):
        return ""
    count = len(result.size)
    done = count if layers is None else len(list(layers))
    progress = "" if done == count else f" <small>{done} of {count} so far</small>"
    lines = [(CONDITION_LABELS[name], name, curve) for name, curve in result.same.items()]
    chart = drawing.curves(lines, state.layer, level=("before", prediction.same))
    return f"<h4>This scene, every layer{progress}</h4>{chart}"


def _often(served: Served, state: State) -> str:
    rows = measured(served.about, state)
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
    chart = drawing.curves(
        lines,
        state.layer,
        intervals=intervals,
        ends=("never", "always"),
    )
    return f"<h4>Many scenes like this one, every layer</h4>{chart}"
