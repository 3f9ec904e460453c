import dataclasses

import numpy as np
import pytest

from hf_relvit.errors import RelViTError
from hf_relvit.stimuli.photorealistic.library import Library
from hf_relvit.stimuli.photorealistic.masks import camera_axes
from hf_relvit.stimuli.photorealistic.placement import (
    draw_twins,
    lamp_in_sight,
    rotation_matrix,
    scene_mask,
    solids,
)
from hf_relvit.stimuli.photorealistic.scenes import Light, Pairing, SceneOptions, pairings

pytest.importorskip("trimesh", reason="needs the extra: pip install 'hf_relvit[render]'")
pytest.importorskip("embreex", reason="needs the extra: pip install 'hf_relvit[render]'")


@pytest.fixture
def library(own_folder):
    return Library.from_folder(own_folder)


@pytest.fixture(params=[False, True], ids=["about the vertical axis", "full rotation"])
def options(request):
    return SceneOptions(n=24, full_rotation=request.param)


def twins(options, library):
    return [draw_twins(pairing, options, library) for pairing in pairings(options, len(library))]


def test_nothing_floats_sinks_touches_is_cut_off_or_hidden_too_far(options, library):
    for scene in (scene for pair in twins(options, library) for scene in pair):
        first, second = solids(scene, library)
        for solid in (first, second):
            assert abs(solid[..., 2].min()) < 1e-5  # on the table
            assert solid[..., 1].max() < scene.wall
        centers = np.array(scene.positions)[:, :2]
        apart = (centers[1] - centers[0]) / np.linalg.norm(centers[1] - centers[0])
        assert (first[..., :2] @ apart).max() < (
            second[..., :2] @ apart
        ).min()  # a plane between them
        axes = np.stack(camera_axes(scene.camera, scene.target))
        seen = (np.concatenate([first, second]).reshape(-1, 3) - scene.camera) @ axes.T
        assert np.abs(seen[:, 1:] / seen[:, :1]).max() < np.tan(np.deg2rad(scene.fov) / 2)
        assert min(scene.visible) >= options.min_visible
        mask = scene_mask(scene, library)
        assert not any(edge.any() for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
        shares = np.bincount(mask.ravel(), minlength=3)[1:] / mask.size
        low, high = options.coverage
        for share, visible in zip(shares, scene.visible):
            assert low <= share / visible <= high


def test_twins_differ_in_one_object_alone(options, library):
    same_fields = (
        "rotations",
        "camera",
        "target",
        "fov",
        "wall",
        "table_surface",
        "lights",
        "ambient",
        "noise",
    )
    for different, same in twins(options, library):
        assert (different.label, same.label) == (0, 1)
        assert same.index == different.index ^ 1
        assert all(getattr(different, name) == getattr(same, name) for name in same_fields)
        assert [p[:2] for p in different.positions] == [p[:2] for p in same.positions]
        shown = list(zip(different.objects, different.tints)), list(zip(same.objects, same.tints))
        assert shown[0][0] != shown[0][1]
        assert shown[1][0] == shown[1][1]
        assert sum(a == b for a, b in zip(*shown)) == 1


def test_a_scene_does_not_depend_on_the_others(library):
    options = SceneOptions(n=24)
    pairs = pairings(options, len(library))
    alone = draw_twins(pairs[7], options, library)
    assert alone == [draw_twins(pair, options, library) for pair in pairs[:8]][7]
    assert alone != draw_twins(pairs[7], dataclasses.replace(options, seed=1), library)


def test_upright_objects_turn_about_the_vertical_axis_only(library):
    for different, _ in twins(SceneOptions(n=8), library):
        for rotation in different.rotations:
            np.testing.assert_allclose(rotation_matrix(rotation) @ [0, 0, 1], [0, 0, 1], atol=1e-12)


def test_no_lamp_stands_between_the_camera_and_the_scene():
    options, library = SceneOptions(), Library.default()
    (scene, _), between = draw_twins(pairings(options, 16)[0], options, library), (0.8, 0.2)
    assert not lamp_in_sight(scene)
    position = tuple(
        between[0] * here + between[1] * there for here, there in zip(scene.camera, scene.target)
    )
    hidden = dataclasses.replace(
        scene, lights=(scene.lights[0], Light(position, 3.0, (1.0, 1.0, 1.0)))
    )
    assert lamp_in_sight(hidden)
    behind = tuple(1.2 * here - 0.2 * there for here, there in zip(scene.camera, scene.target))
    assert not lamp_in_sight(
        dataclasses.replace(scene, lights=(Light(behind, 3.0, (1.0, 1.0, 1.0)),) * 2)
    )
    # Of this pair the first draw that keeps all other constraints has its window before the camera: a black picture.
    assert not any(map(lamp_in_sight, draw_twins(pairings(options, 16)[203], options, library)))


def test_constraints_that_cannot_be_met_are_named(library, monkeypatch):
    monkeypatch.setattr("hf_relvit.stimuli.photorealistic.placement.MAX_TRIES", 30)
    with pytest.raises(
        RelViTError, match=r"red box and tower found in 30 tries: the constraint 'coverage' failed"
    ) as e:
        draw_twins(Pairing(0, 1, (0, 0), (1, 0), 0), SceneOptions(coverage=(0.5, 0.6)), library)
    assert str(e.value).endswith("or widen the coverage of SceneOptions")


def test_scenes_are_pinned():
    """The same seed gives the same scenes: raise the builder's VERSION if this must change."""
    options = SceneOptions(n=4)
    pairing = pairings(options, 16)[1]
    first, _ = draw_twins(pairing, options, Library.default())
    assert first.objects == (0, 10)
    np.testing.assert_allclose(first.camera, [0.172135, -7.357702, 4.019979], atol=1e-6)
    np.testing.assert_allclose(first.visible, [np.float64(1.0), np.float64(0.6435)], atol=2e-3)
