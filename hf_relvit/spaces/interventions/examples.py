"""Scenes that show a finding in one click, searched for with the model itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import cycle

import numpy as np

from hf_relvit.stimuli.counterfactuals import PROPERTIES
from hf_relvit.stimuli.scenes import SceneTable

from .engine import InterventionCurve, react
from .moves import first_state
from .served import Served
from .state import PlacedObject, State, check, to_query

TRIED = 24
"""Pairs of which the clearest is shown."""
TRIED_LARGE = 6
"""The same for large models, where a pair takes seconds."""
_INJECTED = ("added", "interpolated", "sampled")
_LABELS = {
    "swap color": "Give A another color",
    "swap shape": "Give A another shape",
    "inject color": "Give both a color that does not exist",
    "inject shape": "Give both a shape that does not exist",
    "steer": "Steer along the direction of a probe",
}


def find_examples(served: Served) -> list[dict[str, str]]:
    """For each kind of intervention the scene and layer on which it speaks most clearly.

    Of some pairs of the test split each, in every layer: the one where the intervention moves the answer furthest
    toward its goal beyond the furthest control. The label says whether the answer flips, and the caption
    below the page's pictures how often that happens. Then the same swap where it works least, and new shapes.

    Returns:
        ``{"label", "query"}`` each.
    """
    examples = []
    for prop in reversed(PROPERTIES):
        if any(aligned == prop for aligned, _ in served.alignments):
            examples += _examples_of(served, prop)
    steered = [
        dataclasses.replace(state, action="steer", alpha=2.0)
        for state in _pairs(served, PROPERTIES[0])
    ]
    examples.append(_example(served, "steer", _best(served, steered)))
    examples.append(_new_shapes(first_state(served.limits)))
    return examples


def _examples_of(served: Served, prop: str) -> list[dict[str, str]]:
    """The clearest swap and the clearest injection of a property."""
    states = list(_pairs(served, prop))
    swaps = [dataclasses.replace(state, action="swap") for state in states]
    best = _best(served, swaps)
    examples = [_example(served, f"swap {prop}", best)]
    if prop == "color":
        last = served.limits.layers - 1
        later = dataclasses.replace(best.state, layer=last)
        examples.append({"label": "The same swap after the last layer", "query": to_query(later)})
    injections = [
        dataclasses.replace(
            state,
            action="inject",
            method=method,
            draw=draw,
        )
        for draw, (state, method) in enumerate(zip(states, cycle(_INJECTED)))
    ]
    examples.append(_example(served, f"inject {prop}", _best(served, injections)))
    return examples


def _new_shapes(start: State) -> dict[str, str]:
    """Two shapes that are out of distribution, where the first state has its pair."""
    a, b = start.scene[:2]
    new_a = PlacedObject(16, 4, a.row, a.column)
    new_b = PlacedObject(17, 4, b.row, b.column)
    unseen = dataclasses.replace(start, scene=(new_a, new_b, *start.scene[2:]))
    return {"label": "Two shapes that training never showed", "query": to_query(unseen)}


@dataclasses.dataclass(frozen=True)
class Tried:
    """A state, how far the edit moves its answer beyond every control, and whether it flips."""

    state: State
    gain: float
    flips: bool


def _example(served: Served, kind: str, best: Tried) -> dict[str, str]:
    ending = "it stays"
    if best.flips:
        ending = "it flips" if best.gain > 0.5 else "it flips, but a control moves it, too"
    query = to_query(check(best.state, served.limits))
    return {"label": f"{_LABELS[kind]}: {ending}", "query": query}


def _pairs(served: Served, prop: str) -> Iterator[State]:
    """Pairs of the test split as states, those that the edit should make same and those it should make different."""
    limits = served.limits
    pairs = served.distribution(seed=1).pairs(prop, "test", 4 * TRIED)
    tried = TRIED if served.at_once else TRIED_LARGE
    # RMTS: the composed source stands in place of the sample pair
    rows = np.flatnonzero(pairs.edited < 2)[:tried].tolist()
    for row in rows:
        scene = _placed(pairs.base, row)
        source = _placed(pairs.source, row)
        edited = int(pairs.edited[row])
        a_and_b = [scene[edited], scene[1 - edited]]  # A is edited
        x_and_y = [source[pairs.source_object[row]], source[pairs.other_source[row]]]  # X gives
        if (
            limits.task == "rmts"
        ):  # these stand in the display pair there; put them where ours stand
            x_and_y = [
                dataclasses.replace(giver, row=place.row, column=place.column)
                for giver, place in zip(x_and_y, scene)
            ]
        state = State(
            limits.model,
            (*a_and_b, *scene[2:]),
            tuple(x_and_y),
            prop=prop,
        )
        yield check(state, limits)


def _placed(scenes: SceneTable, row: int) -> list[PlacedObject]:
    """The objects of one scene."""
    numbers = np.column_stack([scenes.shape[row], scenes.color[row], scenes.corner[row]])
    return [PlacedObject(*placed) for placed in numbers.tolist()]


def _best(served: Served, states: list[State]) -> Tried:
    """The state, at its best layer, with the largest gain; above 0.5 the answer flips and that of no control does."""
    best = Tried(states[0], -np.inf, False)
    for state in states:
        prediction, result = react(served, state)
        right = prediction.answer == prediction.truth
        if not right or result.goal == prediction.answer:
            continue
        gain = _gain(result)
        layer = int(gain.argmax())
        if gain[layer] > best.gain:
            flips = (result.same["edit"][layer] > 0.5) != prediction.answer
            at_layer = dataclasses.replace(state, layer=layer)
            best = Tried(at_layer, float(gain[layer]), bool(flips))
    return best


def _gain(result: InterventionCurve) -> np.ndarray:
    """How far the edit moves the answer beyond the furthest control, ``(layers,)``; -1 where nothing is known."""
    toward = {}
    for name, same in result.same.items():
        toward[name] = same if result.goal else 1 - same
    edit = toward.pop("edit")
    controls = np.max(list(toward.values()), axis=0)
    flipped = np.where(edit > 0.5, edit, 0)
    return np.nan_to_num(flipped - controls, nan=-1)
