"""Discrimination: are the two objects the same? (Paper, section 3.1.)"""

from __future__ import annotations

import numpy as np

from ..geometry import SceneGeometry
from .draws import SplitFilter, balanced_pairs, place
from .task import Drawn, Task


def draw(
    rng: np.random.Generator, allowed: np.ndarray, geometry: SceneGeometry, split: str, n: int
) -> Drawn:
    """Different pairs, and for each a twin in which one of its objects is kept and doubled, at the same corners."""
    half = n // 2
    shape, color = balanced_pairs(rng, allowed, half, same=False)
    twin_shape = np.repeat(shape[:, :1], 2, 1)
    twin_color = np.repeat(color[:, :1], 2, 1)
    swap = rng.random(half) < 0.5  # the kept object is object 1 or 2 equally often
    shape[swap] = shape[swap, ::-1]
    color[swap] = color[swap, ::-1]
    nothing = np.empty((0, 2), dtype=np.int64)
    versions = [(shape, color), (twin_shape, twin_color)]
    corner = place(rng, geometry, nothing, SplitFilter(split, versions, nothing))
    rows = np.arange(half)
    return Drawn(
        shape=np.concatenate([shape, twin_shape]),
        color=np.concatenate([color, twin_color]),
        corner=np.concatenate([corner, corner]),
        twin=np.concatenate([rows + half, rows]),
    )


def answer(relation: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Same: the two objects are."""
    return relation[:, 0]


DISCRIMINATION = Task("discrimination", 2, 2, 2, draw, answer, swaps=2)
