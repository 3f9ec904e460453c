"""Relations beyond same and different: each answer by hand, its balance, and its splits."""

from __future__ import annotations

import numpy as np
import pytest

from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES, SceneGeometry
from hf_relvit.stimuli.choices import match_to_sample, odd_one_out
from hf_relvit.stimuli.distribution import SceneDistribution
from hf_relvit.stimuli.splits import belongs
from hf_relvit.stimuli.tasks import TASKS

NAMES = list(TASKS)[2:]
N = 240


def drawn(task: str, split: str = "test", geometry: str = "mini", n: int = N):
    crowded = TASKS[task].objects == 6 or TASKS[task].posed
    if crowded and geometry == "mini":
        geometry = "quick"  # room for all of them, or for large ones
    return SceneDistribution(task, GEOMETRIES[geometry], 64).sample(split, n)


def kinds(scenes) -> np.ndarray:
    """One number per object, ``(n, k)``."""
    return scenes.shape.astype(int) * 100 + scenes.color


def last_column(scenes) -> int:
    return scenes.geometry.grid - scenes.geometry.object_patches


def groups(scenes) -> np.ndarray:
    """How many objects have their middle in the left, the middle and the right third, ``(n, 3)``."""
    middle = scenes.corner[..., 1] + scenes.geometry.object_patches / 2
    third = np.floor(3 * middle / scenes.geometry.grid)
    return np.stack([(third == number).sum(1) for number in range(3)], axis=1)


def enclosed(scenes, number: int) -> np.ndarray:
    """Whether four others stand straight above, below, left and right of an object, equally far away."""
    steps = (scenes.corner - scenes.corner[:, number, None]).astype(int)
    straight = (steps == 0).any(-1) & (steps != 0).any(-1)
    far = np.abs(steps).sum(-1)
    directions = [
        [set(map(tuple, np.sign(one[keep]).tolist())), set(away[keep].tolist())]
        for one, away, keep in zip(steps, far, straight & (np.arange(6) > 1))
    ]
    return np.array([len(ways) == 4 and len(reach) == 1 for ways, reach in directions])


def by_hand(scenes) -> np.ndarray:
    """The answer, from the arrays alone."""
    seen = kinds(scenes)
    row, column = scenes.corner[..., 0], scenes.corner[..., 1]
    same = seen[:, :, None] == seen[:, None]
    side = np.zeros_like(seen) if scenes.pose is None else scenes.pose[..., 0]
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
        "mirrored": lambda: (
            (row[:, 0] == row[:, 1]) & (column[:, 0] + column[:, 1] == last_column(scenes))
        ),
        "same_number": lambda: np.diff(groups(scenes)[:, ::2], axis=1)[:, 0] == 0,
        "inside": lambda: enclosed(scenes, 0),
        "larger": lambda: side[:, 0] > side[:, 1],
        "svrt_19": lambda: same[:, 0, 1],
        "svrt_20": lambda: same[:, 0, 1],
        "svrt_21": lambda: same[:, 0, 1],
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
    seen = kinds(scenes)
    reading = scenes.corner.astype(int) @ [100, 1]
    if task == "sosd":
        assert (reading[:, 0] < reading[:, 2]).all()
        assert (scenes.corner[:, 0, 0] + 2 <= scenes.corner[:, 2, 0]).all()
    if task in ("match_to_sample", "odd_one_out"):
        free = reading[:, TASKS[task].layout.keywords["fixed"] :]
        assert (np.diff(free, axis=1) > 0).all()
    if task.startswith("svrt") and len(seen[0]) > 2:
        assert (np.diff(reading, axis=1) > 0).all()
    if task == "mirrored":
        assert (scenes.corner[:, 0, 1] < scenes.corner[:, 1, 1]).all()
    if task == "same_number":
        assert (listed_anew(scenes) == scenes.corner).all()
    if task == "inside":
        assert (kinds(scenes)[:, :1] != kinds(scenes)[:, 1:]).all()
        assert (np.diff(reading[:, 2:], axis=1) > 0).all()


