"""Base and source scenes for interchange interventions: swap one property of one object, and the answer must flip."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.random import Generator

from ..errors import RelViTError
from ..geometry import SceneGeometry
from ..limits import check_memory
from .draws import (
    BLOCK,
    block_count,
    block_size,
    identical_pairs,
    no_place,
    pick,
    place,
    row_slices,
    try_to_place,
    uniform_pairs,
)
from .objects import ObjectSet
from .scenes import SCENE_BYTES, SceneTable, check_scenes
from .splits import SPLITS, allowed_objects
from .table import RowTable
from .task import Task
from .tasks import TASKS, task_number, task_of

PROPERTIES = ("shape", "color")
# Noise is keyed by a scene's index: far from those of any set that is drawn to be looked at or trained on.
_FIRST_INDEX = {"shape": 1 << 40, "color": 1 << 41}
_REDRAWS = 20


@dataclass(frozen=True, eq=False)
class CounterfactualTable(RowTable):
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
        task: one with counterfactual pairs: "discrimination", "rmts", "sosd", "same_shape" or "same_color".
        geometry: image, patches and objects.
        property: "shape" or "color".
        split: one of SPLITS.
        n: even for two objects, a multiple of 8 for two pairs. More than BLOCK are drawn in blocks, as in ``sample``.
        combinations: training combinations of shape and color.
        seed: 0 to 2**63 - 1.
        objects: shapes and colors; ours by default.

    Raises:
        RelViTError: unknown task, property or split, ``n`` that cannot be balanced, a bad seed, or a split with too
            few combinations to swap a property (16 of ours: no two objects differ in one property only).
    """
    _check(task, geometry, property, n, seed)
    check_memory("pairs of scenes", n, 2 * SCENE_BYTES)
    blocks = [
        sample_counterfactual_block(
            task,
            geometry,
            property,
            split,
            n,
            block,
            combinations=combinations,
            seed=seed,
            objects=objects,
        )
        for block in range(block_count(n))
    ]
    return CounterfactualTable.concatenate(blocks)


def _check(
    task: str,
    geometry: SceneGeometry,
    property: str,
    n: int,
    seed: int,
) -> None:
    if property not in PROPERTIES:
        raise RelViTError(f"unknown property {property!r}: expected one of {', '.join(PROPERTIES)}")
    asked = task_of(task)
    step = asked.swaps
    if step is None:
        with_pairs = [name for name, other in TASKS.items() if other.swaps is not None]
        raise RelViTError(
            f"task {task!r} has no counterfactual pairs: expected one of {', '.join(with_pairs)}"
        )
    geometry.check_equal_tokens("a swap")
    if property not in asked.swapped:
        raise RelViTError(
            f"a swap of {property} does not change the answer of {task!r}: "
            f"swap {' or '.join(asked.swapped)}"
        )
    check_scenes(task, geometry, asked.balance, seed)
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
    key = [task_number(task), SPLITS.index(split), block, 1 + PROPERTIES.index(property)]
    rng = np.random.default_rng([seed, *key])
    asked = task_of(task)
    row = rng.permutation(n)
    judgement = row % 2
    places = _edited_places(asked, row)
    giver_places = (places + 2) % asked.objects  # those of the other pair, if there is one
    kinds_of = partial(_kinds, rng, asked, allowed, property, split)
    base, source = kinds_of(row)
    if asked.source_moves:
        base_corner = place(rng, geometry, split, [base], asked.layout)
        source_corner = place(rng, geometry, split, [source], asked.layout)
    else:
        base_corner = _shared_corners(rng, asked, geometry, split, row, (base, source), kinds_of)
        source_corner = base_corner

    origin = {
        "task": task,
        "split": split,
        "seed": seed,
        "geometry": geometry,
        "objects": objects,
    }
    first = _FIRST_INDEX[property] + 2 * block * BLOCK
    index = first + 2 * np.arange(n, dtype=np.int64)
    base_scenes = _scenes(rng, base, base_corner, index, **origin)
    return CounterfactualTable(
        base=base_scenes,
        source=_scenes(rng, source, source_corner, index + 1, **origin),
        edited=places[:, 0].astype(np.int8),
        fixed=places[:, 1].astype(np.int8),
        source_object=giver_places[:, 0].astype(np.int8),
        other_source=giver_places[:, 1].astype(np.int8),
        label=1 - base_scenes.label,
        judgement=judgement.astype(np.int8),
        property=property,
    )


