import numpy as np

from hf_relvit.stimuli.photorealistic.denoising import denoise

SIZE = 48


def scene(noise, seed=0):
    """A checkered table, half of it in shade, lit with noise; and the same without."""
    y, x = np.mgrid[:SIZE, :SIZE]
    albedo = np.repeat(np.where((x // 4 + y // 4) % 2, 0.7, 0.2)[..., None], 3, -1)
    light = np.repeat(np.where(x < SIZE // 2, 1.0, 0.3)[..., None], 3, -1)
    normal = np.zeros((SIZE, SIZE, 3))
    normal[..., 2] = 1
    position = np.stack([x / 10, y / 10, 0 * x], -1)
    rng = np.random.default_rng(seed)
    noisy = albedo * light * rng.gamma(1 / noise**2, noise**2, (SIZE, SIZE, 1))
    return noisy, albedo * light, (albedo, normal, position)


def test_noise_goes_and_texture_and_shadow_stay():
    noisy, clean, guides = scene(0.15)
    out = denoise(noisy, *guides)
    error = {
        name: np.sqrt(((picture - clean) ** 2).mean())
        for name, picture in (("in", noisy), ("out", out))
    }
    assert error["out"] < error["in"] / 2.5
    np.testing.assert_allclose(out.mean(), clean.mean(), rtol=0.02)
    columns = (out / guides[0]).mean((0, 2))
    assert columns[: SIZE // 2 - 3].min() > 0.9
    assert columns[SIZE // 2 + 3 :].max() < 0.4


def test_a_clean_picture_stays_as_it_is():
    _, clean, guides = scene(0.1)
    inside = np.abs(denoise(clean, *guides) - clean)[:, np.r_[0:20, 28:48]]
    assert inside.max() < 0.02


def test_another_surface_is_not_mixed_in():
    noisy, _, (albedo, normal, position) = scene(0.1)
    normal = normal.copy()
    normal[: SIZE // 2] = 0, -1, 0
    light = np.ones_like(noisy)
    light[: SIZE // 2] = 0.9  # too alike for the light itself to tell the surfaces apart
    out = denoise(light * albedo, albedo, normal, position) / albedo
    np.testing.assert_allclose(out[SIZE // 2 - 1], 0.9, atol=0.01)
    np.testing.assert_allclose(out[SIZE // 2], 1.0, atol=0.01)


def test_single_sparks_are_put_out():
    _, clean, guides = scene(0.1)
    sparks = clean.copy()
    sparks[5, 5] = sparks[30, 20] = 50
    assert np.abs(denoise(sparks, *guides) - clean)[:, np.r_[0:20, 28:48]].max() < 0.25
