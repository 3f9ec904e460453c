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
    blurred = _blurred(objects.masks)
    middle, radius = _mass(objects.masks)
    first = _readings(blurred, middle, radius, 0)
    most = first @ first.T
    for turn in range(1, _TURNS if turned else 1):
        other = _readings(blurred, middle, radius, 2 * np.pi * turn / _TURNS)
        most = np.maximum(most, first @ other.T)
    apart = np.maximum(most, most.T) < LIMIT
    apart.flags.writeable = False
    return apart


def _coarse(masks: np.ndarray) -> np.ndarray:
    """Masks of 48 x 48 cells, float64 ``(shapes, 48, 48)``."""
    cell = MASK_SIZE // _SIDE
    cells = masks.reshape(len(masks), _SIDE, cell, _SIDE, cell)
    return cells.mean(axis=(2, 4))


def _blurred(masks: np.ndarray) -> np.ndarray:
    """The mean of a cell and those around it."""
    edge = _BLUR // 2
    padded = np.pad(_coarse(masks), ((0, 0), (edge, edge), (edge, edge)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (_BLUR, _BLUR), axis=(1, 2))
    return windows.mean(axis=(3, 4))


def _mass(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Middles of mass ``(shapes, 2)``, (row, column) in cells, and radii of gyration ``(shapes,)``."""
    coarse = _coarse(masks)
    cells = np.arange(_SIDE) + 0.5
    area = coarse.sum(axis=(1, 2))[:, None]
    sums = np.stack([coarse.sum(axis=2), coarse.sum(axis=1)], axis=1)
    middle = sums @ cells / area
    spread = sums @ cells**2 / area - middle**2
    return middle, np.sqrt(spread.sum(axis=1))


def _readings(
    blurred: np.ndarray,
    middle: np.ndarray,
    radius: np.ndarray,
    angle: float,
) -> np.ndarray:
    """Values around each shape with norm 1, float64 ``(shapes, points)``; 0 outside of its square."""
    steps = np.linspace(-_REACH, _REACH, _POINTS)
    across, down = (axis.ravel() for axis in np.meshgrid(steps, steps))
    cosine, sine = np.cos(angle), np.sin(angle)
    offsets = np.stack([sine * across + cosine * down, cosine * across - sine * down])
    places = middle[..., None] + radius[:, None, None] * offsets
    cells = np.floor(places + 1e-6).astype(
        np.int64
    )  # a place on an edge falls to one side everywhere
    inside = ((cells >= 0) & (cells < _SIDE)).all(axis=1)
    row, column = cells.clip(0, _SIDE - 1).transpose(1, 0, 2)
    values = inside * blurred[np.arange(len(blurred))[:, None], row, column]
    return values / np.linalg.norm(values, axis=1, keepdims=True)
