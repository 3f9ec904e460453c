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
    owned = LEAST_SHARE * counts >= geometry.patch_size**2
    most = counts.argmax(axis=-1)[..., None]
    none = ~owned.any(axis=-1, keepdims=True)
    owned |= none & (np.arange(counts.shape[-1]) == most)
    patches = np.where(owned, geometry.patches(corner), -1)
    first = np.argsort(~owned, axis=-1, kind="stable")
    return np.take_along_axis(patches, first, axis=-1)


def covered_pixels(
    geometry: SceneGeometry,
    jitter: np.ndarray,
    sprites: np.ndarray,
) -> np.ndarray:
    """Pixels of each object in each patch of its square, int64 ``(n, k, patches per square)``."""
    size = sprites.shape[-1]
    pixel = jitter[..., None] + np.arange(size)
    patch = pixel // geometry.patch_size
    steps = np.arange(geometry.object_patches)[:, None]
    lies_in = (patch[..., None, :] == steps).astype(np.float32)  # (n, k, 2, steps, size)
    down = lies_in[..., 0, :, :]
    across = lies_in[..., 1, :, :].swapaxes(-1, -2)
    counts = down @ sprites.astype(np.float32) @ across  # whole numbers, which floats hold exactly
    return counts.reshape(*counts.shape[:-2], -1).astype(np.int64)
