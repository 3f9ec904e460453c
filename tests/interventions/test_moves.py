"""Clicks and keys: they select, move, and refuse."""

from __future__ import annotations

import pytest
from interventions.test_state import FOUR, TWO

from hf_relvit.errors import RelViTError
from hf_relvit.spaces.interventions.moves import first_state, touch


def click(row: float, column: float, grid: int = 8) -> dict:
    return {"x": column / grid, "y": row / grid}


def test_a_click_on_an_object_selects_it():
    state = first_state(TWO)
    b = state.scene[1]
    after = touch(state, TWO, "scene", click(b.row + 1.5, b.column + 0.2))
    assert after.selected == 1
    assert after.placed_objects == state.placed_objects


def test_a_click_on_a_free_place_centers_the_object_there():
    state = touch(first_state(TWO), TWO, "scene", click(1, 7))
    assert (state.scene[0].row, state.scene[0].column) == (0, 6)
    state = touch(state, TWO, "scene", click(7.9, 0.1))  # within the picture
    assert (state.scene[0].row, state.scene[0].column) == (6, 0)


def test_in_the_other_picture_the_nearest_object_comes():
    state = first_state(TWO)
    after = touch(state, TWO, "source", click(7.5, 0.5))
    assert after.selected == 3
    assert after.scene == state.scene


def test_arrow_keys_move_by_one_patch_and_stop_at_the_edge():
    state = touch(first_state(TWO), TWO, "scene", {"key": "ArrowUp"})
    assert state.scene[0].row == 2
    for _ in range(9):
        state = touch(state, TWO, "scene", {"key": "ArrowLeft"})
    assert state.scene[0].column == 0


def test_no_place_is_taken_twice():
    state = first_state(TWO)
    b = state.scene[1]
    with pytest.raises(RelViTError, match="B is in the way"):
        touch(state, TWO, "scene", click(b.row - 0.5, b.column + 1))


def test_the_display_pair_stays():
    state = touch(first_state(FOUR), FOUR, "scene", click(0.5, 0.5, 14))
    assert state.selected == 2
    with pytest.raises(RelViTError, match="C cannot move"):
        touch(state, FOUR, "scene", {"key": "ArrowDown"})
    with pytest.raises(RelViTError, match="in the way"):
        touch(state, FOUR, "source", click(1, 2, 14))


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"x": 0.5},
        {"x": "a", "y": 0},
        {"x": -1, "y": 0},
        {"x": float("nan"), "y": 0},
        {"x": True, "y": 0},
        {"key": "Enter"},
        {"key": ["ArrowUp"]},
        {"key": "<b>"},
    ],
)
def test_hostile_events_are_refused(event):
    with pytest.raises(RelViTError, match="expected"):
        touch(first_state(TWO), TWO, "scene", event)
