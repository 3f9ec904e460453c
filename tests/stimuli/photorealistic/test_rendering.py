import numpy as np
import pytest

from hf_relvit.errors import RelViTError
from hf_relvit.stimuli.photorealistic import rendering
from hf_relvit.stimuli.photorealistic.library import Library
from hf_relvit.stimuli.photorealistic.placement import draw_twins, scene_mask
from hf_relvit.stimuli.photorealistic.rendering import (
    choose_variant,
    develop,
    painted,
    render_photo,
)
from hf_relvit.stimuli.photorealistic.scenes import TINTS, PhotoScene, SceneOptions, pairings


def test_light_becomes_srgb_with_a_soft_shoulder():
    light = np.linspace(0, 4, 4000, dtype=np.float32).reshape(-1, 1, 1).repeat(3, 2)
    out = develop(light)[:, 0, 0].astype(int)
    assert out[0] == 0
    assert (np.diff(out) >= 0).all()
    assert out[200] == round(255 * (1.055 * float(light[200, 0, 0]) ** (1 / 2.4) - 0.055))
    assert 250 < out[-1] <= 255


def test_paint_shows_on_white_black_and_colored_things():
    things = np.array([[[255, 255, 255], [0, 0, 0], [120, 60, 30]]], dtype=np.uint8)
    assert painted(things, 0) is things
    shades = [painted(things, tint).astype(int) for tint in range(1, len(TINTS))]
    for i, one in enumerate(shades):
        for other in shades[:i]:
            assert np.abs(one - other).max(-1).min() >= 20
    red, green = shades[TINTS.index("red") - 1], shades[TINTS.index("green") - 1]
    assert (red[..., 0] > red[..., 1:].max(-1)).all()
    assert (green[..., 1] > green[..., [0, 2]].max(-1)).all()


def test_an_unknown_variant_is_refused():
    with pytest.raises(RelViTError, match="unknown variant 'cuda': expected one of scalar, llvm"):
        choose_variant("cuda")


def test_without_llvm_the_scalar_variant_is_taken_and_said(monkeypatch, tmp_path):
    pytest.importorskip("mitsuba", reason="needs the extra: pip install 'hf_relvit[render]'")
    monkeypatch.setenv("DRJIT_LIBLLVM_PATH", str(tmp_path / "none.so"))
    with pytest.warns(
        UserWarning, match="no LLVM of version 17 or later found: rendering with the slower scalar"
    ):
        assert choose_variant("llvm") == "scalar"


def test_an_llvm_that_would_abort_is_not_taken(monkeypatch, tmp_path):
    monkeypatch.delenv("DRJIT_LIBLLVM_PATH", raising=False)
    monkeypatch.setattr(rendering, "_LIBRARIES", (str(tmp_path),))
    monkeypatch.setattr(rendering, "_HOMEBREW", ())
    for name in ("libLLVM-14.so", "libLLVM-16.so.1"):
        (tmp_path / name).touch()
    assert rendering._find_llvm() == ""
    for name in ("libLLVM-17.so", "libLLVM.so.19.1"):
        (tmp_path / name).touch()
    assert rendering._find_llvm() == str(tmp_path / "libLLVM.so.19.1")


@pytest.fixture(scope="module")
def twins():
    options = SceneOptions(n=8)
    return draw_twins(pairings(options, 16)[1], options, Library.default())


@pytest.mark.render
def test_the_same_row_gives_the_same_pixels_alone_and_in_sequence(twins):
    options = {"size": 64, "samples": 4}
    first = render_photo(twins[0], Library.default(), **options)
    render_photo(twins[1], Library.default(), **options)
    again = render_photo(
        PhotoScene.from_row(twins[0].row()), Library.default(), **options, threads=2
    )
    np.testing.assert_array_equal(first, again)


@pytest.mark.render
@pytest.mark.parametrize("scene", [0, 1])
def test_the_same_row_gives_the_same_pixels_however_often(twins, scene):
    pictures = {
        render_photo(twins[scene], Library.default(), 32, samples=4).tobytes() for _ in range(60)
    }
    assert len(pictures) == 1


@pytest.mark.render
def test_the_mask_is_exact_by_the_renderers_own_rays(twins):
    size = 64
    mi = rendering._mitsuba("scalar", 1)
    for scene in twins:
        things = rendering._world(mi, scene, Library.default(), size, 1)
        world, sensor = mi.load_dict(things), mi.load_dict(things["sensor"])
        mask = scene_mask(scene, Library.default(), size)
        hits = np.zeros((size, size), dtype=bool)
        for i, j in np.ndindex(size, size):
            ray, _ = sensor.sample_ray(0.0, 0.5, [(j + 0.5) / size, (i + 0.5) / size], [0.5, 0.5])
            place = world.ray_intersect(ray).p
            hits[i, j] = place.z > 1e-4 and place.y < scene.wall - 1e-4  # neither table nor wall
        assert (
            np.count_nonzero(hits != (mask > 0)) <= 2
        )  # rays along an edge may round to either side


@pytest.mark.render
def test_pictures_are_lit_like_a_room_and_without_visible_noise(twins):
    picture = render_photo(twins[0], Library.default(), 112)
    reference = render_photo(twins[0], Library.default(), 112, samples=256)
    assert 60 < picture.mean() < 190
    difference = picture.astype(float) - reference
    assert np.sqrt((difference**2).mean()) < 3
    assert abs(difference.mean()) < 1


@pytest.mark.render
def test_a_size_that_is_no_picture_is_refused(twins):
    with pytest.raises(RelViTError, match="size 8: expected 16 to 4096 pixels"):
        render_photo(twins[0], Library.default(), 8)
