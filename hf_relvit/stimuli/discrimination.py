"""Discrimination: are the two objects the same? (Paper, section 3.1.)"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.random import Generator

from ..geometry import SceneGeometry
from .draws import balanced_pairs, free_corners, place
from .task import Drawn, Task, TaskCard

if TYPE_CHECKING:
    from .scenes import SceneTable


def draw(
    rng: Generator,
    allowed: np.ndarray,
    geometry: SceneGeometry,
    split: str,
    n: int,
) -> Drawn:
    """Different pairs, and for each a twin in which one of its objects is kept and doubled, at the same corners."""
    half = n // 2
    pair = balanced_pairs(rng, allowed, half, same=False)
    twin = np.repeat(pair[:, :1], 2, axis=1)
    swap = rng.random(half) < 0.5  # the kept object is object 1 or 2 equally often
    pair[swap] = pair[swap, ::-1]
    corner = place(rng, geometry, split, [pair, twin], free_corners)
    return Drawn.twinned(pair, twin, corner)


def answer(scenes: SceneTable) -> np.ndarray:
    """Same: the two objects are."""
    return scenes.relation[:, 0] == 1


CARD = TaskCard(
    title="Same-different discrimination",
    heading="Same or different? (discrimination)",
    scenes="Two objects on white; the answer is `same` if they agree in shape **and** color.",
    balance="Half of the scenes are `same`. The `different` ones differ in both properties, in shape only or in\n"
    "color only, a third each. Every scene has a twin with the other answer: the same places, one of its objects\n"
    "doubled.",
    order="two objects",
    pairs=" (here one)",
    twins="`index` of the twin scene, in the same split",
)
DISCRIMINATION = Task(
    name="discrimination",
    question="Are the two objects the same?",
    rule="“Same” only if shape and color are both equal.",
    objects=2,
    balance=2,
    fewest_kinds=2,
    layout=free_corners,
    draw=draw,
    answer=answer,
    swaps=2,
    card=CARD,
    pair_question="Is the pair same?",
)
