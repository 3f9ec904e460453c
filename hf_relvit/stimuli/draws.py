"""Draws that the samplers share: objects, pairs of objects, and places for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from ..errors import RelViTError
from ..geometry import SceneGeometry
from .splits import belongs

DIFFERENCES = ("none", "both", "shape", "color")
NONE, BOTH, SHAPE, COLOR = range(4)
BLOCK = 61_440
"""Scenes of a set that are drawn together, a multiple of the balance of every task (any divisor of 120). A larger set
is drawn block by block, each from its own random numbers, so that any range of it is drawn in the same memory."""
_ROWS = 4096


def pick(rng: np.random.Generator, possible: np.ndarray) -> np.ndarray:
    """A uniform choice among the possible ones of each row: bool ``(n, options)`` -> int64 ``(n,)``."""
    return np.argmax(np.where(possible, rng.random(possible.shape, dtype=np.float32), -1), axis=1)


def block_pieces(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """Ranges of indices cut where blocks begin: (block, first, last + 1), counted from the block's own first."""
    for start, stop in ranges:
        while start < stop:
            block, first = divmod(start, BLOCK)
            last = min(stop - block * BLOCK, BLOCK)
            yield block, first, last
            start = block * BLOCK + last


def block_size(n: int, block: int) -> int:
    """How many of ``n`` scenes the block holds."""
    return min(BLOCK, n - block * BLOCK)


def block_count(n: int) -> int:
    """How many blocks hold ``n`` scenes."""
    return -(-n // BLOCK)


def row_slices(n: int) -> list[slice]:
    """Rows in groups, so that a table of all objects for each row is never whole in memory."""
    return [slice(start, start + _ROWS) for start in range(0, n, _ROWS)]


def balanced_pairs(
    rng: np.random.Generator, allowed: np.ndarray, n: int, same: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of objects: shapes and colors, each int64 ``(n, 2)``.

    Every allowed object is the first of a pair equally often (to within one). Different pairs cycle over the kinds
    of difference; the partner is uniform among the objects that differ in that way.
    """
    shapes, colors = np.nonzero(allowed)
    rounds = -(-n // len(shapes))
    anchor = np.concatenate([rng.permutation(len(shapes)) for _ in range(rounds)])[:n]
    partner = anchor if same else _partners(rng, shapes, colors, anchor)
    both = np.stack([anchor, partner], 1)
    return shapes[both], colors[both]


def _partners(
    rng: np.random.Generator, shapes: np.ndarray, colors: np.ndarray, anchor: np.ndarray
) -> np.ndarray:
    """For each first object another one, int64 ``(n,)``, both counted among the allowed ones."""
    other_shape = shapes[None] != shapes[:, None]
    other_color = colors[None] != colors[:, None]
    ways = np.stack(
        [other_shape & other_color, other_shape & ~other_color, ~other_shape & other_color]
    )
    shown = ways.any(2)[:, anchor].all(1)
    way = np.resize(np.nonzero(shown)[0], len(anchor))
    picks = [pick(rng, ways[way[rows], anchor[rows]]) for rows in row_slices(len(anchor))]
    return np.concatenate(picks)


def uniform_pairs(
    rng: np.random.Generator, allowed: np.ndarray, n: int, same: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Ordered pairs, uniform over all pairs of the relation: shapes and colors, each int64 ``(n, 2)``."""
    shapes, colors = np.nonzero(allowed)
    first = rng.integers(0, len(shapes), n)
    second = first if same else (first + rng.integers(1, len(shapes), n)) % len(shapes)
    both = np.stack([first, second], 1)
    return shapes[both], colors[both]


def place(
    rng: np.random.Generator, geometry: SceneGeometry, fixed: np.ndarray, accepts
) -> np.ndarray:
    """Two free corners for each scene, int64 ``(n, 2, 2)``, disjoint from each other and from the fixed ones.

    Args:
        fixed: corners that are taken, int64 ``(fixed objects, 2)``.
        accepts: function of (rows, corners) -> bool, whether the scene belongs to the split.
    """
    size = geometry.object_patches
    corners = np.empty((accepts.n, 2, 2), dtype=np.int64)
    pending = np.arange(accepts.n)
    for _ in range(10_000):
        drawn = rng.integers(0, geometry.grid - size + 1, (len(pending), 2, 2))
        apart = (np.abs(drawn[:, 0] - drawn[:, 1]) >= size).any(-1)
        for corner in fixed:
            apart &= (np.abs(drawn - corner) >= size).any(-1).all(-1)
        good = apart & accepts(pending, drawn)
        corners[pending[good]] = drawn[good]
        pending = pending[~good]
        if not len(pending):
            return corners
    raise RelViTError(
        f"no free placement found for {len(pending)} scenes in a grid of {geometry.grid} x {geometry.grid} patches: "
        "choose a larger image or smaller objects"
    )


class SplitFilter:
    """Whether candidate placements of given objects belong to a split (for all the versions of a scene)."""

    def __init__(
        self, split: str, versions: list[tuple[np.ndarray, np.ndarray]], fixed: np.ndarray
    ):
        self.split, self.versions, self.fixed, self.n = split, versions, fixed, len(versions[0][0])

    def __call__(self, rows: np.ndarray, corners: np.ndarray) -> np.ndarray:
        placed = np.concatenate(
            [corners, np.broadcast_to(self.fixed, (len(rows), *self.fixed.shape))], 1
        )
        return np.logical_and.reduce(
            [
                belongs(self.split, shape[rows], color[rows], placed)
                for shape, color in self.versions
            ]
        )


def identical_pairs(
    a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Whether two pairs show the same two objects in either order, bool ``(n,)``."""
    straight = (a[0] == b[0]).all(1) & (a[1] == b[1]).all(1)
    crossed = (a[0] == b[0][:, ::-1]).all(1) & (a[1] == b[1][:, ::-1]).all(1)
    return straight | crossed
