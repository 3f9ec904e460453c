"""Scenes as arrays: which objects stand where, and what the right answer is."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from ..errors import RelViTError
from ..geometry import SceneGeometry
from .objects import ObjectSet
from .splits import SPLITS, allowed_objects, belongs

TASKS = ("discrimination", "rmts")
LABELS = ("different", "same")
DIFFERENCES = ("none", "both", "shape", "color")
_NONE, _BOTH, _SHAPE, _COLOR = range(4)
_PER_SCENE = ("shape", "color", "corner", "jitter", "label", "relation", "difference", "twin", "index")


@dataclass(frozen=True, eq=False)
class SceneTable:
    """``n`` scenes of ``k`` objects in ``k / 2`` pairs, as a struct of arrays.

    Objects: 1 and 2 are the pair that is judged (RMTS: the sample pair), 3 and 4 the display pair of RMTS.

    Attributes:
        shape, color: int16 ``(n, k)``, ids.
        corner: int16 ``(n, k, 2)``, (row, column) of the top-left patch.
        jitter: int16 ``(n, k, 2)``, (row, column) offset of the sprite in its patches, pixels.
        label: int8 ``(n,)``, 0 different, 1 same.
        relation: int8 ``(n, pairs)``, 1 same.
        difference: int8 ``(n, pairs)``, index into DIFFERENCES.
        twin: int64 ``(n,)``, index of the scene of the other label at the same places; -1 in RMTS.
        index: int64 ``(n,)``, identifies the scene within (task, geometry, seed, split) and keys its noise.
        task, split, seed, geometry: where the scenes come from.
    """

    shape: np.ndarray
    color: np.ndarray
    corner: np.ndarray
    jitter: np.ndarray
    label: np.ndarray
    relation: np.ndarray
    difference: np.ndarray
    twin: np.ndarray
    index: np.ndarray
    task: str
    split: str
    seed: int
    geometry: SceneGeometry

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, rows) -> SceneTable:
        """A smaller table; an integer gives a table of one scene."""
        if isinstance(rows, (int, np.integer)):
            rows = [rows]
        return dataclasses.replace(self, **{name: getattr(self, name)[rows] for name in _PER_SCENE})

    def patches(self) -> np.ndarray:
        """Patch ids of each object, int64 ``(n, k, patches per object)``."""
        return self.geometry.patches(self.corner)


def sample(
    task: str,
    geometry: SceneGeometry,
    split: str,
    n: int,
    *,
    combinations: int = 256,
    seed: int = 0,
    block: int = 0,
    objects: ObjectSet | None = None,
) -> SceneTable:
    """Draw ``n`` scenes, exactly balanced (paper, section 3.1; details from the official code).

    Discrimination: half same, half different; the different ones cycle over "both", "shape" and "color"; each has a
    twin, in which one of its objects is kept, doubled and put at the same two corners. RMTS: a quarter for each
    combination of sample and display relation; the label is "same" if the two relations are equal. A kind of
    difference that the combinations of a split cannot show (only "both" is possible with 16 combinations) is left out.

    Args:
        task: "discrimination" or "rmts".
        geometry: image, patches and objects.
        split: one of SPLITS.
        n: even for discrimination, a multiple of 4 for RMTS.
        combinations: training combinations of shape and color.
        seed: 0 to 2**63 - 1.
        block: further scenes of the same split: block ``b`` has the indices ``b * n`` to ``b * n + n - 1``.
        objects: shapes and colors; ours by default.

    Raises:
        RelViTError: unknown task or split, ``n`` that cannot be balanced, more objects than room, a bad seed.
    """
    objects = objects or ObjectSet.default()
    check_scenes(task, geometry, n, seed)
    allowed = allowed_objects(split, combinations, objects)
    if task == "rmts" and allowed.sum() < 3:
        raise RelViTError(
            f"split {split!r} has {allowed.sum()} objects for {combinations} combinations: "
            "rmts needs 3 to show two different pairs; choose more combinations, shapes or colors"
        )
    rng = np.random.default_rng([seed, TASKS.index(task), SPLITS.index(split), block])
    draw = _discrimination if task == "discrimination" else _rmts
    shape, color, corner, twin = draw(rng, allowed, geometry, split, n)
    order = rng.permutation(n)
    position = np.empty(n, dtype=np.int64)
    position[order] = np.arange(n)
    shape, color, corner, twin = shape[order], color[order], corner[order], twin[order]
    twin = np.where(twin >= 0, position[twin] + block * n, -1)

    differs_shape = shape[:, 0::2] != shape[:, 1::2]
    differs_color = color[:, 0::2] != color[:, 1::2]
    difference = np.select(
        [differs_shape & differs_color, differs_shape, differs_color], [_BOTH, _SHAPE, _COLOR], _NONE
    )
    relation = difference == _NONE
    label = relation[:, 0] if task == "discrimination" else relation[:, 0] == relation[:, 1]
    return SceneTable(
        shape=shape.astype(np.int16),
        color=color.astype(np.int16),
        corner=corner.astype(np.int16),
        jitter=rng.integers(0, geometry.max_jitter + 1, (*shape.shape, 2), dtype=np.int16),
        label=label.astype(np.int8),
        relation=relation.astype(np.int8),
        difference=difference.astype(np.int8),
        twin=twin,
        index=np.arange(block * n, block * n + n, dtype=np.int64),
        task=task,
        split=split,
        seed=seed,
        geometry=geometry,
    )


def check_scenes(task: str, geometry: SceneGeometry, n: int, seed: int) -> None:
    """Raise RelViTError unless ``n`` scenes of this task can be balanced and fit into the image."""
    if task not in TASKS:
        raise RelViTError(f"unknown task {task!r}: expected one of {', '.join(TASKS)}")
    step = 2 if task == "discrimination" else 4
    if n < step or n % step:
        raise RelViTError(f"{n} scenes cannot be balanced for {task}: choose a positive multiple of {step}")
    if not 0 <= seed < 2**63:
        raise RelViTError(f"seed {seed}: expected 0 to 2**63 - 1")
    fits, needed = geometry.grid // geometry.object_patches, 2 if task == "discrimination" else 4
    # Freely placed objects need not tile, so half of the tiles must stay free for a placement to be found always.
    if fits**2 < 2 * needed:
        raise RelViTError(
            f"{needed} objects of {geometry.object_size} pixels have no room in {geometry.image_size} pixels: "
            "choose a larger image or smaller objects"
        )


def _pick(rng: np.random.Generator, possible: np.ndarray) -> np.ndarray:
    """A uniform choice among the possible ones of each row: bool ``(n, options)`` -> int64 ``(n,)``."""
    return np.argmax(np.where(possible, rng.random(possible.shape, dtype=np.float32), -1), axis=1)


def _pairs(rng: np.random.Generator, allowed: np.ndarray, n: int, same: bool) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of objects: shapes and colors, each int64 ``(n, 2)``.

    Every allowed object is the first of a pair equally often (to within one). Different pairs cycle over the kinds
    of difference; the partner is uniform among the objects that differ in that way.
    """
    shapes, colors = np.nonzero(allowed)
    anchor = np.concatenate([rng.permutation(len(shapes)) for _ in range(-(-n // len(shapes)))])[:n]
    shape, color = shapes[anchor], colors[anchor]
    if same:
        return np.stack([shape, shape], 1), np.stack([color, color], 1)
    other_shape, other_color = shapes[None] != shape[:, None], colors[None] != color[:, None]
    ways = {_BOTH: other_shape & other_color, _SHAPE: other_shape & ~other_color, _COLOR: ~other_shape & other_color}
    kinds = [way for way, possible in ways.items() if possible.any(1).all()]
    way = np.resize(np.array(kinds), n)
    partner = _pick(rng, np.select([way[:, None] == k for k in kinds], [ways[k] for k in kinds], False))
    shape, color = np.stack([shape, shapes[partner]], 1), np.stack([color, colors[partner]], 1)
    return shape, color


def _uniform_pairs(rng: np.random.Generator, allowed: np.ndarray, n: int, same: bool) -> tuple[np.ndarray, np.ndarray]:
    """Ordered pairs, uniform over all pairs of the relation: shapes and colors, each int64 ``(n, 2)``."""
    shapes, colors = np.nonzero(allowed)
    first = rng.integers(0, len(shapes), n)
    second = first if same else (first + rng.integers(1, len(shapes), n)) % len(shapes)
    both = np.stack([first, second], 1)
    return shapes[both], colors[both]


def _place(rng: np.random.Generator, geometry: SceneGeometry, fixed: np.ndarray, accepts) -> np.ndarray:
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


class _Accepts:
    """Whether candidate placements of given objects belong to a split (for all the versions of a scene)."""

    def __init__(self, split: str, versions: list[tuple[np.ndarray, np.ndarray]], fixed: np.ndarray):
        self.split, self.versions, self.fixed, self.n = split, versions, fixed, len(versions[0][0])

    def __call__(self, rows: np.ndarray, corners: np.ndarray) -> np.ndarray:
        placed = np.concatenate([corners, np.broadcast_to(self.fixed, (len(rows), *self.fixed.shape))], 1)
        return np.logical_and.reduce(
            [belongs(self.split, shape[rows], color[rows], placed) for shape, color in self.versions]
        )


def _discrimination(rng, allowed, geometry, split, n):
    shape, color = _pairs(rng, allowed, n // 2, same=False)
    twin = np.repeat(shape[:, :1], 2, 1), np.repeat(color[:, :1], 2, 1)
    swap = rng.random(n // 2) < 0.5  # the kept object is object 1 or 2 equally often
    shape[swap], color[swap] = shape[swap, ::-1], color[swap, ::-1]
    nothing = np.empty((0, 2), dtype=np.int64)
    corner = _place(rng, geometry, nothing, _Accepts(split, [(shape, color), twin], nothing))
    rows = np.arange(n // 2)
    return (
        np.concatenate([shape, twin[0]]),
        np.concatenate([color, twin[1]]),
        np.concatenate([corner, corner]),
        np.concatenate([rows + n // 2, rows]),
    )


def _rmts(rng, allowed, geometry, split, n):
    quarter = n // 4
    fixed = np.array([[0, 0], [0, geometry.object_patches]])
    cells = []
    for sample_same in (False, True):
        for display_same in (False, True):
            sample_pair = _pairs(rng, allowed, quarter, sample_same)
            display = _uniform_pairs(rng, allowed, quarter, display_same)
            while (again := _identical(sample_pair, display)).any():
                for old, new in zip(display, _uniform_pairs(rng, allowed, int(again.sum()), display_same)):
                    old[again] = new
            cells.append([np.concatenate([s, d], 1) for s, d in zip(sample_pair, display)])
    shape, color = (np.concatenate(parts) for parts in zip(*cells))
    swap = rng.random(n) < 0.5
    shape[swap, :2], color[swap, :2] = shape[swap, 1::-1], color[swap, 1::-1]
    free = _place(rng, geometry, fixed, _Accepts(split, [(shape, color)], fixed))
    corner = np.concatenate([free, np.broadcast_to(fixed, (n, 2, 2))], 1)
    return shape, color, corner, np.full(n, -1)


def _identical(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Whether two pairs show the same two objects in either order, bool ``(n,)``."""
    straight = (a[0] == b[0]).all(1) & (a[1] == b[1]).all(1)
    crossed = (a[0] == b[0][:, ::-1]).all(1) & (a[1] == b[1][:, ::-1]).all(1)
    return straight | crossed
