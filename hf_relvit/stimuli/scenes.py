"""Scenes as arrays: objects, their places, and the right answer."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from itertools import product

import numpy as np

from ..errors import RelViTError
from ..geometry import SceneGeometry
from ..limits import check_count, check_memory
from .draws import (
    BLOCK,
    BOTH,
    COLOR,
    DIFFERENCES,
    NONE,
    SHAPE,
    block_count,
    block_size,
)
from .objects import ObjectSet
from .rendering import render, sprites_of
from .splits import SPLITS, allowed_objects
from .table import RowTable
from .task import Task
from .tasks import task_number, task_of
from .token_sets import covered_patches

LABELS = ("different", "same")
_ROWS = 256  # whose sprites are in memory at once
SCENE_BYTES = 80
"""Of a scene of two objects while its blocks are joined to one table: 43 in its block, and as many in the table."""


@dataclass(frozen=True, eq=False)
class SceneTable(RowTable):
    """``n`` scenes of ``k`` objects in ``k / 2`` pairs, as a struct of arrays.

    Objects: 1 and 2 are the pair that is judged (RMTS: the sample pair), the others are named by the task's card.

    Attributes:
        shape, color: int16 ``(n, k)``, ids.
        corner: int16 ``(n, k, 2)``, (row, column) of the top-left patch.
        jitter: int16 ``(n, k, 2)``, (row, column) offset of the sprite in its patches, pixels.
        label: int8 ``(n,)``, 0 different, 1 same; of other questions 0 no, 1 yes.
        relation: int8 ``(n, pairs)``, 1 same.
        difference: int8 ``(n, pairs)``, index into DIFFERENCES.
        twin: int64 ``(n,)``, index of the scene of the other label at the same places; -1 for none.
        index: int64 ``(n,)``, identifies the scene within (task, geometry, seed, split) and keys its noise.
        task, split, seed, geometry, objects: where the scenes come from; ``objects`` are the shapes
            and colors that the ids count.
        pose: int16 ``(n, k, 3)``, see ``poses``, where objects have poses; else None.
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
    objects: ObjectSet = dataclasses.field(default_factory=ObjectSet.default)
    pose: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        *,
        shape,
        color,
        corner,
        jitter,
        index,
        twin=None,
        pose=None,
        **origin,
    ) -> SceneTable:
        """Scenes of given objects: differences, relations of pairs and the answer follow from them.

        Args:
            shape, color: integers ``(n, k)``.
            corner, jitter: integers ``(n, k, 2)``.
            index, twin: integers ``(n,)``; no twins by default.
            pose: integers ``(n, k, 3)``; none by default.
            origin: ``task, split, seed, geometry`` and ``objects``.
        """
        second = slice(1, None, 2)
        first = slice(0, 2 * (shape.shape[1] // 2), 2)  # an odd object is in no pair
        differs_shape = shape[:, first] != shape[:, second]
        differs_color = color[:, first] != color[:, second]
        kinds = [differs_shape & differs_color, differs_shape, differs_color]
        difference = np.select(kinds, [BOTH, SHAPE, COLOR], NONE)
        scenes = cls(
            shape=shape.astype(np.int16),
            color=color.astype(np.int16),
            corner=corner.astype(np.int16),
            jitter=jitter.astype(np.int16),
            label=np.zeros(len(shape), dtype=np.int8),
            relation=(difference == NONE).astype(np.int8),
            difference=difference.astype(np.int8),
            twin=np.full(len(shape), -1, dtype=np.int64) if twin is None else twin,
            index=index,
            pose=None if pose is None else pose.astype(np.int16),
            **origin,
        )
        label = scenes.asked.answer(scenes)
        return dataclasses.replace(scenes, label=label.astype(np.int8))

    @property
    def asked(self) -> Task:
        """The task that the scenes ask for."""
        return task_of(self.task)

    @property
    def name(self) -> str:
        """Of the layout."""
        return self.geometry.name

    @property
    def tokens_per_object(self) -> int:
        """See ``SceneGeometry.tokens_per_object``."""
        return self.geometry.tokens_per_object

    @property
    def clusters(self) -> np.ndarray:
        """Which scenes are not independent of each other, ``(n,)``: each stands for itself."""
        return self.index

    @property
    def judged(self) -> np.ndarray:
        """Whether the relation that the task asks for holds, int8 ``(n, judged pairs)``, the first ones of a scene.

        Where the answer follows from the sameness of pairs (RMTS) that of each; else the answer itself, in the first.
        """
        return self.relation if self.asked.pair_names else self.label[:, None]

    def patches(self) -> np.ndarray:
        """Patch ids of each object, int64 ``(n, k, patches per object)``; those of fewer patches end with -1."""
        if self.geometry.on_grid:
            return self.geometry.patches(self.corner)
        some = [self[start : start + _ROWS] for start in range(0, len(self), _ROWS)]
        found = [
            covered_patches(self.geometry, part.corner, part.jitter, sprites_of(part))
            for part in some
        ]
        return np.concatenate(found)

    def pixels(self) -> np.ndarray:
        """The pictures, uint8 ``(n, height, width, 3)``; see ``rendering.render``."""
        return render(self)

    def conditions(self) -> dict[str, np.ndarray]:
        """Kinds of scenes, see ``scene_conditions``."""
        relation = self.relation if self.asked.pair_names else None
        return scene_conditions(self.difference, relation)


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

    How the objects are drawn is the task's (``discrimination.py`` and its neighbors). Different pairs cycle over
    "both", "shape" and "color"; a kind of difference that the combinations of a split cannot show (with 16
    combinations only "both" is possible) is left out.

    Args:
        task: one of TASKS, such as "discrimination" or "rmts".
        geometry: image, patches and objects.
        split: one of SPLITS.
        n: a multiple of the task's balance: even for discrimination, of 4 for RMTS. More than BLOCK are
            blocks 0, 1, 2, ... of BLOCK scenes each, the last one of the rest (``sample_block``).
        combinations: training combinations of shape and color.
        seed: 0 to 2**63 - 1.
        block: further scenes of the same split: block ``b`` has the indices ``b * n`` to ``b * n + n - 1``.
        objects: shapes and colors; ours by default.

    Raises:
        RelViTError: unknown task or split, ``n`` that cannot be balanced, more objects than room, a bad seed, or a
            further block of more than BLOCK scenes.
    """
    origin = {"combinations": combinations, "seed": seed, "objects": objects}
    if n <= BLOCK:
        return _draw(task, geometry, split, n, block, block * n, **origin)
    if block:
        raise RelViTError(f"block {block} of {n} scenes: expected at most {BLOCK} scenes per block")
    check_memory("scenes", n, SCENE_BYTES)
    blocks = range(block_count(n))
    return SceneTable.concatenate(
        [sample_block(task, geometry, split, n, number, **origin) for number in blocks]
    )


def sample_block(
    task: str,
    geometry: SceneGeometry,
    split: str,
    n: int,
    block: int,
    *,
    combinations: int = 256,
    seed: int = 0,
    objects: ObjectSet | None = None,
) -> SceneTable:
    """Scenes ``block * BLOCK`` to ``block * BLOCK + BLOCK - 1`` of the ``n`` of ``sample``.

    The memory is that of one block, however large ``n`` is. Our choice: up to BLOCK scenes the rows are those of
    version 1.0.0, which drew any number at once. Arguments and errors as ``sample``.
    """
    check_scenes(task, geometry, n, seed)
    if not 0 <= block < block_count(n):
        raise RelViTError(f"block {block} of {n} scenes: expected 0 to {block_count(n) - 1}")
    origin = {"combinations": combinations, "seed": seed, "objects": objects}
    return _draw(task, geometry, split, block_size(n, block), block, block * BLOCK, **origin)


def _draw(
    task: str,
    geometry: SceneGeometry,
    split: str,
    n: int,
    block: int,
    first: int,
    *,
    combinations: int,
    seed: int,
    objects: ObjectSet | None,
) -> SceneTable:
    """``n`` scenes from one stream of random numbers; their indices begin at ``first``."""
    objects = objects or ObjectSet.default()
    check_scenes(task, geometry, n, seed)
    geometry = task_of(task).placed(geometry)
    allowed = allowed_objects(split, combinations, objects)
    kinds = task_of(task).fewest_kinds
    if allowed.sum() < kinds:
        raise RelViTError(
            f"split {split!r} has {allowed.sum()} objects for {combinations} combinations: "
            f"{task} needs {kinds} to show different pairs; choose more combinations, shapes or colors"
        )
    rng = np.random.default_rng([seed, task_number(task), SPLITS.index(split), block])
    drawn = task_of(task).drawn(rng, allowed, geometry, split, n, objects)
    order = rng.permutation(n)
    position = np.empty(n, dtype=np.int64)
    position[order] = np.arange(n)
    drawn = drawn.ordered(order)
    twin = np.where(drawn.twin >= 0, position[drawn.twin] + first, -1)

    return SceneTable.of(
        shape=drawn.shape,
        color=drawn.color,
        corner=drawn.corner,
        jitter=rng.integers(0, geometry.max_jitter + 1, (*drawn.shape.shape, 2), dtype=np.int16),
        index=np.arange(first, first + n, dtype=np.int64),
        twin=twin,
        pose=drawn.pose,
        task=task,
        split=split,
        seed=seed,
        geometry=geometry,
        objects=objects,
    )


def scene_conditions(
    difference: np.ndarray | None, relation: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Which scenes belong to which kind, bool ``(n,)`` each; a kind may be empty.

    Args:
        difference: ``(n, pairs)``, index into DIFFERENCES; the judged (RMTS: sample) pair counts.
        relation: ``(n, pairs)``, 1 same; two pairs (sample, display) give the four cells of RMTS.

    Returns:
        "difference_none", "..._both", "..._shape", "..._color"; "sample_same_display_same" and so on.
    """
    conditions = {}
    if difference is not None:
        for kind, name in enumerate(DIFFERENCES):
            conditions[f"difference_{name}"] = difference[:, 0] == kind
    if relation is not None and relation.shape[1] > 1:
        for sample_pair, display_pair in product((1, 0), repeat=2):
            name = f"sample_{LABELS[sample_pair]}_display_{LABELS[display_pair]}"
            conditions[name] = (relation[:, :2] == (sample_pair, display_pair)).all(axis=1)
    return conditions


def check_scenes(
    task: str,
    geometry: SceneGeometry,
    n: int,
    seed: int,
) -> None:
    """Raise RelViTError unless ``n`` scenes of this task can be balanced and fit into the image."""
    step = task_of(task).balance
    check_count("n", n)
    if n < step or n % step:
        raise RelViTError(
            f"{n} scenes cannot be balanced for {task}: choose a positive multiple of {step}"
        )
    if not 0 <= seed < 2**63:
        raise RelViTError(f"seed {seed}: expected 0 to 2**63 - 1")
    geometry = task_of(task).placed(geometry)
    fits = geometry.grid // geometry.object_patches
    needed = task_of(task).objects
    # Freely placed objects need not tile, so half of the tiles must stay free for a placement to be found always.
    if fits**2 < 2 * needed:
        raise RelViTError(
            f"{needed} objects of {geometry.object_size} pixels have no room in {geometry.image_size} pixels: "
            "choose a larger image or smaller objects"
        )
