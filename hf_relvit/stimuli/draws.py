"""Draws that the samplers share: objects, pairs of objects, and places for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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
    ways = _ways_to_differ(kinds)[1:]
    partner_exists = np.any(ways, axis=2)
    shown = np.all(partner_exists[:, anchor], axis=1)
    way = np.resize(np.flatnonzero(shown), len(anchor))
    picks = []
    for rows in row_slices(len(anchor)):
        possible = ways[way[rows], anchor[rows]]
        picks.append(pick(rng, possible))
    return np.concatenate(picks)


def _ways_to_differ(kinds: np.ndarray) -> np.ndarray:
    """Which objects differ from each in which way, bool ``(DIFFERENCES, objects, objects)``."""
    differs: np.ndarray = np.not_equal(kinds, kinds[:, None])
    shape = differs[..., 0]
    color = differs[..., 1]
    return np.stack([~shape & ~color, shape & color, shape & ~color, color & ~shape])


def differing_pairs(
    rng: Generator,
    allowed: np.ndarray,
    n: int,
    difference: int,
    apart: np.ndarray | None = None,
) -> np.ndarray:
    """Pairs that differ in one way, uniform over the objects that can: (shape, color) of both, int64 ``(n, 2, 2)``.

    Args:
        allowed: bool ``(shapes, colors)``.
        n: how many pairs.
        difference: index into DIFFERENCES.
        apart: which shapes may be paired, bool ``(shapes, shapes)``; all by default.

    Raises:
        RelViTError: no two allowed objects differ so.
    """
    kinds = np.argwhere(allowed)
    partners = _ways_to_differ(kinds)[difference]
    if apart is not None:
        shape = kinds[:, 0]
        partners = partners & apart[shape[:, None], shape]
    anchors = np.flatnonzero(partners.any(axis=1))
    if not len(anchors):
        raise RelViTError(
            f"no two of {len(kinds)} objects differ in {DIFFERENCES[difference]} only: choose more combinations "
            "(at least 32 of ours), shapes or colors"
        )
    first = rng.choice(anchors, n)
    second = np.concatenate([pick(rng, partners[first[rows]]) for rows in row_slices(n)])
    pairs = np.column_stack([first, second])
    return kinds[pairs]


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


Layout = Callable[[Generator, SceneGeometry, int], np.ndarray]
"""Draws the corners of the objects of ``n`` scenes, int64 ``(n, k, 2)``; objects may still overlap."""


def free_corners(
    rng: Generator,
    geometry: SceneGeometry,
    n: int,
    count: int = 2,
) -> np.ndarray:
    """Objects anywhere, int64 ``(n, count, 2)``."""
    last = geometry.grid - geometry.object_patches
    return rng.integers(0, last + 1, (n, count, 2))


def separate_rows(rng: Generator, geometry: SceneGeometry, n: int) -> np.ndarray:
    """Two rows (or columns) of corners whose objects share no row, int64 ``(n, 2)``, the upper one first."""
    size = geometry.object_patches
    levels = geometry.grid - 2 * size + 2  # without the rows that one of them takes from the other
    one = rng.integers(0, levels, n)
    step = rng.integers(1, levels, n)
    other = (one + step) % levels
    upper = np.minimum(one, other)
    lower = np.maximum(one, other) + size - 1
    return np.column_stack([upper, lower])


def top_left_corners(geometry: SceneGeometry, count: int = 2) -> np.ndarray:
    """Places that never change, int64 ``(count, 2)``: side by side, from the top left on."""
    columns = geometry.object_patches * np.arange(count)
    return np.column_stack([np.zeros_like(columns), columns])


def place(
    rng: Generator,
    geometry: SceneGeometry,
    split: str,
    versions: list[np.ndarray],
    layout: Layout,
) -> np.ndarray:
    """Where the objects of each scene stand, int64 ``(n, k, 2)``.

    No two objects share a patch, and every version of a scene belongs to the split.

    Args:
        split: one of SPLITS.
        versions: (shape, color) of the objects, int64 ``(n, k, 2)`` each: scenes with the same places.
        layout: of the task.

    Raises:
        RelViTError: too little room.
    """
    corners, homeless = try_to_place(rng, geometry, split, versions, layout)
    if len(homeless):
        raise no_place(len(homeless), geometry)
    return corners


def try_to_place(
    rng: Generator,
    geometry: SceneGeometry,
    split: str,
    versions: list[np.ndarray],
    layout: Layout,
) -> tuple[np.ndarray, np.ndarray]:
    """As ``place``, with the rows of the scenes for which no place was found, int64 ``(m,)``, usually none."""
    corners = np.empty_like(versions[0])
    pending = np.arange(len(corners))
    for _ in range(10_000):
        drawn = layout(rng, geometry, len(pending))
        good = _apart(drawn, geometry.object_patches)
        for kinds in versions:
            good &= belongs(split, kinds[pending], drawn)
        corners[pending[good]] = drawn[good]
        pending = pending[~good]
        if not len(pending):
            break
    return corners, pending


def no_place(count: int, geometry: SceneGeometry) -> RelViTError:
    """The error for scenes without a place."""
    grid = geometry.grid
    return RelViTError(
        f"no free placement found for {count} scenes in a grid of {grid} x {grid} patches: "
        "choose a larger image or smaller objects"
    )


def draw_and_place(
    rng: Generator,
    geometry: SceneGeometry,
    split: str,
    kinds_of: Callable[[int], np.ndarray],
    layout: Layout,
    n: int,
    twin_of: Callable[[np.ndarray], np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Objects and corners of scenes, int64 ``(n, k, 2)`` each, drawn together: few places may be in few splits.

    Args:
        split: one of SPLITS.
        kinds_of: draws (shape, color) of the objects of so many scenes.
        layout: of the task.
        twin_of: the objects of the scenes that have the same places and belong to the split, too.

    Raises:
        RelViTError: too little room.
    """
    kinds = np.empty((n, *kinds_of(1).shape[1:]), dtype=np.int64)
    corner = np.empty_like(kinds)
    pending = np.arange(n)
    for _ in range(10_000):
        kinds[pending] = kinds_of(len(pending))
        corner[pending] = layout(rng, geometry, len(pending))
        good = _apart(corner, geometry.object_patches) & belongs(split, kinds, corner)
        if twin_of is not None:
            good &= belongs(split, twin_of(kinds), corner)
        pending = np.flatnonzero(~good)
        if not len(pending):
            return kinds, corner
    raise no_place(len(pending), geometry)


def _apart(corners: np.ndarray, size: int) -> np.ndarray:
    """Whether no two objects of a scene share a patch: corners ``(n, k, 2)`` -> bool ``(n,)``."""
    n, objects, _ = corners.shape
    apart = np.ones(n, dtype=bool)
    for one, other in combinations(range(objects), 2):
        distance = np.abs(corners[:, one] - corners[:, other])
        down, right = distance.T
        apart &= np.maximum(down, right) >= size
    return apart
