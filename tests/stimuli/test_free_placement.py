"""Objects beyond the grid: at any pixel, of any scale and turn, mirrored; masks, token sets, balance and splits."""

from __future__ import annotations

import numpy as np
import pytest

from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES, geometry, parse_config
from hf_relvit.stimuli.alike_shapes import apart_in_poses
from hf_relvit.stimuli.distribution import SceneDistribution
from hf_relvit.stimuli.objects import SHAPE_NAMES, ObjectSet
from hf_relvit.stimuli.poses import MIRRORED, SIDE, TURN, posed_sprites, sides
from hf_relvit.stimuli.preview import contact_sheet
from hf_relvit.stimuli.rendering import render, render_masks, sprite_origins, sprites_of
from hf_relvit.stimuli.splits import belongs
from hf_relvit.stimuli.styles import STYLES, open_objects
from hf_relvit.stimuli.tasks import TASKS

DEFAULT = ObjectSet.default()
POSED = [name for name, task in TASKS.items() if task.posed]
FREE = [("discrimination", "b16-free"), ("rmts", "b16-free"), ("discrimination", "quick-free")]
SHARED = [("discrimination", "b16-posed"), ("rmts", "b16-posed"), ("discrimination", "small-posed")]
SETS = [*FREE, *SHARED, *((task, name) for task in POSED for name in ("b16", "quick"))]


def drawn(task: str, name: str, split: str = "test", n: int = 120, **options):
    return SceneDistribution(task, geometry(name), 64, **options).sample(split, n)


def pose(side: int, turn: int = 0, mirrored: int = 0) -> np.ndarray:
    """The same pose for all shapes."""
    return np.tile([side, turn, mirrored], (len(DEFAULT.masks), 1))


def sprites(size: int, **values: int) -> np.ndarray:
    return posed_sprites(DEFAULT, size, np.arange(len(DEFAULT.masks)), pose(**values))


@pytest.mark.parametrize(("task", "name"), SETS)
def test_token_sets_are_a_count_of_the_masks(task, name):
    scenes = drawn(task, name, n=24)
    patch, grid = scenes.geometry.patch_size, scenes.geometry.grid
    n, k = scenes.shape.shape
    masks = render_masks(scenes).reshape(n, k, grid, patch, grid, patch)
    counts = masks.sum((3, 5)).reshape(n, k, -1)
    for owned, pixels in zip(scenes.patches().reshape(n * k, -1), counts.reshape(n * k, -1)):
        expected = np.flatnonzero(16 * pixels >= patch**2)
        if not len(expected):
            expected = [pixels.argmax()]
        ids = owned[owned >= 0]
        assert ids.tolist() == list(expected)
        assert (owned[len(ids) :] == -1).all()


@pytest.mark.parametrize("share", [1, 16])
def test_an_object_that_covers_little_owns_the_patch_that_it_covers_most(share, monkeypatch):
    monkeypatch.setattr("hf_relvit.stimuli.token_sets.LEAST_SHARE", share)
    scenes = drawn("discrimination", "b16-free", objects=open_objects(style="contours"))
    counts = (scenes.patches() >= 0).sum(-1)
    assert counts.min() == 1
    assert (counts.max() == 1) == (share == 1)


def test_no_turn_and_the_same_scale_are_the_pixels_of_the_grid():
    for name, size, side in (("b16", 48, 24), ("quick", 24, 16)):
        assert side in sides(geometry(name).posed()) and geometry(name).sprite_size == side
        assert geometry(name).posed().sprite_size == size
        edge = (size - side) // 2
        inner = np.pad(DEFAULT.sprites(side), ((0, 0), (edge, edge), (edge, edge)))
        np.testing.assert_array_equal(sprites(size, side=side), inner)


def test_quarter_turns_and_mirrors_are_exact():
    upright = sprites(48, side=28)
    for quarter in range(1, 4):
        turned = sprites(48, side=28, turn=90 * quarter)
        np.testing.assert_array_equal(turned, np.rot90(upright, quarter, axes=(1, 2)))
    np.testing.assert_array_equal(sprites(48, side=28, mirrored=1), upright[:, :, ::-1])


@pytest.mark.parametrize("turn", [15, 135, 300])
def test_a_turn_keeps_the_area(turn):
    upright, turned = sprites(48, side=32), sprites(48, side=32, turn=turn)
    areas = upright.sum((1, 2)), turned.sum((1, 2))
    changed = (upright != turned).any((1, 2))
    assert [SHAPE_NAMES[i] for i in np.flatnonzero(~changed)] == ["ring"]
    np.testing.assert_allclose(areas[1], areas[0], rtol=0.06)
    assert not turned[:, [0, -1]].any() and not turned[:, :, [0, -1]].any()


