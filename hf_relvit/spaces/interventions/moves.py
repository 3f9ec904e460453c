"""The effects of clicks and keys on a state."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from hf_relvit.errors import RelViTError
from hf_relvit.stimuli.objects import COLOR_NAMES, SHAPE_NAMES

from .state import Limits, PlacedObject, State, overlap

KEYS = {
    "ArrowUp": (-1, 0),
    "ArrowDown": (1, 0),
    "ArrowLeft": (0, -1),
    "ArrowRight": (0, 1),
}
_STAR = SHAPE_NAMES.index("star")
_FLAG = SHAPE_NAMES.index("flag")
_RING = SHAPE_NAMES.index("ring")
_BONE = SHAPE_NAMES.index("bone")
_PINK = COLOR_NAMES.index("pink")
_BLUE = COLOR_NAMES.index("light blue")


def first_state(limits: Limits) -> State:
    """A scene to start with: two stars that differ in color, and a source object with the color that B has."""
    corners = [PlacedObject(_BONE, color, *corner) for color, corner in zip((1, 2), limits.fixed)]
    a = PlacedObject(_STAR, _PINK, row=3, column=1)
    b = PlacedObject(_STAR, _BLUE, row=5, column=5)
    x = PlacedObject(_FLAG, _BLUE, row=3, column=5)
    y = PlacedObject(_RING, _PINK, row=5, column=2)
    return State(limits.model, (a, b, *corners), (x, y))


def touch(state: State, limits: Limits, board: str, event: dict[str, Any]) -> State:
    """A click or a key on one of the two pictures.

    A click on an object selects it. A click on a free place moves the selected object there, or, if that stands in the
    other picture, the nearest object of this one. Arrow keys move the selected object by one patch.

    Args:
        board: "scene" or "source".
        event: ``x`` and ``y`` in 0..1 of the picture, or ``key``.

    Raises:
        RelViTError: an event that is neither, or a place that is taken.
    """
    if not isinstance(event, dict):
        raise RelViTError(f"move {str(event)[:20]!r}: expected x and y, or a key")
    objects: tuple[PlacedObject, ...] = getattr(state, board)
    first = 0 if board == "scene" else len(state.scene)
    here = range(first, first + len(objects))
    if event.get("key") is not None:
        index = state.selected if state.selected in here else first
        return _moved_by_key(state, limits, index, event["key"])
    grid = limits.geometry.grid
    size = limits.geometry.object_patches
    x = _coordinate(event, "x") * grid
    y = _coordinate(event, "y") * grid
    for index, placed in zip(here, objects):
        down = int(y) - placed.row
        right = int(x) - placed.column
        if 0 <= down < size and 0 <= right < size:
            return dataclasses.replace(state, selected=index)
    corner = (round(y - size / 2), round(x - size / 2))
    index = state.selected
    if index not in here:
        index = _nearest(state, here, corner)
    return _move(state, limits, index, *corner)


def _moved_by_key(state: State, limits: Limits, index: int, key: Any) -> State:
    if not isinstance(key, str) or key not in KEYS:
        raise RelViTError(f"key {str(key)[:20]!r}: expected an arrow key")
    placed = state.placed(index)
    down, right = KEYS[key]
    return _move(
        state,
        limits,
        index,
        placed.row + down,
        placed.column + right,
    )


def _nearest(state: State, here: range, corner: tuple[int, int]) -> int:
    """The object of a picture that stands nearest to a place; those of the display pair cannot move."""

    def distance(index: int) -> float:
        placed = state.placed(index)
        return math.dist(corner, (placed.row, placed.column))

    movable = [index for index in here if not _is_fixed(state, index)]
    return min(movable, key=distance)


def _is_fixed(state: State, index: int) -> bool:
    return 2 <= index < len(state.scene)


def _move(state: State, limits: Limits, index: int, row: int, column: int) -> State:
    """Within the picture; the moved object is selected."""
    last = limits.geometry.grid - limits.geometry.object_patches
    moved = dataclasses.replace(
        state.placed(index),
        row=min(max(row, 0), last),
        column=min(max(column, 0), last),
    )
    name = state.name(index)
    count = len(state.scene)
    if _is_fixed(state, index):
        raise RelViTError(f"{name} cannot move: the display pair stands where training showed it")
    # a source scene has the display pair of the scene
    neighbors = range(count) if index < count else range(2, count + 2)
    for other in neighbors:
        if other != index and overlap(moved, state.placed(other), limits.geometry):
            raise RelViTError(f"{name} has no room there: {state.name(other)} is in the way")
    state = state.with_object(index, moved)
    return dataclasses.replace(state, selected=index)


def _coordinate(event: dict[str, Any], name: str) -> float:
    value: Any = event.get(name)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1:
        raise RelViTError(f"{name} {str(value)[:20]!r}: expected a place in the picture, 0 to 1")
    return min(float(value), 1 - 1e-9)
