"""Relations beyond same and different: each answer by hand, its balance, and its splits."""

from __future__ import annotations

import numpy as np
import pytest

from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.stimuli.choices import match_to_sample, odd_one_out
from hf_relvit.stimuli.distribution import SceneDistribution
from hf_relvit.stimuli.splits import belongs
from hf_relvit.stimuli.tasks import TASKS

NAMES = list(TASKS)[2:]
N = 240


def drawn(task: str, split: str = "test", geometry: str = "mini", n: int = N):
    geometry = "quick" if task == "svrt_7" else geometry
    return SceneDistribution(task, GEOMETRIES[geometry], 64).sample(split, n)


def kinds(scenes) -> np.ndarray:
    """One number per object, ``(n, k)``."""
    return scenes.shape.astype(int) * 100 + scenes.color


def by_hand(scenes) -> np.ndarray:
    """The answer, from the arrays alone."""
    seen = kinds(scenes)
    row, column = scenes.corner[..., 0], scenes.corner[..., 1]
    same = seen[:, :, None] == seen[:, None]
    answers = {
        "same_shape": lambda: scenes.shape[:, 0] == scenes.shape[:, 1],
        "same_color": lambda: scenes.color[:, 0] == scenes.color[:, 1],
        "sosd": lambda: same[:, 0, 1] == same[:, 2, 3],
        "above": lambda: row[:, 0] < row[:, 1],
        "left_of": lambda: column[:, 0] < column[:, 1],
        "match_to_sample": lambda: same[:, 0, 1],
        "odd_one_out": lambda: same[:, 0].sum(1) == 1,
        "svrt_5": lambda: (same.sum(2) == 2).all(1),
        "svrt_7": lambda: (same.sum(2) == 2).all(1),
        "svrt_15": lambda: same.all((1, 2)),
        "svrt_22": lambda: same.all((1, 2)),
    }
    return answers[scenes.task]()


@pytest.mark.parametrize("task", NAMES)
def test_half_of_the_answers_are_yes_and_all_are_right(task):
    for split in ("train", "test_compositional", "test_ood_shape_color"):
        scenes = drawn(task, split)
        np.testing.assert_array_equal(scenes.label, by_hand(scenes))
        assert scenes.label.sum() == N // 2


@pytest.mark.parametrize("task", NAMES)
def test_a_picture_has_one_list_of_objects_and_so_one_split(task):
    """Objects that may trade places in the list without a change of the picture are in one order, or in one pair."""
    scenes = drawn(task, "validation")
    held = np.stack([scenes.shape, scenes.color], -1)
    assert belongs("validation", held, scenes.corner).all()
    reading = scenes.corner.astype(int) @ [100, 1]
    if task == "sosd":
        assert (reading[:, 0] < reading[:, 2]).all()
        assert (scenes.corner[:, 0, 0] + 2 <= scenes.corner[:, 2, 0]).all()
    if task in ("match_to_sample", "odd_one_out"):
        free = reading[:, TASKS[task].layout.keywords["fixed"] :]
        assert (np.diff(free, axis=1) > 0).all()
    if task.startswith("svrt"):
        assert (np.diff(reading, axis=1) > 0).all()


def test_the_other_property_tells_nothing():
    for task, other in (("same_shape", "color"), ("same_color", "shape")):
        scenes = drawn(task)
        values = getattr(scenes, other)
        same = values[:, 0] == values[:, 1]
        for answer in (0, 1):
            assert same[scenes.label == answer].mean() == 0.5


def test_the_display_shows_the_two_objects_in_the_order_of_the_question():
    for task, axis in (("above", 0), ("left_of", 1)):
        scenes = drawn(task)
        seen = kinds(scenes)
        np.testing.assert_array_equal(seen[:, :2], seen[:, 2:])
        assert (seen[:, 0] != seen[:, 1]).all()
        assert (scenes.corner[:, 2:] == [[0, 0], [0, 2]]).all()
        distance = np.abs(scenes.corner[:, 0, axis] - scenes.corner[:, 1, axis])
        assert distance.min() >= 2


def test_there_is_exactly_one_match_and_exactly_one_odd_object():
    seen = kinds(drawn("match_to_sample"))
    assert ((seen[:, 1:] == seen[:, :1]).sum(1) == 1).all()
    assert all(len(set(row)) == 3 for row in seen.tolist())
    for row in kinds(drawn("odd_one_out")).tolist():
        assert sorted(map(row.count, set(row))) == [1, 3]


@pytest.mark.parametrize("task", [match_to_sample(5), odd_one_out(6)])
def test_other_numbers_of_choices(task, monkeypatch):
    monkeypatch.setitem(TASKS, task.name, task)
    scenes = drawn(task.name, geometry="small", n=64)
    assert scenes.shape.shape == (64, 6)
    np.testing.assert_array_equal(scenes.label, by_hand(scenes))
    assert scenes.label.sum() == 32


def test_objects_that_cannot_differ_in_one_property_are_one_line():
    with pytest.raises(RelViTError, match="no two of 16 objects differ in shape only: choose more"):
        SceneDistribution("same_color", GEOMETRIES["mini"], 16).sample("train", 4)


def test_a_swap_of_the_asked_property_changes_the_answer():
    for task, prop in (("same_shape", "shape"), ("same_color", "color"), ("sosd", "shape")):
        pairs = SceneDistribution(task, GEOMETRIES["mini"], 64).pairs(prop, "test", 64)
        assert (pairs.label == 1 - pairs.base.label).all()


def test_groups_of_svrt_are_those_of_its_problems():
    for task, sizes in (("svrt_5", [1] * 4), ("svrt_7", [3, 3]), ("svrt_15", [1] * 4)):
        for row in kinds(drawn(task))[drawn(task).label == 0].tolist():
            assert sorted(map(row.count, set(row))) == sizes


def test_squares_and_rows_of_svrt():
    corner = drawn("svrt_15").corner.astype(int)
    side = corner[:, 1, 1] - corner[:, 0, 1]
    assert (side >= 2).all()
    np.testing.assert_array_equal(corner[:, 3] - corner[:, 0], np.column_stack([side, side]))
    steps = np.diff(drawn("svrt_22").corner.astype(int), axis=1)
    np.testing.assert_array_equal(steps[:, 0], steps[:, 1])
    assert (steps[..., 0] == 0).all()
