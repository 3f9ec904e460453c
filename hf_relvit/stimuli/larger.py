"""Larger: is the object at the top left drawn larger than the other one?

Both objects are of one shape and color, so that their size alone decides, and stand at any pixel, the marked one in
the square at the top left. The two sizes are neighbors among four, so a guess from the marked object alone is right in
two of three scenes: only the smallest and the largest size give the answer away. Our choice of a task.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.random import Generator

from ..geometry import SceneGeometry
from .choices import layout as marked
from .draws import balanced_pairs, draw_and_place
from .poses import LEVELS, SIDE, sides, upright
from .task import Drawn, Task, TaskCard

if TYPE_CHECKING:
    from .scenes import SceneTable


def layout(rng: Generator, geometry: SceneGeometry, n: int) -> np.ndarray:
    """The marked object at the top left, the other one anywhere."""
    return marked(rng, geometry, n, fixed=1, free=1)


def draw(
    rng: Generator,
    allowed: np.ndarray,
    geometry: SceneGeometry,
    split: str,
    n: int,
) -> Drawn:
    """Half of the scenes with the larger object at the marked place, the others with the same two sizes swapped."""
    half = n // 2
    kinds_of = partial(balanced_pairs, rng, allowed, same=True)
    pair, corner = draw_and_place(rng, geometry, split, kinds_of, layout, half)
    smaller = rng.integers(0, LEVELS - 1, half)
    levels = np.array(sides(geometry))
    two = levels[np.column_stack([smaller + 1, smaller])]
    pose = upright(geometry, n, objects=2)
    pose[..., SIDE] = np.concatenate([two, two[:, ::-1]])
    return Drawn.twinned(pair, pair, corner, pose)


def answer(scenes: SceneTable) -> np.ndarray:
    """Yes: the marked object has the longer side."""
    assert scenes.pose is not None
    side = scenes.pose[..., SIDE]
    return side[:, 0] > side[:, 1]


CARD = TaskCard(
    title="Larger",
    heading="Is one object larger than another?",
    scenes="Two objects of one shape and color and of different sizes on white, at any pixel. The answer is yes\n"
    "(`same`, 1) if the *marked* one, at the top left, is the larger one.",
    balance="Half of the answers are yes. Every scene has a twin with the other answer: the same places,\n"
    "sizes swapped.",
    order="the marked one first",
    pairs=" (here one): always `same`",
    twins="`index` of the twin scene, in the same split",
    choices=(
        "The two sizes are neighbors among four, so a guess from the marked object alone is right in two of three.",
    ),
)
LARGER = Task(
    name="larger",
    question="Is the object at the top left larger?",
    rule="Both objects have one shape and color. “Yes” if the one at the top left is drawn larger.",
    objects=2,
    balance=2,
    fewest_kinds=1,
    layout=layout,
    draw=draw,
    answer=answer,
    answers=("no", "yes"),
    posed=True,
    card=CARD,
)
