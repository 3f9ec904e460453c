"""Order: does the one object stand above (left of) the other? A display pair, top left, says which is the one.

A picture has no first object, so the question must be visible: the display pair shows the same two objects side by
side, and asks whether its left one is above (left of) its right one in the rest of the scene. Our choice.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.random import Generator

from ..geometry import SceneGeometry
from .draws import Layout, balanced_pairs, place, separate_rows
from .rmts import layout as anywhere
from .task import Drawn, Task, TaskCard

if TYPE_CHECKING:
    from .scenes import SceneTable


def layout(
    rng: Generator,
    geometry: SceneGeometry,
    n: int,
    axis: int,
) -> np.ndarray:
    """As in RMTS, but the first object is wholly above (axis 0) or left of (1) the second one."""
    corner = anywhere(rng, geometry, n)
    corner[:, :2, axis] = separate_rows(rng, geometry, n)
    return corner


def draw(
    rng: Generator,
    allowed: np.ndarray,
    geometry: SceneGeometry,
    split: str,
    n: int,
    layout: Layout,
) -> Drawn:
    """Two different objects, and the same ones in the display; half of them in the order of the question."""
    pair = balanced_pairs(rng, allowed, n // 2, same=False)
    yes = np.concatenate([pair, pair], axis=1)
    no = np.concatenate([pair[:, ::-1], pair], axis=1)
    corner = place(rng, geometry, split, [np.concatenate([yes, no])], layout)
    corner[len(no) :, :2] = corner[
        len(no) :, 1::-1
    ]  # the object that the display shows first is listed first
    kinds = np.tile(yes, (2, 1, 1))
    return Drawn.of(kinds, corner)


def answer(scenes: SceneTable, axis: int) -> np.ndarray:
    """Yes: the object that the display shows on the left comes first along the axis."""
    place = scenes.corner[..., axis]
    return place[:, 0] < place[:, 1]


def order(name: str, words: str, axis: int) -> Task:
    """The task about one axis: 0 from top to bottom, 1 from left to right."""
    rule = (
        f"The pair at the top left shows the same two objects again. “Yes” if its left one is {words} its right one "
        "in the rest of the scene."
    )
    card = TaskCard(
        title=words.capitalize(),
        heading=f"Is one object {words} another?",
        scenes="Two different objects on white, and both again side by side at the top left: the *display pair*.\n"
        f"The answer is yes (`same`, 1) if the left one of the display is {words} the right one in the rest.",
        balance="Half of the answers are yes, for the same pairs of objects.",
        order="in the order one, other, and both again in the display",
        pairs=": the two objects, and the display; always `different`",
        choices=(
            "A swap of shape or color makes no scene of this task, so there are no counterfactual pairs.",
        ),
    )
    along = partial(layout, axis=axis)
    return Task(
        name=name,
        question=f"Is the display's left object {words} the right one?",
        rule=rule,
        objects=4,
        balance=2,
        fewest_kinds=2,
        layout=along,
        draw=partial(draw, layout=along),
        answer=partial(answer, axis=axis),
        answers=("no", "yes"),
        card=card,
    )


ABOVE = order("above", "above", axis=0)
LEFT_OF = order("left_of", "left of", axis=1)
