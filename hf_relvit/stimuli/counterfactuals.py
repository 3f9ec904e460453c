"""Base and source scenes for interchange interventions: swap one property of one object, and the answer must flip."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import RelViTError
from ..geometry import SceneGeometry
from .draws import (
    BLOCK,
    SplitFilter,
    block_count,
    block_size,
    identical_pairs,
    pick,
    place,
    row_slices,
    uniform_pairs,
)
from .objects import ObjectSet
from .scenes import SceneTable, check_scenes
from .splits import SPLITS, allowed_objects
from .tasks import task_number, task_of

PROPERTIES = ("shape", "color")
_PER_ROW = (
    "base",
    "source",
    "edited",
    "fixed",
    "source_object",
    "other_source",
    "label",
    "judgement",
)
# Noise is keyed by a scene's index: far from those of any set that is drawn to be looked at or trained on.
_FIRST_INDEX = {"shape": 1 << 40, "color": 1 << 41}


@dataclass(frozen=True, eq=False)
class CounterfactualTable:
    """``n`` pairs of a base and a source scene, as a struct of arrays.

    Give the edited object of the base the property of the source object, and the answer is ``label``; give it that of
    the other source object instead (the wrong-object control), and the answer stays ``1 - label``.

    Attributes:
        base, source: ``n`` scenes each.
        edited, fixed: int8 ``(n,)``, in the base: the object whose property is swapped, and the other of its pair.
        source_object, other_source: int8 ``(n,)``, in the source: the object that gives the property, and the other
            one of its pair.
        label: int8 ``(n,)``, the counterfactual answer: 1 minus the base's.
        judgement: int8 ``(n,)``, the relation of the edited pair in the base, 1 same.
        property: "shape" or "color".
    """

    base: SceneTable
    source: SceneTable
    edited: np.ndarray
    fixed: np.ndarray
    source_object: np.ndarray
    other_source: np.ndarray
    label: np.ndarray
    judgement: np.ndarray
    property: str

    @classmethod
    def concatenate(cls, tables: Sequence[CounterfactualTable]) -> CounterfactualTable:
        """Tables of one origin, one below the other."""
        joined = {}
        for name in _PER_ROW:
            parts = [getattr(table, name) for table in tables]
            scenes = isinstance(parts[0], SceneTable)
            joined[name] = SceneTable.concatenate(parts) if scenes else np.concatenate(parts)
        return dataclasses.replace(tables[0], **joined)

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, rows) -> CounterfactualTable:
        """A smaller table; an integer gives a table of one pair."""
        if isinstance(rows, (int, np.integer)):
            rows = [rows]
        return dataclasses.replace(self, **{name: getattr(self, name)[rows] for name in _PER_ROW})


def sample_counterfactuals(
    task: str,
    geometry: SceneGeometry,
    property: str,
    split: str,
    n: int,
    *,
    combinations: int = 256,
    seed: int = 0,
    objects: ObjectSet | None = None,
) -> CounterfactualTable:
    """Draw ``n`` base and source scenes, exactly balanced and never fewer (paper, section 5; details: official code).

    P is the property to swap and O the other one. Half of the edited pairs are different in P only and become same,
    half are same and become different. The source object has the P that is wanted (the fixed object's, or one that
    differs from it) and an O that differs from the edited pair's. The other source object has a third O, and a P with
    which the answer would not flip. For discrimination the source is any other scene of two such objects. For RMTS
    the edited pair is the sample or the display pair, and the source is the base with two such objects in place of
    the other pair; the eight cells (judgement x edited pair x relation of the other pair) are equally many.

    Corrections of the official code, ours: its two source objects were identical in the same -> different half, so the
    wrong-object control could succeed there (here that object has the base's own P); in RMTS the O of the source
    object was not controlled; pairs could be fewer than asked; sources ranged over all combinations. Here base,
    source and the object that the swap would make use the combinations of the split alone: seen ones in "train",
    "validation" and "test", unseen ones in "test_compositional". Base and source scenes belong to the split as all
    others do (``splits.belongs``), so that no pair shows a scene of another split. Jitter and noise are drawn anew.

    Args:
        task: "discrimination" or "rmts".
        geometry: image, patches and objects.
        property: "shape" or "color".
        split: one of SPLITS.
        n: even for discrimination, a multiple of 8 for RMTS. More than BLOCK are drawn in blocks, as in ``sample``.
        combinations: training combinations of shape and color.
        seed: 0 to 2**63 - 1.
        objects: shapes and colors; ours by default.

    Raises:
        RelViTError: unknown task, property or split, ``n`` that cannot be balanced, a bad seed, or a split with too
            few combinations to swap a property (16 of ours: no two objects differ in one property only).
    """
    _check(task, geometry, property, n, seed)
    origin = {"combinations": combinations, "seed": seed, "objects": objects}
    blocks = [
        sample_counterfactual_block(task, geometry, property, split, n, block, **origin)
        for block in range(block_count(n))
    ]
    return CounterfactualTable.concatenate(blocks)


def _check(task: str, geometry: SceneGeometry, property: str, n: int, seed: int) -> None:
    if property not in PROPERTIES:
        raise RelViTError(f"unknown property {property!r}: expected one of {', '.join(PROPERTIES)}")
    step = task_of(task).swaps
    if step is None:
        raise RelViTError(
            f"task {task!r} has no counterfactual pairs: choose discrimination or rmts"
        )
    check_scenes(task, geometry, step, seed)
    if n < step or n % step:
        raise RelViTError(
            f"{n} pairs of scenes cannot be balanced for {task}: choose a positive multiple of {step}"
        )


def sample_counterfactual_block(
    task: str,
    geometry: SceneGeometry,
    property: str,
    split: str,
    n: int,
    block: int,
    *,
    combinations: int = 256,
    seed: int = 0,
    objects: ObjectSet | None = None,
) -> CounterfactualTable:
    """Pairs ``block * BLOCK`` to ``block * BLOCK + BLOCK - 1`` of the ``n`` of ``sample_counterfactuals``.

    The memory is that of one block. Arguments and errors as there.
    """
    _check(task, geometry, property, n, seed)
    objects = objects or ObjectSet.default()
    n = block_size(n, block)
    allowed = allowed_objects(split, combinations, objects)
    rng = np.random.default_rng(
        [seed, task_number(task), SPLITS.index(split), block, 1 + PROPERTIES.index(property)]
    )

    row = rng.permutation(n)
    judgement = row % 2
    if (
        task == "rmts"
    ):  # the edited object is the first or the second of its pair in turn, in every cell
        pair, slot = row // 2 % 2, (row + row // 2 + row // 4 + row // 8) % 2
    else:
        pair, slot = np.zeros_like(row), (row + row // 2) % 2
    edited_pair, source_pair = _pair_values(
        rng, allowed if property == "shape" else allowed.T, judgement, split
    )
    if property == "color":
        edited_pair, source_pair = edited_pair[..., ::-1], source_pair[..., ::-1]
    at = np.arange(n)[:, None]
    # (n, 2 objects) places of the pair's objects: the edited (or giving) one first
    own = 2 * pair[:, None] + np.stack([slot, 1 - slot], 1)
    other = own if task == "discrimination" else own + 2 - 4 * pair[:, None]
    k = task_of(task).objects
    base, source = np.empty((n, k, 2), dtype=np.int64), np.empty((n, k, 2), dtype=np.int64)
    base[at, own] = edited_pair
    source[at, own] = edited_pair
    if task == "rmts":
        base[at, other] = _other_pairs(rng, allowed, edited_pair, same=row // 4 % 2 == 1)
    source[at, other] = source_pair
    corners = _corners(rng, task, geometry, split, base, source)
    first = _FIRST_INDEX[property] + 2 * block * BLOCK

    def scenes(values: np.ndarray, corner: np.ndarray, offset: int) -> SceneTable:
        jitter = rng.integers(0, geometry.max_jitter + 1, (n, k, 2), dtype=np.int16)
        index = first + offset + 2 * np.arange(n, dtype=np.int64)
        return SceneTable.of(
            shape=values[..., 0],
            color=values[..., 1],
            corner=corner,
            jitter=jitter,
            index=index,
            task=task,
            split=split,
            seed=seed,
            geometry=geometry,
            objects=objects,
        )

    base_scenes = scenes(base, corners[0], 0)
    return CounterfactualTable(
        base=base_scenes,
        source=scenes(source, corners[1], 1),
        edited=own[:, 0].astype(np.int8),
        fixed=own[:, 1].astype(np.int8),
        source_object=other[:, 0].astype(np.int8),
        other_source=other[:, 1].astype(np.int8),
        label=1 - base_scenes.label,
        judgement=judgement.astype(np.int8),
        property=property,
    )


def isolation_pairs(pairs: CounterfactualTable) -> CounterfactualTable:
    """Pairs on which swapping the *other* property must leave the answer alone.

    From pairs about O (say, shape), for an alignment of P (color): the source object gets the P of the edited object
    and keeps the O that would flip the answer. Swapping P alone then changes nothing, and the right answer is the
    base's; whatever of O comes along flips it. The accuracy of a color alignment on ``isolation_pairs(shape pairs)``
    thus says whether it leaves the shape judgement alone, and that on color pairs whether it changes the color
    judgement. After RAVEL's cause and isolate scores (arXiv 2402.17700); the pairs are our choice, as a
    same/different model gives one answer about both properties. A full swap scores near 0, doing nothing 1.

    The source object is the one that a swap of O would make, so it is among the combinations of the split.
    """
    own = "color" if pairs.property == "shape" else "shape"
    rows = np.arange(len(pairs))
    values = getattr(pairs.source, own).copy()
    values[rows, pairs.source_object] = getattr(pairs.base, own)[rows, pairs.edited]
    source = dataclasses.replace(pairs.source, **{own: values})
    return dataclasses.replace(pairs, source=source, label=1 - pairs.label, property=own)


def _pair_values(
    rng, allowed: np.ndarray, judgement: np.ndarray, split: str
) -> tuple[np.ndarray, np.ndarray]:
    """The edited pair and the source pair, each int64 ``(n, 2 objects, 2)`` with (P, O) last; ``allowed`` is [P, O].

    Uniform over all (P of the edited object, P to give it, O of the pair, O of the source object) that can be shown.
    """
    n = len(judgement)
    edited, source = np.empty((n, 2, 2), dtype=np.int64), np.empty((n, 2, 2), dtype=np.int64)
    p, o = allowed.shape
    same_p, same_o = np.eye(p, dtype=bool), np.eye(o, dtype=bool)
    # [P, target, O, O of the source object]: both pair members, what the swap makes and the source object exist
    shown = allowed[:, None, :, None] & allowed[None, :, :, None] & allowed[None, :, None, :]
    shown = shown & ~same_p[:, :, None, None] & ~same_o[None, None]
    for relation in (0, 1):
        rows = np.nonzero(judgement == relation)[0]
        # P of the other source object: any but the target if pairs become same, their own if they become different
        givers = (
            (~same_p).astype(int) @ allowed if relation == 0 else allowed.astype(int)
        )  # [target or P, its O]
        third = ~same_o[:, None, :] & ~same_o[None, :, :]  # [O, O of source, third O]
        possible = np.einsum("qt,rst->qrs", givers, third) > 0
        possible = shown & (possible[None] if relation == 0 else possible[:, None])
        found = np.argwhere(possible)
        if not len(found):
            raise RelViTError(
                f"split {split!r} has too few combinations of shape and color to swap one and keep the other: "
                "choose more combinations (at least 32 of ours), shapes or colors"
            )
        first, target, both, giver = found[rng.integers(0, len(found), len(rows))].T
        edited[rows] = np.stack([first, both, first if relation else target, both], 1).reshape(
            -1, 2, 2
        )
        free_p = same_p[first] if relation else ~same_p[target]
        free_o = ~same_o[both] & ~same_o[giver]
        picks = []
        for part in row_slices(len(rows)):
            free = allowed & free_p[part][:, :, None] & free_o[part][:, None, :]
            picks.append(pick(rng, free.reshape(len(free), -1)))
        rest = np.stack(np.divmod(np.concatenate(picks), o), 1)
        source[rows] = np.stack([np.stack([target, giver], 1), rest], 1)
    return edited, source


def _other_pairs(rng, allowed: np.ndarray, edited_pair: np.ndarray, same: np.ndarray) -> np.ndarray:
    """RMTS: the base's other pair, of the wanted relation and never the edited pair again, int64 ``(n, 2, 2)``."""
    pairs = np.empty_like(edited_pair)
    for relation in (False, True):
        again = same == relation
        while again.any():
            pairs[again] = np.stack(uniform_pairs(rng, allowed, int(again.sum()), relation), -1)
            again[again] = identical_pairs((pairs[again][..., 0], pairs[again][..., 1]),
                                      (edited_pair[again][..., 0], edited_pair[again][..., 1]))  # fmt: skip
    return pairs


def _corners(
    rng, task: str, geometry: SceneGeometry, split: str, base: np.ndarray, source: np.ndarray
):
    """Where the objects of base and source stand: two int64 ``(n, k, 2)``; the same places for RMTS."""
    versions = [(values[..., 0], values[..., 1]) for values in (base, source)]
    if task == "discrimination":
        nothing = np.empty((0, 2), dtype=np.int64)
        return [
            place(rng, geometry, nothing, SplitFilter(split, [version], nothing))
            for version in versions
        ]
    display = np.array([[0, 0], [0, geometry.object_patches]])
    free = place(rng, geometry, display, SplitFilter(split, versions, display))
    corner = np.concatenate([free, np.broadcast_to(display, (len(base), 2, 2))], 1)
    return [corner, corner]
