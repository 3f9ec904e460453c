"""What clicks and keys do to a state."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from hf_relvit.errors import RelViTError

from .state import Limits, PlacedObject, State, overlap

KEYS = {"ArrowUp": (-1, 0), "ArrowDown": (1, 0), "ArrowLeft": (0, -1), "ArrowRight": (0, 1)}


def first_state(limits: Limits) -> State:
    """A scene to start with: two stars that differ in color, and a source object with the color that B has."""
    star, flag, ring, bone, pink, blue = 13, 12, 8, 15, 0, 4
    display = tuple(
        PlacedObject(bone, color, *corner) for color, corner in zip((1, 2), limits.fixed)
    )
    scene = (PlacedObject(star, pink, 3, 1), PlacedObject(star, blue, 5, 5), *display)
    source = (PlacedObject(flag, blue, 3, 5), PlacedObject(ring, pink, 5, 2))
    return State(limits.model, scene, source)


def touch(state: State, limits: Limits, board: str, event: dict[str, Any]) -> State:
    """A click or a key on one of the two pictures.

    A click on an object selects it. A click on a free place moves there what is selected, or, if that stands in the
    other picture, the nearest object of this one. Arrow keys move what is selected by one patch.

    Args:
        board: "scene" or "source".
        event: ``x`` and ``y`` in 0..1 of the picture, or ``key``.

    Raises:
        RelViTError: an event that is neither, or a place that is taken.
    """
    if not isinstance(event, dict):
        raise RelViTError(f"move {str(event)[:20]!r}: expected x and y, or a key")
    first = 0 if board == "scene" else len(state.scene)
    here = range(first, first + len(getattr(state, board)))
    if (key := event.get("key")) is not None:
        if not isinstance(key, str) or key not in KEYS:
            raise RelViTError(f"key {str(key)[:20]!r}: expected an arrow key")
        index = state.selected if state.selected in here else first
        thing, (down, right) = state.things[index], KEYS[key]
        return _move(state, limits, index, thing.row + down, thing.column + right)
    x, y = (_coordinate(event, name) for name in "xy")
    grid, size = limits.geometry.grid, limits.geometry.object_patches
    row, column = int(y * grid), int(x * grid)
    for index in here:
        thing = state.things[index]
        if 0 <= row - thing.row < size and 0 <= column - thing.column < size:
            return dataclasses.replace(state, selected=index)
    corner = round(y * grid - size / 2), round(x * grid - size / 2)

    def away(index: int) -> float:
        thing = state.things[index]
        return math.dist(corner, (thing.row, thing.column))

    free = [index for index in here if not (board == "scene" and index >= 2)]
    index = state.selected if state.selected in here else min(free, key=away)
    return _move(state, limits, index, *corner)


def _move(state: State, limits: Limits, index: int, row: int, column: int) -> State:
    """Within the picture; the moved object is selected."""
    last = limits.geometry.grid - limits.geometry.object_patches
    thing = dataclasses.replace(
        state.things[index], row=min(max(row, 0), last), column=min(max(column, 0), last)
    )
    name, k = state.name(index), len(state.scene)
    if 2 <= index < k:
        raise RelViTError(f"{name} cannot move: the display pair stands where training showed it")
    # a source scene has the display pair of the scene
    neighbors = range(k) if index < k else range(2, k + 2)
    for other in neighbors:
        if other != index and overlap(thing, state.things[other], limits.geometry):
            raise RelViTError(f"{name} has no room there: {state.name(other)} is in the way")
    return dataclasses.replace(state.with_thing(index, thing), selected=index)


def _coordinate(event: dict[str, Any], name: str) -> float:
    value = event.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise RelViTError(f"{name} {str(value)[:20]!r}: expected a place in the picture, 0 to 1")
    return min(float(value), 1 - 1e-9)
