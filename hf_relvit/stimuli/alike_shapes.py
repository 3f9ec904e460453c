"""Which shapes are alike but for place, scale and turn, so that nobody can call them different in such poses?

1. The mask of each shape, blurred over a tenth of its side, is read at 16 x 16 points around its middle of mass, at
   distances in units of its radius of gyration: place and scale are gone.
2. Two shapes are alike if the cosine of their readings is 0.95 or more, for any turn of the second one if turns count.

Our choice of the limit: of our silhouettes only hourglass, bow tie and bone are alike when turned; cross and arrow, at
0.94, are not. Steps of 5 degrees are finer than those of poses, as people see a turn that is not drawn.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .objects import ObjectSet
from .silhouettes import MASK_SIZE

LIMIT = 0.95
_SIDE = 48
_BLUR = 5
_POINTS = 16
_REACH = 2
_TURNS = 72


@lru_cache(maxsize=64)
def apart_in_poses(objects: ObjectSet, turned: bool) -> np.ndarray:
    """Which pairs of shapes can be told apart in any place and scale, bool ``(shapes, shapes)``, read-only.

    Args:
        objects: the shapes.
        turned: and in any turn.
    """
    coarse = _coarse(objects.masks)
    blurred = _blurred(coarse)
    middle, radius = _mass(coarse)
    first = _readings(blurred, middle, radius, 0)
    likeness = first @ first.T
    turns = range(1, _TURNS) if turned else ()
    for turn in turns:
        angle = 2 * np.pi * turn / _TURNS
        other = _readings(blurred, middle, radius, angle)
        likeness = np.maximum(likeness, first @ other.T)
    likeness = np.maximum(likeness, likeness.T)
    apart = likeness < LIMIT
    apart.flags.writeable = False
    return apart


def _coarse(masks: np.ndarray) -> np.ndarray:
    """Masks of 48 x 48 cells, float64 ``(shapes, 48, 48)``."""
    cell = MASK_SIZE // _SIDE
    cells = masks.reshape(-1, _SIDE, cell, _SIDE, cell)
    return cells.mean(axis=(2, 4))


def _blurred(coarse: np.ndarray) -> np.ndarray:
    """The mean of a cell and those around it."""
    edge = _BLUR // 2
    frame = (edge, edge)
    padded = np.pad(coarse, ((0, 0), frame, frame))
    windows = np.lib.stride_tricks.sliding_window_view(
        padded,
        (_BLUR, _BLUR),
        axis=(1, 2),
    )
    return windows.mean(axis=(3, 4))


def _mass(coarse: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Middles of mass ``(shapes, 2)``, (row, column) in cells, and radii of gyration ``(shapes,)``."""
    place = np.arange(_SIDE) + 0.5
    rows = coarse.sum(axis=2)
    columns = coarse.sum(axis=1)
    sums = np.stack([rows, columns], axis=1)
    area = rows.sum(axis=1, keepdims=True)
    middle = sums @ place / area
    square = sums @ place**2 / area
    spread = square - middle**2
    radius = np.sqrt(spread.sum(axis=1))
    return middle, radius


def _readings(
    blurred: np.ndarray,
    middle: np.ndarray,
    radius: np.ndarray,
    angle: float,
) -> np.ndarray:
    """Values around each shape with norm 1, float64 ``(shapes, points)``; 0 outside of its square."""
    steps = np.linspace(-_REACH, _REACH, _POINTS)
    across, down = np.meshgrid(steps, steps)
    cosine = np.cos(angle)
    sine = np.sin(angle)
    row_offset = sine * across + cosine * down
    column_offset = cosine * across - sine * down
    grids = np.stack([row_offset, column_offset])
    offsets = grids.reshape(2, -1)
    scale = radius.reshape(-1, 1, 1)
    places = np.expand_dims(middle, -1) + scale * offsets
    cells = np.floor(places + 1e-6)  # a place on an edge falls to one side everywhere
    inside = (cells >= 0) & (cells < _SIDE)
    known = cells.clip(0, _SIDE - 1).astype(np.int64)
    row, column = known.transpose(1, 0, 2)
    shape = np.arange(len(blurred))
    values = blurred[
        shape.reshape(-1, 1),
        row,
        column,
    ]
    values *= inside.all(axis=1)
    length = np.linalg.norm(
        values,
        axis=1,
        keepdims=True,
    )
    return values / length
