"""Draws that the samplers share: objects, pairs of objects, and places for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations

import numpy as np
from numpy.random import Generator

from ..errors import RelViTError
from ..geometry import SceneGeometry
from .splits import belongs

DIFFERENCES = ("none", "both", "shape", "color")
NONE = 0
BOTH = 1
SHAPE = 2
COLOR = 3
BLOCK = 61_440
"""Scenes of a set that are drawn together, a multiple of the balance of every task (any divisor of 120). A larger set
is drawn block by block, each from its own random numbers, so that any range of it is drawn in the same memory."""
_ROWS = 4096


def pick(rng: Generator, possible: np.ndarray) -> np.ndarray:
    """A uniform choice among the possible ones of each row: bool ``(n, options)`` -> int64 ``(n,)``."""
    draws = rng.random(possible.shape, dtype=np.float32)
    scores = np.where(possible, draws, -1)
    return scores.argmax(axis=1)


def block_pieces(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """Ranges of indices cut where blocks begin: (block, first, last + 1), counted from the block's own first."""
    for start, stop in ranges:
        while start < stop:
            block, first = divmod(start, BLOCK)
            origin = block * BLOCK
            last = min(stop - origin, BLOCK)
            yield block, first, last
            start = origin + last


def block_size(n: int, block: int) -> int:
    """How many of ``n`` scenes the block holds."""
    return min(BLOCK, n - block * BLOCK)


def block_count(n: int) -> int:
    """How many blocks hold ``n`` scenes."""
    return -(-n // BLOCK)


def row_slices(n: int) -> list[slice]:
    """Rows in groups, so that a table of all objects for each row is never whole in memory."""
    starts = range(0, n, _ROWS)
    return [slice(start, start + _ROWS) for start in starts]


def balanced_pairs(
    rng: Generator,
    allowed: np.ndarray,
    n: int,
    same: bool,
) -> np.ndarray:
    """Pairs of objects: (shape, color) of both, int64 ``(n, 2, 2)``.

    Every allowed object is the first of a pair equally often (to within one). Different pairs cycle over the kinds
    of difference; the partner is uniform among the objects that differ in that way.
    """
    kinds = np.argwhere(allowed)
    count = len(kinds)
    rounds = -(-n // count)
    orders = [rng.permutation(count) for _ in range(rounds)]
    anchor = np.concatenate(orders)[:n]
    partner = anchor if same else _partners(rng, kinds, anchor)
    pairs = np.column_stack([anchor, partner])
    return kinds[pairs]


def _partners(
    rng: Generator,
    kinds: np.ndarray,
    anchor: np.ndarray,
) -> np.ndarray:
    """For each first object another one, int64 ``(n,)``, both counted among the allowed ones."""
    differs: np.ndarray = np.not_equal(kinds, kinds[:, None])
    shape = differs[..., 0]
    color = differs[..., 1]
    both = shape & color
    ways = np.stack([both, shape & ~color, color & ~shape])
    partner_exists = np.any(ways, axis=2)
    shown = np.all(partner_exists[:, anchor], axis=1)
    way = np.resize(np.flatnonzero(shown), len(anchor))
    picks = []
    for rows in row_slices(len(anchor)):
        possible = ways[way[rows], anchor[rows]]
        picks.append(pick(rng, possible))
    return np.concatenate(picks)


def uniform_pairs(
    rng: Generator,
    allowed: np.ndarray,
    n: int,
    same: bool,
) -> np.ndarray:
    """Ordered pairs, uniform over all pairs of the relation: (shape, color) of both, int64 ``(n, 2, 2)``."""
    kinds = np.argwhere(allowed)
    count = len(kinds)
    first = rng.integers(0, count, n)
    second = first
    if not same:
        step = rng.integers(1, count, n)
        second = (first + step) % count
    pairs = np.column_stack([first, second])
    return kinds[pairs]


def identical_pairs(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Whether two pairs ``(n, 2, 2)`` show the same two objects in either order, bool ``(n,)``."""
    straight = (one == other).all(axis=(1, 2))
    crossed = (one == other[:, ::-1]).all(axis=(1, 2))
    return straight | crossed


NOWHERE = np.empty((0, 2), dtype=np.int64)
"""Fixed corners where no object is fixed."""


def place(
    rng: Generator,
    geometry: SceneGeometry,
    split: str,
    versions: list[np.ndarray],
    fixed: np.ndarray = NOWHERE,
) -> np.ndarray:
    """Where the objects of each scene stand, int64 ``(n, k, 2)``: two in free places, then those in fixed ones.

    No two objects share a patch, and every version of a scene belongs to the split.

    Args:
        split: one of SPLITS.
        versions: (shape, color) of the objects, int64 ``(n, k, 2)`` each: scenes with the same places.
        fixed: corners of the last objects, int64 ``(k - 2, 2)``.

    Raises:
        RelViTError: too little room.
    """
    grid = geometry.grid
    size = geometry.object_patches
    n = len(versions[0])
    corners = np.empty_like(versions[0])
    corners[:, 2:] = fixed
    pending = np.arange(n)
    for _ in range(10_000):
        drawn = corners[pending]
        free = drawn[:, :2]
        free[:] = rng.integers(0, grid - size + 1, free.shape)
        good = _apart(drawn, size)
        for kinds in versions:
            good &= belongs(split, kinds[pending], drawn)
        placed = pending[good]
        corners[placed] = drawn[good]
        pending = pending[~good]
        if not len(pending):
            return corners
    raise RelViTError(
        f"no free placement found for {len(pending)} scenes in a grid of {grid} x {grid} patches: "
        "choose a larger image or smaller objects"
    )


def _apart(corners: np.ndarray, size: int) -> np.ndarray:
    """Whether no two objects of a scene share a patch: corners ``(n, k, 2)`` -> bool ``(n,)``."""
    n, objects, _ = corners.shape
    apart = np.ones(n, dtype=bool)
    for one, other in combinations(range(objects), 2):
        distance = np.abs(corners[:, one] - corners[:, other])
        down, right = distance.T
        apart &= np.maximum(down, right) >= size
    return apart