def _edited_places(task: Task, row: np.ndarray) -> np.ndarray:
    """Where the objects of the edited pair stand among all, ``(n, 2)``: the edited one first.

    The edited object is the first or the second of its pair in turn, in every cell of the balance.
    """
    if task.objects == 4:
        pair = row // 2 % 2
        slot = (row + row // 2 + row // 4 + row // 8) % 2
    else:
        pair = np.zeros_like(row)
        slot = (row + row // 2) % 2
    slots = np.column_stack([slot, 1 - slot])
    return 2 * pair[:, None] + slots


def _scenes(
    rng: Generator,
    kinds: np.ndarray,
    corner: np.ndarray,
    index: np.ndarray,
    **origin: Any,
) -> SceneTable:
    """Scenes of objects ``(n, k, 2)`` with their own jitter."""
    max_jitter = origin["geometry"].max_jitter
    return SceneTable.of(
        shape=kinds[..., 0],
        color=kinds[..., 1],
        corner=corner,
        jitter=rng.integers(0, max_jitter + 1, kinds.shape, dtype=np.int16),
        index=index,
        **origin,
    )


def sample_isolation_pairs(pairs: CounterfactualTable) -> CounterfactualTable:
    """Pairs on which swapping the *other* property must leave the answer alone.

    From pairs about O (say, shape), for an alignment of P (color): the source object gets the P of the edited object
    and keeps the O that would flip the answer. Swapping P alone then changes nothing, and the right answer is the
    base's; whatever of O comes along flips it. The accuracy of a color alignment on the isolation pairs of shape pairs
    thus says whether it leaves the shape judgement alone, and that on color pairs whether it changes the color
    judgement. After RAVEL's cause and isolate scores (arXiv 2402.17700); the pairs are our choice, as a
    same/different model gives one answer about both properties. A full swap scores near 0, doing nothing 1.

    The source object is the one that a swap of O would make, so it is among the combinations of the split.
    """
    property = "color" if pairs.property == "shape" else "shape"
    rows = np.arange(len(pairs))
    kept = getattr(pairs.base, property)[rows, pairs.edited]
    values = getattr(pairs.source, property).copy()
    values[rows, pairs.source_object] = kept
    changed = {property: values}
    return dataclasses.replace(
        pairs,
        source=dataclasses.replace(pairs.source, **changed),
        label=1 - pairs.label,
        property=property,
    )


def _pair_kinds(
    rng: Generator,
    allowed: np.ndarray,
    property: str,
    judgement: np.ndarray,
    split: str,
) -> tuple[np.ndarray, np.ndarray]:
    """(shape, color) of the edited pair and of the source pair, each int64 ``(n, 2, 2)``.

    Uniform over all (P of the edited object, P to give it, O of the pair, O of the source object) that can be shown.
    """
    if property == "color":
        allowed = allowed.T  # [P, O] from here
    edited = np.empty((len(judgement), 2, 2), dtype=np.int64)
    source = np.empty_like(edited)
    for relation in np.unique(judgement):
        rows = np.flatnonzero(judgement == relation)
        choices = _swap_choices(allowed, relation, split)
        drawn = rng.integers(0, len(choices), len(rows))
        swaps = choices[drawn]
        p, target, o, giver_o = swaps.T
        fixed_p = p if relation else target
        edited[rows, 0] = np.column_stack([p, o])
        edited[rows, 1] = np.column_stack([fixed_p, o])
        source[rows, 0] = np.column_stack([target, giver_o])
        source[rows, 1] = _other_source(rng, allowed, swaps, relation)
    if property == "color":
        return edited[..., ::-1], source[..., ::-1]
    return edited, source


def _swap_choices(allowed: np.ndarray, relation: int, split: str) -> np.ndarray:
    """The swaps that can be shown, int64 ``(m, 4)``: their indices in :func:`_possible_swaps`."""
    choices = np.argwhere(_possible_swaps(allowed, relation))
    if not len(choices):
        raise RelViTError(
            f"split {split!r} has too few combinations of shape and color to swap one and keep the other: "
            "choose more combinations (at least 32 of ours), shapes or colors"
        )
    return choices


def _possible_swaps(allowed: np.ndarray, relation: int) -> np.ndarray:
    """Swaps that can be shown, bool ``[P, target, O, O of the source object]``; ``allowed`` is [P, O]."""
    same_p, same_o = _identities(allowed)
    # both objects of the pair, what the swap makes, and the source object exist
    edited = allowed[:, None, :, None]
    fixed = allowed[None, :, :, None]
    giver = allowed[None, :, None, :]
    other_p = ~same_p[:, :, None, None]
    shown = edited & fixed & giver & other_p & ~same_o
    third = ~same_o[:, None, :] & ~same_o  # [O, O of the source object, third O]
    # P of the other source object: any but the target if pairs become same, their own if they become different
    others = allowed.astype(int)
    if relation == 0:
        free_p = (~same_p).astype(int)
        others = free_p @ allowed
    ways = np.einsum("qt,rst->qrs", others, third)  # [target, or P; O; O of the source object]
    if relation:
        ways = ways[:, None]
    return shown & (ways > 0)


def _identities(allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which values are the same, of P and of O, bool ``(values, values)`` each."""
    p_count, o_count = allowed.shape
    return np.eye(p_count, dtype=bool), np.eye(o_count, dtype=bool)


def _other_source(
    rng: Generator,
    allowed: np.ndarray,
    swaps: np.ndarray,
    relation: int,
) -> np.ndarray:
    """(P, O) of the other source object, int64 ``(n, 2)``: a third O, and a P that does not flip the answer."""
    p, target, o, giver_o = swaps.T
    same_p, same_o = _identities(allowed)
    free_p = same_p[p] if relation else ~same_p[target]
    free_o = ~same_o[o] & ~same_o[giver_o]
    picks = []
    for rows in row_slices(len(swaps)):
        p_is_free = free_p[rows][:, :, None]
        o_is_free = free_o[rows][:, None]
        free = allowed & p_is_free & o_is_free
        picks.append(pick(rng, free.reshape(-1, allowed.size)))
    chosen = np.concatenate(picks)
    third = np.unravel_index(chosen, allowed.shape)
    return np.stack(third, axis=1)


def _other_pairs(
    rng: Generator,
    allowed: np.ndarray,
    edited_pair: np.ndarray,
    same: np.ndarray,
) -> np.ndarray:
    """RMTS: the base's other pair, of the wanted relation and never the edited pair again, int64 ``(n, 2, 2)``."""
    pairs = np.empty_like(edited_pair)
    for relation in (False, True):
        again = same == relation
        while again.any():
            count = int(again.sum())
            drawn = uniform_pairs(rng, allowed, count, relation)
            pairs[again] = drawn
            again[again] = identical_pairs(drawn, edited_pair[again])
    return pairs


def _kinds(
    rng: Generator,
    task: Task,
    allowed: np.ndarray,
    property: str,
    split: str,
    row: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """(shape, color) of all objects of bases and sources, each int64 ``(n, k, 2)``, for rows of the balance."""
    places = _edited_places(task, row)
    giver_places = (places + 2) % task.objects
    edited_pair, source_pair = _pair_kinds(rng, allowed, property, row % 2, split)
    base = np.empty((len(row), task.objects, 2), dtype=np.int64)
    rows = np.arange(len(row))[:, None]
    base[rows, places] = edited_pair
    if task.objects == 4:
        same = row // 4 % 2 == 1
        base[rows, giver_places] = _other_pairs(rng, allowed, edited_pair, same)
    source = base.copy()
    source[rows, giver_places] = source_pair
    return base, source


def _shared_corners(
    rng: Generator,
    task: Task,
    geometry: SceneGeometry,
    split: str,
    row: np.ndarray,
    versions: tuple[np.ndarray, np.ndarray],
    kinds_of: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> np.ndarray:
    """Places ``(n, k, 2)`` of bases and sources alike.

    In a small image, both belong to the split at no place for about one pair in a hundred: other objects are drawn
    for it, of the same row of the balance, into ``versions``.
    """
    corner, homeless = try_to_place(rng, geometry, split, [*versions], task.layout)
    for _ in range(_REDRAWS):
        if not len(homeless) or len(homeless) == len(row):
            break
        drawn = kinds_of(row[homeless])
        for kinds, other in zip(versions, drawn):
            kinds[homeless] = other
        corner[homeless], still = try_to_place(rng, geometry, split, [*drawn], task.layout)
        homeless = homeless[still]
    if len(homeless):
        raise no_place(len(homeless), geometry)
    return corner
