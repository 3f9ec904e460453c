import numpy as np
import pytest

from hf_relvit.errors import RelViTError
from hf_relvit.stimuli.photorealistic import masks

CAMERA, TARGET, FOV = (0.0, -8.0, 0.0), (0.0, 0.0, 0.0), 90.0


def square(left, bottom, side, y=0.0):
    """Two triangles that face the camera; at the distance of 8, an image of 16 pixels has one pixel a unit."""
    corners = np.array(
        [[left, bottom], [left + side, bottom], [left + side, bottom + side], [left, bottom + side]]
    )
    points = np.insert(corners.astype(float), 1, y, axis=1)
    return points[[[0, 1, 2], [0, 2, 3]]]


def mask_of(*solids, size=16):
    pytest.importorskip("embreex", reason="needs the extra: pip install 'hf_relvit[render]'")
    return masks.object_mask(solids, CAMERA, masks.rays(CAMERA, TARGET, FOV, size)).reshape(
        size, size
    )


def test_a_mask_is_exact_to_the_pixel():
    expected = np.zeros((16, 16), dtype=np.uint8)
    expected[4:8, 9:13] = 1  # up 0..4 ends at the middle, right 1..5 begins one pixel behind it
    np.testing.assert_array_equal(mask_of(square(1, 0, 4)), expected)


def test_the_nearer_object_hides_the_other():
    behind, front = square(-4, -4, 8), square(0, -2, 2, y=-4.0)  # seen twice as large: 4 x 4 pixels
    both = mask_of(behind, front)
    assert np.count_nonzero(both == 2) == 16
    assert np.count_nonzero(both == 1) == 64 - 16
    shares = masks.visible_shares(both, [mask_of(behind), mask_of(front)])
    assert shares == (0.75, 1.0)


@pytest.mark.parametrize("grid", [4, 8, 16])
def test_patches_of_any_size_against_counting_by_hand(grid):
    mask = (
        np.random.default_rng(0).integers(0, 3, (16, 16)).repeat(2, 0).repeat(2, 1).astype(np.uint8)
    )
    side = 32 // grid
    cells = mask.reshape(grid, side, grid, side)
    cover = masks.patch_cover(mask, grid)
    for i in (1, 2):
        np.testing.assert_allclose(cover[i - 1], (cells == i).mean((1, 3)), atol=1e-6)


def test_patches_that_do_not_divide_the_mask_weigh_pixels_by_area():
    mask = np.zeros((4, 4), dtype=np.uint8)
    mask[:, :2] = 1
    np.testing.assert_allclose(masks.patch_cover(mask, 3)[0], [[1, 0.5, 0]] * 3, atol=1e-6)


def test_objects_own_what_they_cover_by_half_and_never_share():
    mask = np.zeros((8, 8), dtype=np.uint8)
    mask[:2, :2] = 1
    mask[0, 2:4] = 1  # half of the second patch
    mask[1, 2:4] = 2  # the other half
    mask[4, 4] = 2  # a quarter
    first, second = masks.mask_patches(mask, 4)
    assert first.tolist() == [0, 1]
    assert second.tolist() == [10]  # covered most, as the half is taken


def test_a_hidden_object_has_no_patches_and_padding_is_minus_one():
    mask = np.zeros((8, 8), dtype=np.uint8)
    mask[:2, :4] = 1
    patches = masks.mask_patches(mask, 4)
    assert [ids.tolist() for ids in patches] == [[0, 1], []]
    np.testing.assert_array_equal(masks.pad_patches([patches]), [[[0, 1], [-1, -1]]])


def test_more_patches_than_pixels_are_refused():
    with pytest.raises(RelViTError, match="4, 4\\) pixels for 8 x 8 patches"):
        masks.mask_patches(np.zeros((4, 4), dtype=np.uint8), 8)


def test_the_camera_is_level_and_its_axes_are_right_handed():
    forward, right, up = masks.camera_axes((3.0, -7.0, 4.0), (0.0, 0.0, 1.0))
    np.testing.assert_allclose(
        np.stack([forward, right, up]) @ np.stack([forward, right, up]).T, np.eye(3), atol=1e-12
    )
    assert right[2] == 0
    assert up[2] > 0
    np.testing.assert_allclose(np.cross(right, forward), up)
