import numpy as np
import pytest

from hf_relvit.stimuli.photorealistic.textures import FAMILIES, SIZE, texture

COLORS = np.array([[0.8, 0.2, 0.1], [0.2, 0.5, 0.9]])


def test_there_are_at_least_eight_families():
    assert len(FAMILIES) >= 8


@pytest.mark.parametrize("family", range(len(FAMILIES)))
def test_a_surface_shows_its_colors_and_depends_on_its_seed(family):
    one, again, other = (texture(family, COLORS, seed) for seed in (1, 1, 2))
    assert one.shape == (SIZE, SIZE, 3)
    assert one.dtype == np.uint8
    np.testing.assert_array_equal(one, again)
    assert (one != other).any(-1).mean() > 0.2
    # Every pixel is a mixture of the two colors, up to the grain that lightens or darkens it.
    normal = np.cross(*COLORS)
    away = np.abs(one.astype(float) / 255 @ (normal / np.linalg.norm(normal)))
    assert away.max() < 0.02
    assert one.std((0, 1)).max() > 6