@pytest.mark.parametrize(("task", "name"), SETS)
def test_masks_are_exact_and_stay_in_the_square_of_the_object(task, name):
    scenes = drawn(task, name, n=24)
    pictures, masks = render(scenes), render_masks(scenes)
    np.testing.assert_array_equal(masks.any(1), (pictures != 255).any(-1))
    assert masks.sum(1).max() == 1
    patch, grid, square = scenes.geometry.patch_size, scenes.geometry.grid, scenes.geometry
    touched = masks.reshape(*masks.shape[:2], grid, patch, grid, patch).any((3, 5))
    own = np.zeros((*masks.shape[:2], grid * grid), dtype=bool)
    np.put_along_axis(own, square.patches(scenes.corner), True, axis=2)
    assert not (touched.reshape(own.shape) & ~own).any()


def test_a_scene_is_the_same_alone_and_in_any_batch():
    scenes = drawn("svrt_21", "quick")
    rows = np.array([70, 3, 4])
    np.testing.assert_array_equal(render(scenes[rows]), render(scenes)[rows])
    np.testing.assert_array_equal(scenes[rows].patches(), scenes.patches()[rows])


def test_an_object_begins_at_any_pixel():
    origins = sprite_origins(drawn("discrimination", "b16-free", "train", n=6000))
    assert origins.min() == 0
    assert origins.max() == 224 - 48 + 15
    counts = np.bincount(origins[..., 0].ravel() % 16, minlength=16)
    expected = counts.mean()
    assert ((counts - expected) ** 2 / expected).sum() < 48  # chi-squared, 15 degrees of freedom


@pytest.mark.parametrize(("task", "name"), SETS)
def test_splits_share_no_scene(task, name):
    seen = {}
    for split in ("train", "validation", "test"):
        scenes = drawn(task, name, split)
        kinds = np.stack([scenes.shape, scenes.color], -1)
        assert belongs(split, kinds, scenes.corner).all()
        assert scenes.label.mean() == 0.5
        lists = np.concatenate([kinds, scenes.corner], -1).reshape(len(scenes), -1)
        seen[split] = set(map(bytes, lists))
    assert not seen["train"] & seen["test"] and not seen["validation"] & seen["test"]


@pytest.mark.parametrize("task", POSED)
def test_twins_have_the_other_answer_at_the_same_places(task):
    scenes = drawn(task, "b16")
    twin = scenes[scenes.twin]
    np.testing.assert_array_equal(twin.twin, scenes.index)
    np.testing.assert_array_equal(twin.corner, scenes.corner)
    np.testing.assert_array_equal(twin.label, 1 - scenes.label)
    other = twin.pose[:, ::-1] if task == "larger" else twin.pose
    np.testing.assert_array_equal(other, scenes.pose)
    shared = (twin.shape[:, :, None] == scenes.shape[:, None]).any((1, 2))
    assert shared.all()
    assert (scenes.color[:, 0] == scenes.color[:, 1]).all()


def test_poses_are_those_of_the_question():
    larger, scaled, mirrored, turned = (
        drawn(task, "b16", n=600).pose for task in ("larger", "svrt_19", "svrt_20", "svrt_21")
    )
    levels = sides(geometry("b16").posed())
    assert levels == (20, 24, 28, 32)
    step = np.abs(np.diff(larger[..., SIDE], axis=1))
    assert (step == 4).all() and not larger[..., TURN:].any()
    for poses in (scaled, turned):
        assert (poses[:, 0, SIDE] != poses[:, 1, SIDE]).all()
        assert set(poses[..., SIDE].ravel()) == set(levels)
    assert not scaled[..., TURN:].any() and not turned[..., MIRRORED].any()
    assert (turned[:, 0, TURN] != turned[:, 1, TURN]).all()
    assert set(turned[..., TURN].ravel()) == set(range(0, 360, 15))
    assert (mirrored[..., MIRRORED].sum(1) == 1).all()
    assert set(mirrored[..., SIDE].ravel()) == {32}


def test_the_marked_object_is_at_the_top_left_and_its_size_alone_tells_little():
    scenes = drawn("larger", "quick", "train", n=1200)
    assert not scenes.corner[:, 0].any() and (scenes.corner[:, 1].max(-1) >= 4).all()
    side = scenes.pose[:, 0, SIDE]
    best = sum(
        max(scenes.label[side == level].mean(), 1 - scenes.label[side == level].mean())
        * (side == level).mean()
        for level in set(side)
    )
    assert abs(best - 2 / 3) < 0.03


def test_both_answers_show_the_same_shapes():
    scenes = drawn("svrt_21", "b16", "train", n=6000)
    counts = [np.bincount(scenes.shape[scenes.label == i].ravel(), minlength=16) for i in (0, 1)]
    np.testing.assert_allclose(counts[1], counts[0], rtol=0.2)


