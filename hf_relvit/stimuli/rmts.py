"""Relational match-to-sample: do the sample pair and the display pair show the same relation? (Paper, section 3.1.)"""

from __future__ import annotations

import numpy as np

from ..geometry import SceneGeometry
from .draws import SplitFilter, balanced_pairs, identical_pairs, place, uniform_pairs
from .task import Drawn, Task


def draw(
    rng: np.random.Generator, allowed: np.ndarray, geometry: SceneGeometry, split: str, n: int
) -> Drawn:
    """A quarter for each combination of sample and display relation; the display pair stands top left."""
    shapes = []
    colors = []
    for sample_same in (False, True):
        for display_same in (False, True):
            pairs = _sample_and_display(rng, allowed, n // 4, sample_same, display_same)
            shapes.append(pairs[0])
            colors.append(pairs[1])
    shape = np.concatenate(shapes)
    color = np.concatenate(colors)
    swap = rng.random(n) < 0.5
    shape[swap, :2] = shape[swap, 1::-1]
    color[swap, :2] = color[swap, 1::-1]
    display = np.array([[0, 0], [0, geometry.object_patches]])
    free = place(rng, geometry, display, SplitFilter(split, [(shape, color)], display))
    corner = np.concatenate([free, np.broadcast_to(display, (n, 2, 2))], 1)
    return Drawn(shape, color, corner, np.full(n, -1))


def _sample_and_display(
    rng: np.random.Generator, allowed: np.ndarray, n: int, sample_same: bool, display_same: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Shapes and colors of ``n`` scenes, each int64 ``(n, 4)``; the display never repeats the sample pair."""
    sample_pair = balanced_pairs(rng, allowed, n, sample_same)
    display = uniform_pairs(rng, allowed, n, display_same)
    again = identical_pairs(sample_pair, display)
    while again.any():
        redrawn = uniform_pairs(rng, allowed, int(again.sum()), display_same)
        for values, new in zip(display, redrawn):
            values[again] = new
        again = identical_pairs(sample_pair, display)
    shape, color = (np.concatenate(parts, 1) for parts in zip(sample_pair, display))
    return shape, color


def answer(relation: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Same: the relations of both pairs are."""
    return relation[:, 0] == relation[:, 1]


RMTS = Task("rmts", 4, 4, 3, draw, answer, swaps=8)