def listed_anew(scenes) -> np.ndarray:
    """Corners of groups of a picture, found anew and listed as ``same_number`` says."""
    lists = []
    for corners in scenes.corner.tolist():
        middle = [3 * (column + scenes.geometry.object_patches / 2) for _, column in corners]
        third = [int(place // scenes.geometry.grid) for place in middle]
        left, center, right = (
            sorted(corner for corner, where in zip(corners, third) if where == number)
            for number in range(3)
        )
        lists.append([left[0], right[0], *left[1:], *right[1:], *center])
    return np.array(lists)


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


def best_guess(value: np.ndarray, label: np.ndarray) -> float:
    """Accuracy of the best rule that knows one value of each scene."""
    _, kind = np.unique(value, return_inverse=True)
    counts = np.zeros((kind.max() + 1, 2))
    np.add.at(counts, (kind, label), 1)
    return counts.max(1).sum() / len(label)


@pytest.mark.parametrize("geometry", ["mini", "b16", "b32", "b16small"])
def test_pairs_that_are_no_mirror_images_are_so_in_the_picture(geometry):
    scenes = drawn("mirrored", geometry=geometry, n=2000)
    origin = scenes.corner.astype(int) * scenes.geometry.patch_size + scenes.jitter
    across = scenes.geometry.image_size - scenes.geometry.sprite_size
    rows_off = np.abs(origin[:, 0, 0] - origin[:, 1, 0])
    distance_off = np.abs(origin[:, 0, 1] + origin[:, 1, 1] - across)
    off = np.maximum(rows_off, distance_off)
    assert off[scenes.label == 1].max() < off[scenes.label == 0].min()


def test_either_half_of_mirror_symmetry_is_right_for_three_quarters():
    scenes = drawn("mirrored", "train", "b16", n=8000)
    one_row = scenes.corner[:, 0, 0] == scenes.corner[:, 1, 0]
    equally_far = scenes.corner[..., 1].sum(1) == last_column(scenes)
    assert abs(best_guess(one_row, scenes.label) - 0.75) < 0.02
    assert abs(best_guess(equally_far, scenes.label) - 0.75) < 0.02
    for relation in (0, 1):
        assert scenes.label[scenes.relation[:, 0] == relation].mean() == 0.5
    for number in range(2):
        for axis in range(2):
            assert best_guess(scenes.corner[:, number, axis], scenes.label) < 0.54


@pytest.mark.parametrize("n", [4, 8, 12, 240])
def test_no_group_alone_tells_whether_two_are_equally_many(n):
    scenes = drawn("same_number", geometry="b16", n=n)
    counts = groups(scenes)
    assert (counts.sum(1) == 6).all()
    assert scenes.label.sum() == n // 2
    if n % 8 == 0:
        assert [best_guess(counts[:, group], scenes.label) for group in range(3)] == [0.75] * 3
    sides = counts[:, ::2]
    assert sides.min() >= 1 and sides.max() <= 3
    assert (np.abs(np.diff(sides, axis=1))[scenes.label == 0] == 2).all()


def test_places_tell_which_object_is_inside_only_with_the_fence():
    scenes = drawn("inside", "train", "quick", n=8000)
    assert (enclosed(scenes, 0) != enclosed(scenes, 1)).all()
    places = scenes.corner.reshape(8000, -1).astype(int)
    two = places[:, :4] @ 10 ** np.arange(4)
    fence = places[:, 4:] @ 10 ** np.arange(8)
    assert best_guess(two, scenes.label) < 0.53
    assert best_guess(fence, scenes.label) < 0.53
    assert best_guess(two * 10**8 + fence, scenes.label) == 1


def test_fences_have_several_sizes_and_leave_the_other_object_outside():
    scenes = drawn("inside", geometry="b16", n=800)
    assert set(np.diff(scenes.corner[:, [2, 5], 0], axis=1).ravel()) == {4, 6, 8}
    reach = np.diff(scenes.corner[:, [2, 5], 0], axis=1)[:, 0] // 2
    away = np.abs(scenes.corner[:, 0] - scenes.corner[:, 1]).sum(1)
    assert (away >= reach + 2).all()


def test_a_picture_too_narrow_for_two_distances_is_one_line():
    narrow = SceneGeometry("narrow", 32, 8, 16, 16)
    with pytest.raises(RelViTError, match=r"no free placement found for .* 4 x 4 patches: choose"):
        SceneDistribution("mirrored", narrow, 64).sample("train", 8)