def test_shapes_that_a_turn_makes_alike_are_never_different():
    numbers = [SHAPE_NAMES.index(name) for name in ("hourglass", "bow tie", "bone")]
    upright, turned = apart_in_poses(DEFAULT, False), apart_in_poses(DEFAULT, True)
    alike = {tuple(pair) for pair in np.argwhere(~turned).tolist() if pair[0] < pair[1]}
    assert alike == {(numbers[0], numbers[1]), (numbers[1], numbers[2])}
    assert (~upright).sum() == len(DEFAULT.masks)
    for name, apart in (("svrt_19", upright), ("svrt_21", turned)):
        scenes = drawn(name, "b16", "train", n=600)
        different = scenes.shape[scenes.label == 0]
        assert apart[different[:, 0], different[:, 1]].all()


@pytest.mark.parametrize("turned", [False, True])
def test_a_shape_is_alike_to_itself_larger_and_turned(turned):
    large = DEFAULT.masks[[0, 2, 13]]
    small = large[:, ::2, ::2]
    other = np.zeros_like(large)
    other[:, 20:116, 60:156] = np.rot90(small, axes=(1, 2)) if turned else small
    objects = ObjectSet(np.concatenate([large, other]), DEFAULT.palette, 6, 16)
    np.testing.assert_array_equal(~apart_in_poses(objects, turned)[:3, 3:], np.eye(3, dtype=bool))


@pytest.mark.parametrize("style", ["contours", "squares", "straight_lines", "connected_circles"])
def test_styles_have_shapes_that_differ_in_all_poses(style):
    scenes = SceneDistribution("svrt_21", geometry("b16"), 256, STYLES[style].objects()).sample(
        "train", 64
    )
    pictures = render(scenes)
    np.testing.assert_array_equal(render_masks(scenes).any(1), (pictures != 255).any(-1))
    assert scenes.label.mean() == 0.5


@pytest.mark.parametrize(("task", "name"), SHARED)
def test_all_objects_of_a_scene_and_of_its_twin_have_one_pose(task, name):
    scenes = drawn(task, name, n=1200)
    assert (scenes.pose == scenes.pose[:, :1]).all()
    twins = scenes.twin >= 0
    assert twins.all() == (task == "discrimination")
    np.testing.assert_array_equal(scenes.pose[twins], scenes.pose[scenes.twin[twins]])
    own = scenes.pose[:, 0]
    assert set(own[:, SIDE].tolist()) == set(sides(scenes.geometry))
    assert set(own[:, TURN].tolist()) == set(range(0, 360, 15)) and not own[:, MIRRORED].any()


def test_turned_scenes_show_equal_silhouettes_where_shapes_are_equal():
    scenes = drawn("discrimination", "b16-posed", objects=STYLES["arrows"].objects())
    one, other = sprites_of(scenes).swapaxes(0, 1)
    equal = (one == other).all((1, 2))
    np.testing.assert_array_equal(equal, scenes.shape[:, 0] == scenes.shape[:, 1])


def test_a_config_names_free_placement():
    free, combinations = parse_config("b16-free-32")
    assert (free, combinations) == (GEOMETRIES["b16"].with_placement("free"), 32)
    assert (free.name, free.object_size, free.max_jitter) == ("b16-free", 48, 15)
    assert (free.tokens_per_object, GEOMETRIES["b16"].tokens_per_object) == (1, 4)
    assert SceneDistribution("discrimination", free, 32).name == "b16-free-32"


@pytest.mark.parametrize("name", ["b16-free", "b16-posed"])
@pytest.mark.parametrize("task", POSED)
def test_posed_scenes_are_the_same_with_a_geometry_that_is_free_already(task, name):
    one, other = drawn(task, "b16"), drawn(task, name)
    np.testing.assert_array_equal(one.pixels(), other.pixels())
    assert one.geometry.posed() is one.geometry


def test_a_preview_frames_the_patches_of_objects():
    scenes = drawn("svrt_21", "quick", n=2)
    sheet = np.asarray(contact_sheet(scenes, columns=1))
    assert (sheet == (0x4A, 0x4A, 0x4A)).all(-1).any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: SceneDistribution("discrimination", geometry("quick-free"), 64).pairs(
                "color", "test", 8
            ),
            "a swap needs equally many tokens of every object, .*'quick-free'.* discrimination and quick$",
        ),
        (lambda: drawn("svrt_21", "mini"), "2 objects of 32 pixels have no room in 48 pixels"),
        (
            lambda: SceneDistribution("svrt_19", geometry("b16"), 16).sample("train", 4),
            "no two of 16 objects differ in shape only: choose more",
        ),
        (lambda: geometry("b17-free"), "unknown geometry 'b17-free': expected one of b16,"),
        (lambda: geometry("b16-turned"), "unknown geometry 'b16-turned': .* with -free or -posed$"),
        (lambda: drawn("inside", "b16-posed"), "6 objects of 64 pixels have no room in 224 pixels"),
    ],
)
def test_bad_input_is_one_line_with_the_cure(make, message):
    with pytest.raises(RelViTError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
