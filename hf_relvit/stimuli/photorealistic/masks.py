"""Which pixel shows which object, exactly: one ray through the middle of each pixel. And from pixels to patches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import RelViTError
from ...extras import need

MIN_COVER = 0.5
"""Share of a patch that an object must cover to own it. Our choice: the paper does not say how it found tokens."""


def rays(
    camera,
    target,
    fov: float,
    size: int,
) -> np.ndarray:
    """Directions through the pixels' middles, float32 ``(size * size, 3)``, row by row from the top left."""
    forward, right, up = camera_axes(camera, target)
    half = np.tan(np.deg2rad(fov) / 2)
    middles = (np.arange(size) + 0.5) / size
    steps = (middles * 2 - 1) * half
    across = steps[None, :, None] * right
    down = steps[:, None, None] * up
    directions = forward + across - down
    return directions.reshape(-1, 3).astype(np.float32)


def camera_axes(camera, target) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors forward, right and up of a camera that is held level."""
    forward = np.subtract(target, camera)
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right = right / np.linalg.norm(right)
    return forward, right, np.cross(right, forward)


def object_mask(solids: Sequence[np.ndarray], camera, directions: np.ndarray) -> np.ndarray:
    """The first hit of each ray: uint8 ``(rays,)``, 0 none of the objects, 1 the first, 2 the second.

    Table and wall hide nothing, as every object stands before them.

    Args:
        solids: corners of each object's triangles, ``(triangles, 3, 3)``.
        camera: where the rays begin.
        directions: float32 ``(rays, 3)``.

    Raises:
        RelViTError: the extra is not installed.
    """
    scene = need("embreex.rtcore_scene").EmbreeScene()
    corners = np.ascontiguousarray(np.concatenate(solids), dtype=np.float32)
    need("embreex.mesh_construction").TriangleMesh(scene, corners)
    origin = np.asarray(camera, dtype=np.float32)
    origins = np.broadcast_to(origin, directions.shape)
    triangle = scene.run(np.ascontiguousarray(origins), directions)
    ends = np.cumsum([len(solid) for solid in solids])
    number = 1 + np.searchsorted(ends, triangle, side="right")
    return np.where(triangle < 0, 0, number).astype(np.uint8)


def visible_shares(both: np.ndarray, alone: Sequence[np.ndarray]) -> tuple[float, ...]:
    """Share of each object's silhouette that is in sight; 0 for an object that shows nowhere.

    Args:
        both: mask of the scene, ids 1 and up.
        alone: for each object, a mask that is not 0 where it would show if it were alone.
    """
    shares = []
    for number, mask in enumerate(alone, 1):
        silhouette = max(np.count_nonzero(mask), 1)
        shown = np.count_nonzero(both == number)
        shares.append(shown / silhouette)
    return tuple(shares)


def patch_cover(mask: np.ndarray, grid: int, objects: int = 2) -> np.ndarray:
    """Share of each patch that each object covers, float32 ``(objects, grid, grid)``; exact for any number of pixels.

    Args:
        mask: uint8 ``(height, width)``, ids 1 and up.
        grid: patches per side.
        objects: how many.

    Raises:
        RelViTError: fewer pixels than patches.
    """
    if min(mask.shape) < grid:
        raise RelViTError(
            f"a mask of {mask.shape} pixels for {grid} x {grid} patches: expected one pixel per patch"
        )
    height, width = mask.shape
    layers = np.stack([mask == number for number in range(1, objects + 1)])
    covered = _overlap(height, grid) @ layers @ _overlap(width, grid).T
    return (covered / mask.size).astype(np.float32)


def _overlap(side: int, grid: int) -> np.ndarray:
    """How much of each pixel lies in each patch, in units of ``1 / grid`` pixels; float64 ``(grid, side)``.

    Whole numbers, which floats hold exactly: Pillow's box filter counts whole pixels, and is exact only where the grid
    divides the side.
    """
    patch = np.arange(grid)[:, None] * side
    pixel = np.arange(side)[None, :] * grid
    shared = np.minimum(patch + side, pixel + grid) - np.maximum(patch, pixel)
    return shared.clip(0).astype(np.float64)


def mask_patches(mask: np.ndarray, grid: int, objects: int = 2) -> list[np.ndarray]:
    """Patch ids of each object: those that it covers by half at least, or else the one that it covers most.

    Objects never share a patch. An object that shows nowhere has none.

    Args:
        mask: uint8 ``(height, width)``, ids 1 and up; of any size, the image counts as ``grid`` x ``grid`` patches.
        grid: patches per side.
        objects: how many.

    Returns:
        For each object int64 ``(patches,)``, row by row from 0, without prefix tokens.
    """
    cover = patch_cover(mask, grid, objects).reshape(objects, -1)
    covered = cover.max(0) >= MIN_COVER
    owner = np.where(covered, cover.argmax(0), -1)
    for number in range(objects):
        free = np.where(owner < 0, cover[number], 0)
        owns_none = not (owner == number).any()
        if owns_none and free.max() > 0:
            owner[free.argmax()] = number
    return [np.flatnonzero(owner == number) for number in range(objects)]


def pad_patches(patches: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Patch ids of unequal numbers as one array, int64 ``(images, objects, most patches)``, filled up with -1."""
    counts = [len(ids) for image in patches for ids in image]
    most = max(counts, default=0)
    shape = (len(patches), len(patches[0]), max(most, 1))
    padded = np.full(shape, -1, dtype=np.int64)
    for row, image in zip(padded, patches):
        for place, ids in zip(row, image):
            place[: len(ids)] = ids
    return padded
