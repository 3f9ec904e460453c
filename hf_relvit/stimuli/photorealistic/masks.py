"""Which pixel shows which object, exactly: one ray through the middle of each pixel. And from pixels to patches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import RelViTError
from ...extras import need

MIN_COVER = 0.5
"""Share of a patch that an object must cover to own it. Our choice: the paper does not say how it found tokens."""

Point = tuple[float, float, float]
"""x to the right, y away from the camera, z up."""


def rays(
    camera: Point,
    target: Point,
    fov: float,
    size: int,
) -> np.ndarray:
    """Directions through the pixels' middles, float32 ``(size * size, 3)``, row by row from the top left."""
    forward, right, up = camera_axes(camera, target)
    angle = np.deg2rad(fov)
    half = np.tan(angle / 2)
    middles = (np.arange(size) + 0.5) / size
    steps = (middles * 2 - 1) * half
    across = steps[None, :, None] * right
    down = steps[:, None, None] * up
    directions = forward + across - down
    flat = directions.reshape(-1, 3)
    return flat.astype(np.float32)


def camera_axes(camera: Point, target: Point) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors forward, right and up of a camera that is held level."""
    forward = np.subtract(target, camera)
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    return forward, right, up


def object_mask(
    solids: Sequence[np.ndarray],
    camera: Point,
    directions: np.ndarray,
) -> np.ndarray:
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
    corners = np.concatenate(solids).astype(np.float32)
    need("embreex.mesh_construction").TriangleMesh(scene, corners)
    origins = np.empty_like(directions)
    origins[:] = camera
    triangle = scene.run(origins, directions)
    ends = np.cumsum([len(solid) for solid in solids])
    number = 1 + np.searchsorted(ends, triangle, side="right")
    number[triangle < 0] = 0
    return number.astype(np.uint8)


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
    down = _overlap(height, grid)
    across = _overlap(width, grid)
    numbers = np.arange(1, objects + 1)
    layers = mask == numbers[:, None, None]
    covered = down @ layers @ across.T
    shares = covered / mask.size
    return shares.astype(np.float32)


def _overlap(side: int, grid: int) -> np.ndarray:
    """How much of each pixel lies in each patch, in units of ``1 / grid`` pixels; float64 ``(grid, side)``.

    Whole numbers, which floats hold exactly: Pillow's box filter counts whole pixels, and is exact only where the grid
    divides the side.
    """
    patch = np.arange(grid)[:, None] * side
    pixel = np.arange(side)[None, :] * grid
    start = np.maximum(patch, pixel)
    stop = np.minimum(patch + side, pixel + grid)
    shared = np.maximum(stop - start, 0)
    return shared.astype(np.float64)


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
    cover = patch_cover(mask, grid, objects)
    cover = cover.reshape(objects, -1)
    owner = cover.argmax(0)
    covered = cover.max(0) >= MIN_COVER
    owner[~covered] = -1
    for number in range(objects):
        if (owner == number).any():
            continue
        free = np.where(owner < 0, cover[number], 0)
        most = free.argmax()
        if free[most] > 0:
            owner[most] = number
    return [np.flatnonzero(owner == number) for number in range(objects)]


def pad_patches(patches: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Patch ids of unequal numbers as one array, int64 ``(images, objects, most patches)``, filled up with -1."""
    counts = [len(ids) for image in patches for ids in image]
    most = max(counts, default=0)
    shape = (len(patches), len(patches[0]), max(most, 1))
    padded = np.full(shape, -1, dtype=np.int64)
    for i, image in enumerate(patches):
        for j, ids in enumerate(image):
            padded[i, j, : len(ids)] = ids
    return padded
