"""The question that a task asks about its scenes, as one value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.random import Generator

from ..geometry import SceneGeometry
from .draws import Layout
from .poses import shared_poses

if TYPE_CHECKING:
    from .objects import ObjectSet
    from .scenes import SceneTable


class Drawn(NamedTuple):
    """Scenes before their order and jitter.

    Attributes:
        shape, color: int64 ``(n, k)``, ids.
        corner: int64 ``(n, k, 2)``, (row, column) of the top-left patch.
        twin: int64 ``(n,)``, row of the scene of the other label at the same places; -1 for none.
        pose: int64 ``(n, k, 3)``, see ``poses``; None for objects upright, as large as the geometry says.
    """

    shape: np.ndarray
    color: np.ndarray
    corner: np.ndarray
    twin: np.ndarray
    pose: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        kinds: np.ndarray,
        corner: np.ndarray,
        twin: np.ndarray | None = None,
        pose: np.ndarray | None = None,
    ) -> Drawn:
        """The same from (shape, color) of each object, int64 ``(n, k, 2)``; no scene has a twin by default."""
        if twin is None:
            twin = np.full(len(kinds), -1)
        return cls(
            kinds[..., 0],
            kinds[..., 1],
            corner,
            twin,
            pose,
        )

    @classmethod
    def twinned(
        cls,
        kinds: np.ndarray,
        twins: np.ndarray,
        corner: np.ndarray,
        pose: np.ndarray | None = None,
    ) -> Drawn:
        """Scenes, then their twins at the same places; ``pose`` is that of both."""
        half = len(kinds)
        rows = np.arange(half)
        return cls.of(
            np.concatenate([kinds, twins]),
            np.concatenate([corner, corner]),
            np.concatenate([rows + half, rows]),
            pose,
        )

    @classmethod
    def joined(cls, parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> Drawn:
        """Parts that were drawn and placed on their own, one behind the other, without twins."""
        kinds, corner = (np.concatenate(arrays) for arrays in zip(*parts))
        return cls.of(kinds, corner)

    def ordered(self, order: np.ndarray) -> Drawn:
        """The same scenes in another order."""
        pose = None if self.pose is None else self.pose[order]
        return Drawn(
            self.shape[order],
            self.color[order],
            self.corner[order],
            self.twin[order],
            pose,
        )


@dataclass(frozen=True)
class TaskCard:
    """The part of a dataset's card about a task, in Markdown; empty fields follow from the task's name.

    Attributes:
        title: of the dataset, in lists.
        heading: of the card.
        scenes: their content, and when the answer is ``same``.
        balance: how often each kind of scene occurs.
        order: in which the lists name the objects.
        pairs: which pairs there are, in their order.
        twins: content of the column ``twin``.
        choices: further choices of ours, one sentence each.
    """

    title: str = ""
    heading: str = ""
    scenes: str = "Objects on white."
    balance: str = "All answers are equally frequent."
    order: str = "in one order"
    pairs: str = ""
    twins: str = "always -1: twins are of the discrimination task"
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """A relation between objects, and how scenes that ask for it are drawn.

    Attributes:
        name: as in settings, tables and names of datasets.
        question: that reports and cards ask.
        rule: when the answer is yes, as a sentence for reports.
        objects: objects per scene; neighbors in the list are pairs.
        balance: scenes are drawn in multiples of this number, so that all answers are equally frequent.
        fewest_kinds: how many different objects a split must offer.
        layout: of the objects of a scene (``draws``).
        draw: from a random generator, the allowed combinations bool ``(shapes, colors)``, the geometry, the split and
            ``n`` to ``n`` scenes.
        answer: whether the relation that the task asks for holds, bool ``(n,)``, from scenes whose label is not known
            yet.
        answers: the words for no and yes in pictures of scenes; models and datasets say "different" and "same".
        swaps: tables of counterfactual pairs are drawn in multiples of this number; None where the task has none.
        swapped: the properties whose swap changes the answer.
        source_moves: whether the source of a counterfactual pair has places of its own; else those of the base.
        pair_names: of its pairs, where the answer follows from which of them are same; of none by default: the answer
            is about the first pair.
        posed: whether objects have poses of their own; then they stand at any pixel (``SceneGeometry.posed``).
        apart: from the objects to the pairs of shapes that differ in its poses, bool ``(shapes, shapes)``; ``draw`` is
            then given them by name. None where all shapes differ.
        card: its part of the dataset's card.
        pair_question: about each pair; where it is left out, ``question``.
    """

    name: str
    question: str
    rule: str
    objects: int
    balance: int
    fewest_kinds: int
    layout: Layout
    draw: Callable[..., Drawn]
    answer: Callable[[SceneTable], np.ndarray]
    answers: tuple[str, str] = ("different", "same")
    swaps: int | None = None
    swapped: tuple[str, ...] = ("shape", "color")
    source_moves: bool = True
    pair_names: tuple[str, ...] = ()
    posed: bool = False
    apart: Callable[[ObjectSet], np.ndarray] | None = None
    card: TaskCard = TaskCard()
    pair_question: str = ""

    def placed(self, geometry: SceneGeometry) -> SceneGeometry:
        """The geometry of its scenes."""
        return geometry.posed() if self.posed else geometry

    def drawn(
        self,
        rng: Generator,
        allowed: np.ndarray,
        geometry: SceneGeometry,
        split: str,
        n: int,
        objects: ObjectSet,
    ) -> Drawn:
        """``draw``, given the shapes that are told apart where it asks for them; with poses where it has none."""
        apart = {} if self.apart is None else {"apart": self.apart(objects)}
        drawn = self.draw(rng, allowed, geometry, split, n, **apart)
        if geometry.placement != "posed" or drawn.pose is not None:
            return drawn
        pose = shared_poses(rng, geometry, drawn.twin, self.objects)
        return drawn._replace(pose=pose)
