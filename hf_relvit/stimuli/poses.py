"""Poses: objects of a scale, a turn and a mirror image of their own, as exact masks.

1. The mask of a shape, 192 x 192 cells, is mirrored, then turned about its middle; the nearest cell counts.
2. A pixel belongs to the object if at least half of its area does, as for all sprites (``ObjectSet.sprites``), so that
   an object without a turn has the pixels that it has on the grid.
3. Sides of objects and of the square that holds them are even, so their middles are corners of pixels.

Turns are whole steps of 15 degrees and sides have four levels, so that a sprite is drawn once and kept; our choice.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.random import Generator

from ..geometry import SceneGeometry
from .objects import ObjectSet
from .silhouettes import MASK_SIZE

SIDE = 0
TURN = 1
MIRRORED = 2
STEP = 15
"""Degrees between two turns."""
LEVELS = 4
"""Different sides of objects."""
_CELLS = 272
"""Cells per side of a turned mask: its diagonal, and an even number."""
_UNIT = 1 << 20
"""Sines and cosines are whole numbers of this part, so that every machine turns alike."""


def sides(geometry: SceneGeometry) -> tuple[int, ...]:
    """The sides that objects of a posed geometry have, even numbers of pixels from small to large.

    The largest fits into the square in any turn; a step is about an eighth of it. b16: 20, 24, 28 and 32 pixels.
    """
    half = geometry.sprite_size / math.sqrt(2) / 2
    largest = 2 * int(half)
    step = 2 * max(round(largest / 16), 1)
    smallest = largest - (LEVELS - 1) * step
    return tuple(range(smallest, largest + 1, step))


def upright(
    geometry: SceneGeometry,
    n: int,
    objects: int,
) -> np.ndarray:
    """Poses without turn and mirror image and with the largest side, int64 ``(n, objects, 3)``."""
    shape = (n, objects, 3)
    poses = np.zeros(shape, dtype=np.int64)
    *_, largest = sides(geometry)
    poses[..., SIDE] = largest
    return poses


def different_sides(
    rng: Generator,
    geometry: SceneGeometry,
    n: int,
) -> np.ndarray:
    """Two different sides each, in any order, int64 ``(n, 2)``."""
    levels = np.array(sides(geometry))
    return levels[_two_of(rng, LEVELS, n)]


def different_turns(rng: Generator, n: int) -> np.ndarray:
    """Two different turns each, degrees, int64 ``(n, 2)``."""
    return STEP * _two_of(rng, 360 // STEP, n)


def shared_poses(
    rng: Generator,
    geometry: SceneGeometry,
    twin: np.ndarray,
    objects: int,
) -> np.ndarray:
    """A side and a turn for each scene, which all its objects and its twin have, int64 ``(n, objects, 3)``.

    Objects of one scene are then equal or different as they are upright, in any style, arrows and lines too; our
    choice. Objects that differ in their poses are tasks of their own (``larger``, ``svrt_poses``).
    """
    n = len(twin)
    pose = upright(geometry, n, objects)
    levels = np.array(sides(geometry))
    side = rng.choice(levels, n)
    turn = STEP * rng.integers(0, 360 // STEP, n)
    row = np.arange(n)
    first = np.where(twin < 0, row, np.minimum(row, twin))
    pose[..., SIDE] = side[first, None]
    pose[..., TURN] = turn[first, None]
    return pose


def _two_of(
    rng: Generator,
    count: int,
    n: int,
) -> np.ndarray:
    """Two different numbers below ``count`` each, in any order, int64 ``(n, 2)``."""
    one = rng.integers(0, count, n)
    step = rng.integers(1, count, n)
    other = (one + step) % count
    return np.column_stack([one, other])


def posed_sprites(
    objects: ObjectSet,
    size: int,
    shape: np.ndarray,
    pose: np.ndarray,
) -> np.ndarray:
    """Silhouettes of posed objects in the middle of a square.

    Args:
        objects: the shapes.
        size: side of the square, an even number of pixels.
        shape: ids ``(...)``.
        pose: ``(..., 3)``, side in pixels, turn to the left in degrees, and 1 for a mirror image.

    Returns:
        bool ``(..., size, size)``.
    """
    shapes = shape.ravel().tolist()
    poses = pose.reshape(-1, 3).tolist()
    packed = []
    for number, (side, turn, mirrored) in zip(shapes, poses):
        sprite = _packed(
            objects,
            size,
            number,
            side,
            turn,
            mirrored,
        )
        packed.append(sprite)
    area = size * size
    bits = np.unpackbits(np.array(packed), axis=1, count=area)
    drawn = bits.view(bool)
    return drawn.reshape(*shape.shape, size, size)


@lru_cache(maxsize=1 << 16)
def _packed(
    objects: ObjectSet,
    size: int,
    shape: int,
    side: int,
    turn: int,
    mirrored: int,
) -> np.ndarray:
    """A sprite, eight pixels per byte."""
    mask = objects.masks[shape]
    if mirrored:
        mask = np.fliplr(mask)
    framed = np.append(mask.ravel(), False)  # the last cell stands for all outside
    cells = _turned_cells(turn)
    turned = framed[cells].astype(np.float32)
    weights = _shares(size, side)
    rows = weights @ turned
    area = rows @ weights.T  # whole numbers, which floats hold exactly
    drawn = 2 * area >= MASK_SIZE**2
    return np.packbits(drawn)


@lru_cache(maxsize=360 // STEP)
def _turned_cells(turn: int) -> np.ndarray:
    """For each cell of a turned mask the cell of the mask that it shows, flat; int64 ``(cells, cells)``."""
    angle = math.radians(turn)
    cosine = round(_UNIT * math.cos(angle))
    sine = round(_UNIT * math.sin(angle))
    number = np.arange(_CELLS, dtype=np.int64)
    middle = 2 * number + 1 - _CELLS  # half cells from the middle
    x, y = np.meshgrid(middle, middle)
    column = _cell(cosine * x - sine * y)
    row = _cell(sine * x + cosine * y)
    flat = row * MASK_SIZE + column
    inside = _exists(row) & _exists(column)
    return np.where(inside, flat, MASK_SIZE**2)


def _cell(place: np.ndarray) -> np.ndarray:
    """Number of the cell at a place, given from the middle in half cells over the unit."""
    from_edge = place + MASK_SIZE * _UNIT
    return from_edge // (2 * _UNIT)


def _exists(cell: np.ndarray) -> np.ndarray:
    return (cell >= 0) & (cell < MASK_SIZE)


@lru_cache(maxsize=64)
def _shares(size: int, side: int) -> np.ndarray:
    """How much of each cell lies in each pixel, float32 ``(size, cells)``, in units of 1 / MASK_SIZE of a pixel."""
    pixel = np.arange(size)[:, None]
    cell = np.arange(_CELLS)
    pixel_start = MASK_SIZE * (pixel - size // 2)
    cell_start = side * (cell - _CELLS // 2)
    start = np.maximum(pixel_start, cell_start)
    end = np.minimum(pixel_start + MASK_SIZE, cell_start + side)
    shared = np.maximum(end - start, 0)
    return shared.astype(np.float32)
