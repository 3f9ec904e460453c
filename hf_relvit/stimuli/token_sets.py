"""The tokens of freely placed objects: a patch belongs to an object that covers at least a sixteenth of it.

Our choice of the share: these patches hold 97 % of the pixels of our silhouettes and 93 % of those of the style
"contours" in b16, three or four patches per object, and nothing but white is beside it in them, as no two objects
share one. By half, as photorealistic objects own theirs, no patch at all would belong to an outline. Where no patch is
covered so far, the one that is covered most.
"""

from __future__ import annotations

import numpy as np

from ..geometry import SceneGeometry

LEAST_SHARE = 16
"""One in so many pixels of a patch, at least."""


def covered_patches(
    geometry: SceneGeometry,
    corner: np.ndarray,
    jitter: np.ndarray,
    sprites: np.ndarray,
) -> np.ndarray:
    """Patches that belong to each object, row by row, then -1.

    Args:
        geometry: off the grid.
        corner: integers ``(n, k, 2)``, (row, column) of the top-left patch of an object's square.
        jitter: integers ``(n, k, 2)``, (row, column) of the sprite in it, pixels.
        sprites: bool ``(n, k, side, side)``.

    Returns:
        int64 ``(n, k, patches per square)``.
    """
    counts = covered_pixels(geometry, jitter, sprites)
    area = geometry.patch_size**2
    owned = LEAST_SHARE * counts >= area
    most = counts.argmax(axis=-1, keepdims=True)
    any_owned = owned.any(axis=-1, keepdims=True)
    of_most = np.take_along_axis(owned, most, axis=-1)
    np.put_along_axis(
        owned,
        most,
        of_most | ~any_owned,
        axis=-1,
    )
    square = geometry.patches(corner)
    patches = np.where(owned, square, -1)
    owned_first = np.argsort(
        ~owned,
        axis=-1,
        kind="stable",
    )
    return np.take_along_axis(
        patches,
        owned_first,
        axis=-1,
    )


def covered_pixels(
    geometry: SceneGeometry,
    jitter: np.ndarray,
    sprites: np.ndarray,
) -> np.ndarray:
    """Pixels of each object in each patch of its square, int64 ``(n, k, patches per square)``."""
    size = sprites.shape[-1]
    top, left = np.moveaxis(jitter, -1, 0)
    down = _patch_rows(geometry, top, size)
    across = _patch_rows(geometry, left, size)
    pixels = sprites.astype(np.float32)
    rows = down @ pixels
    counts = rows @ across.swapaxes(-1, -2)  # whole numbers, which floats hold exactly
    flat = counts.reshape(*jitter.shape[:-1], -1)
    return flat.astype(np.int64)


def _patch_rows(
    geometry: SceneGeometry,
    offset: np.ndarray,
    size: int,
) -> np.ndarray:
    """Which rows of sprites lie in which rows of patches, 0 or 1: offsets ``(n, k)`` -> ``(n, k, patches, size)``."""
    row = np.arange(size)
    first = np.expand_dims(offset, -1)
    pixel = first + row
    own = pixel // geometry.patch_size
    patch = np.arange(geometry.object_patches)
    column = patch.reshape(-1, 1)
    lies_in = np.expand_dims(own, -2) == column
    return lies_in.astype(np.float32)
