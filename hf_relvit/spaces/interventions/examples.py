"""Scenes that show a finding in one click, searched for with the model itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from hf_relvit.stimuli.counterfactuals import PROPERTIES, sample_counterfactuals

from .engine import react
from .moves import first_state
from .served import Served
from .state import PlacedObject, State, check, to_query

TRIED = 24
_LABELS = {
    "swap color": "Give A another color",
    "swap shape": "Give A another shape",
    "inject color": "Give both a color that does not exist",
    "inject shape": "Give both a shape that does not exist",
    "steer": "Push along what a probe reads",
}


def find_examples(served: Served) -> list[dict[str, str]]:
    """For each kind of intervention the scene and layer on which it speaks most clearly.

    Of ``TRIED`` pairs of the test split each, in every layer: the one where the intervention moves the answer furthest
    towards what it should be beyond the furthest control. The label says whether the answer flips, and the caption
    below the page's pictures how often that happens. Then the same swap where it works least, and new shapes.

    Returns:
        ``{"label", "query"}`` each.
    """
    found = []
    for prop in reversed(PROPERTIES):
        if not any(of == prop for of, _ in served.alignments):
            continue
        states = list(_pairs(served, prop))
        best, gain = _best(served, [dataclasses.replace(state, action="swap") for state in states])
        found.append(_example(served, f"swap {prop}", best, gain))
        if prop == "color":
            later = dataclasses.replace(best, layer=served.limits.layers - 1)
            found.append({"label": "The same swap after the last layer", "query": to_query(later)})
        methods = ("added", "interpolated", "sampled")
        best, gain = _best(
            served,
            [
                dataclasses.replace(s, action="inject", method=methods[i % 3], draw=i)
                for i, s in enumerate(states)
            ],
        )
        found.append(_example(served, f"inject {prop}", best, gain))
    states = [
        dataclasses.replace(s, action="steer", alpha=2.0) for s in _pairs(served, PROPERTIES[0])
    ]
    found.append(_example(served, "steer", *_best(served, states)))
    start = first_state(served.limits)
    new = [
        PlacedObject(16 + i, 4, thing.row, thing.column) for i, thing in enumerate(start.scene[:2])
    ]
    unseen = dataclasses.replace(start, scene=(*new, *start.scene[2:]))
    return [*found, {"label": "Two shapes that training never showed", "query": to_query(unseen)}]


def _example(served: Served, kind: str, state: State, gain: float) -> dict[str, str]:
    ending = "it flips" if gain > 0.5 else "it stays"
    return {"label": f"{_LABELS[kind]}: {ending}", "query": to_query(check(state, served.limits))}


def _pairs(served: Served, prop: str) -> Iterator[State]:
    """Pairs of the test split as states, those that the edit should make same and those it should make different."""
    limits = served.limits
    options = dict(combinations=served.about["combinations"], seed=1)
    table = sample_counterfactuals(limits.task, limits.geometry, prop, "test", 4 * TRIED, **options)
    count = 0
    for i in range(len(table)):
        edited, giver, other = (
            int(column[i]) for column in (table.edited, table.source_object, table.other_source)
        )
        if edited > 1:  # RMTS: the composed source stands in place of the sample pair
            continue
        scene, source = (
            [
                PlacedObject(*(int(v) for v in row))
                for row in np.column_stack([part.shape[i], part.color[i], part.corner[i]])
            ]
            for part in (table.base, table.source)
        )
        if (
            limits.task == "rmts"
        ):  # the source objects stand in the display pair there; put them where ours stand
            places = [(t.row, t.column) for t in scene[:2]]
            source = [
                dataclasses.replace(source[j], row=r, column=c)
                for j, (r, c) in zip((giver, other), places)
            ]
            giver = 0
        order = (edited, 1 - edited)  # A is edited, X gives
        pair = [scene[j] for j in order]
        given = source if limits.task == "rmts" else [source[giver], source[1 - giver]]
        state = State(limits.model, (*pair, *scene[2:]), tuple(given[:2]), prop=prop)
        yield check(state, limits)
        count += 1
        if count == TRIED:
            return


def _best(served: Served, states: list[State]) -> tuple[State, float]:
    """The state, at its best layer, with the largest gain; above 0.5 the answer flips and that of no control does."""
    found, most = states[0], -np.inf
    for state in states:
        look, outcome = react(served, state)
        if look.answer != look.truth or outcome.goal == look.answer:
            continue
        toward = {
            name: curve if outcome.goal else 1 - curve for name, curve in outcome.same.items()
        }
        controls = np.max([curve for name, curve in toward.items() if name != "edit"], axis=0)
        gain = np.nan_to_num(np.where(toward["edit"] > 0.5, toward["edit"], 0) - controls, nan=-1)
        layer = int(gain.argmax())
        if gain[layer] > most:
            found, most = dataclasses.replace(state, layer=layer), float(gain[layer])
    return found, most
