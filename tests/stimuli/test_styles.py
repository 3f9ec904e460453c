"""Styles: the same shapes every time, told apart at every size, with exact masks, in scenes of any task."""

from __future__ import annotations

import numpy as np
import pytest

from hf_relvit.building.build import build
from hf_relvit.building.dataset_folder import open_folder
from hf_relvit.building.settings import BuildConfig
from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.stimuli.distribution import SceneDistribution
from hf_relvit.stimuli.rendering import BACKGROUND, render, render_masks
from hf_relvit.stimuli.scenes import sample
from hf_relvit.stimuli.styles import STYLES, _objects, open_objects, parse_style

SIZES = sorted({geometry.sprite_size for geometry in GEOMETRIES.values()})


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_shapes_are_always_the_same_and_can_be_told_apart(style):
    objects = style.objects()
    assert _objects.__wrapped__(style).fingerprint() == objects.fingerprint()
    assert objects.n_shapes * objects.n_colors == 256
    for size in SIZES:
        sprites = objects.sprites(size).reshape(len(objects.masks), -1)
        apart = sprites.astype(np.float32)
        common = apart @ apart.T
        area = np.diag(common)
        differing = area[:, None] + area - 2 * common
        np.fill_diagonal(differing, size**2)
        assert differing.min() >= size**2 / 48


@pytest.mark.parametrize("style", STYLES)
def test_masks_are_exact_and_tokens_hold_all_of_them(style):
    geometry = GEOMETRIES["mini"]
    objects = open_objects(style=style)
    scenes = SceneDistribution("odd_one_out", geometry, 256, objects=objects).sample("train", 32)
    pictures = render(scenes)
    masks = render_masks(scenes)
    drawn = (pictures != BACKGROUND).any(axis=-1)
    np.testing.assert_array_equal(drawn, masks.any(axis=1))
    assert masks.sum(axis=1).max() == 1
    size, grid = geometry.patch_size, geometry.grid
    blocks = masks.reshape(32, 4, grid, size, grid, size).any(axis=(3, 5)).reshape(32, 4, -1)
    for scene, patches in enumerate(scenes.patches()):
        for number, owned in enumerate(patches):
            assert set(np.flatnonzero(blocks[scene, number])) <= set(owned.tolist())


@pytest.mark.parametrize("task", ["discrimination", "rmts", "sosd", "match_to_sample"])
def test_styles_are_drawn_in_scenes_of_tasks_and_splits(task):
    objects = open_objects(style="contours")
    distribution = SceneDistribution(task, GEOMETRIES["mini"], 128, objects=objects)
    assert distribution.splits == (
        *("train", "validation", "test"),
        *("test_compositional", "test_ood_shape"),
    )
    shown = {
        split: set(distribution.sample(split, 64).shape.ravel()) for split in distribution.splits
    }
    assert not shown["train"] & (shown["test_compositional"] | shown["test_ood_shape"])
    assert all(distribution.sample(split, 64).label.mean() == 0.5 for split in distribution.splits)


def test_a_style_is_the_head_of_a_config(tmp_path):
    assert parse_style("arrows-b16-256") == ("arrows", "b16-256")
    assert parse_style("b16-256") == (None, "b16-256")
    settings = BuildConfig("discrimination", "arrows-mini-256", n_train=4, n_eval=4)
    build(settings, tmp_path, say=print)
    rows = open_folder(tmp_path, "arrows-mini-256")["test"]
    objects = open_objects(style="arrows")
    table = sample("discrimination", GEOMETRIES["mini"], "test", 4, objects=objects)
    assert rows["label"][:] == table.label.tolist()
    np.testing.assert_array_equal(np.stack([np.asarray(i) for i in rows["image"]]), table.pixels())
    card = (tmp_path / "README.md").read_text()
    assert "relvit data build discrimination --config arrows-mini-256" in card
    assert "not ours" not in card


def test_unknown_styles_and_two_kinds_of_objects_are_one_line():
    with pytest.raises(
        RelViTError, match=r"unknown style 'arows': expected one of irregular, .*arrows"
    ):
        open_objects(style="arows")
    with pytest.raises(RelViTError, match="masks mine with style arrows: name one of them"):
        open_objects("mine", style="arrows")
