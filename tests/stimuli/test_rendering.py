import dataclasses
import tracemalloc
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_relvit.geometry import GEOMETRIES
from hf_relvit.stimuli.objects import ObjectSet
from hf_relvit.stimuli.rendering import render, render_masks
from hf_relvit.stimuli.scenes import sample
from hf_relvit.stimuli.tasks import TASKS

DEFAULT = ObjectSet.default()


@pytest.fixture(scope="module")
def scenes():
    table = sample("discrimination", GEOMETRIES["b16"], "train", 400, combinations=32)
    return table, render(table), render_masks(table)


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("task", TASKS)
def test_masks_are_the_pixels_that_are_not_white(task, name):
    if name == "mini" and (TASKS[task].objects == 6 or TASKS[task].posed):
        pytest.skip("no room for six objects, or for large ones")
    table = sample(task, GEOMETRIES[name], "test_ood_shape_color", 40)
    pictures, masks = render(table), render_masks(table)
    side = GEOMETRIES[name].image_size
    assert pictures.shape == (40, side, side, 3)
    assert pictures.dtype == np.uint8
    assert masks.shape == (40, table.shape.shape[1], side, side)
    assert masks.dtype == bool
    assert masks.sum(1).max() == 1  # objects never overlap
    covered = masks.any(1)
    assert (pictures[~covered] == 255).all()
    assert pictures[covered].max() <= 250
    np.testing.assert_array_equal(covered, (pictures != 255).any(-1))


@pytest.mark.parametrize("name", GEOMETRIES)
def test_sprites_stay_inside_their_own_patches(name):
    geometry = GEOMETRIES[name]
    table = sample("rmts", geometry, "train", 200)
    grid, patch = geometry.grid, geometry.patch_size
    touched = (
        render_masks(table)
        .reshape(200, 4, grid, patch, grid, patch)
        .any((3, 5))
        .reshape(200, 4, grid * grid)
    )
    own = np.zeros_like(touched)
    np.put_along_axis(own, table.patches(), True, axis=2)
    assert not (touched & ~own).any()
    assert touched.any(2).all()


def test_masks_are_the_sprites_at_corner_and_jitter(scenes):
    table, _, masks = scenes
    sprites = DEFAULT.sprites(24)
    for row in range(20):
        for j in range(2):
            top, left = table.corner[row, j] * 16 + table.jitter[row, j]
            np.testing.assert_array_equal(
                masks[row, j, top : top + 24, left : left + 24], sprites[table.shape[row, j]]
            )
            assert masks[row, j].sum() == sprites[table.shape[row, j]].sum()


def test_noise_is_the_official_distribution(scenes):
    """Gaussian of standard deviation 10 about the mean color, rounded down, clipped to [0, 250]."""
    table, pictures, masks = scenes
    tested = 0
    for color in range(16):
        pixels = np.concatenate(
            [pictures[r][masks[r, j]] for r, j in zip(*np.nonzero(table.color == color))]
        )
        for channel, mean in zip(pixels.T.astype(float), DEFAULT.palette[color].tolist()):
            if 45 <= mean <= 205:  # no clipping within 4.5 standard deviations
                error = 10 / np.sqrt(len(channel))
                assert abs(channel.mean() - (mean - 0.5)) < 5 * error  # rounding down costs a half
                assert abs(channel.std() - np.hypot(10, 12**-0.5)) < 4 * error
                tested += 1
            elif mean == 0:
                assert abs((channel == 0).mean() - NormalDist(0, 10).cdf(1)) < 0.02
            elif mean == 255:
                assert abs((channel == 250).mean() - (1 - NormalDist(255, 10).cdf(250))) < 0.02
    assert tested >= 20


def test_noise_quantiles_are_gaussian(scenes):
    table, pictures, masks = scenes
    rows, objects = np.nonzero(table.color == 14)  # gray, 158 in all channels
    pixels = np.concatenate([pictures[r][masks[r, j]] for r, j in zip(rows, objects)]).ravel()
    values = np.arange(130, 190)
    empirical = np.searchsorted(np.sort(pixels), values, side="right") / pixels.size
    exact = [NormalDist(158, 10).cdf(v + 1) for v in values]
    np.testing.assert_allclose(empirical, exact, atol=2.5 / np.sqrt(pixels.size))


def test_noise_is_independent(scenes):
    """Between channels, neighbors, objects of a scene, twins, splits and seeds."""
    table, pictures, _ = scenes

    def noise(table, pictures, row, j):
        top, left = table.corner[row, j] * 16 + table.jitter[row, j]
        sprite = pictures[row, top : top + 24, left : left + 24].astype(float)
        return sprite[8:16, 8:16] - DEFAULT.palette[table.color[row, j]]

    def correlation(a, b):
        keep = (np.abs(a) < 40) & (np.abs(b) < 40)  # object pixels, not the background
        return np.corrcoef(a[keep], b[keep])[0, 1]

    same = [
        row
        for row in np.nonzero(table.label)[0]
        if set(table.color[row].tolist()) <= {2, 3, 13, 14, 15}
    ]
    a = np.array([noise(table, pictures, r, 0) for r in same])
    b = np.array([noise(table, pictures, r, 1) for r in same])
    fence = 5 / np.sqrt(a.size / 8)
    assert abs(correlation(a, b)) < fence
    assert abs(correlation(a[..., 0], a[..., 1])) < fence
    assert abs(correlation(a[:, 1:], a[:, :-1])) < fence
    assert abs(correlation(a[:, :, 1:], a[:, :, :-1])) < fence
    assert abs(correlation(a[1:], a[:-1])) < fence
    for change in ({"seed": 1}, {"split": "test"}):
        other = dataclasses.replace(table, **change)
        others = render(other)
        c = np.array([noise(other, others, r, 0) for r in same])
        assert abs(correlation(a, c)) < fence


def test_same_objects_are_never_equal_in_pixels(scenes):
    table, pictures, masks = scenes
    for row in np.nonzero(table.label)[0]:
        one, two = (pictures[row][masks[row, j]] for j in (0, 1))
        assert one.shape == two.shape
        assert (one != two).mean() > 0.5


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 399), min_size=1, max_size=150))
def test_a_picture_depends_on_its_row_alone(scenes, rows):
    table, pictures, masks = scenes
    np.testing.assert_array_equal(render(table[np.array(rows)]), pictures[rows])
    np.testing.assert_array_equal(render_masks(table[np.array(rows)]), masks[rows])


def test_no_noise_and_own_objects():
    own = ObjectSet(
        DEFAULT.masks[:3], np.array([[0, 0, 0], [10, 20, 250]], np.uint8), 3, 2, noise_sd=0
    )
    table = sample("rmts", GEOMETRIES["b32"], "train", 40, combinations=6, objects=own)
    pictures, masks = render(table), render_masks(table)
    for row in range(40):
        for j in range(4):
            assert (pictures[row][masks[row, j]] == own.palette[table.color[row, j]]).all()


def test_memory_does_not_grow_beyond_the_result():
    table = sample("discrimination", GEOMETRIES["b16"], "train", 1024)
    render(table[:2])
    tracemalloc.start()
    result = render(table)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - result.nbytes < 8e6
