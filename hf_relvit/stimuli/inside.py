"""Containment: is the odd object inside a fence? Four equal objects are the fence: above, left, right, below.

A picture has no region of its own, so objects mark it, and the question is about the odd one of six, which needs no
other mark. One of two objects is inside, the other outside. Either could be, with a fence of the same size, so that
the places of the two, or of the fence, tell nothing alone. Our choice.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.random import Generator

from ..geometry import SceneGeometry
from .draws import balanced_pairs, draw_and_place
from .task import Drawn, Task, TaskCard

if TYPE_CHECKING:
    from .scenes import SceneTable

_POSTS = np.array([[-1, 0], [0, -1], [0, 1], [1, 0]])


def layout(
    rng: Generator,
    geometry: SceneGeometry,
    n: int,
    inner: int,
) -> np.ndarray:
    """Two objects, and four posts around the inner one of them, int64 ``(n, 6, 2)``.

    Posts stand between one and two object sizes away, as far as the picture has room for another object.
    """
    size = geometry.object_patches
    farthest = (2 * geometry.grid - 3 * size) // 5  # else no two places are apart
    reach = rng.integers(size, min(farthest, 2 * size) + 1, n)
    pair = _apart(rng, geometry, reach)
    posts = pair[:, inner, None] + reach[:, None, None] * _POSTS
    return np.concatenate([pair, posts], axis=1)


def _apart(
    rng: Generator,
    geometry: SceneGeometry,
    reach: np.ndarray,
) -> np.ndarray:
    """Two places of which each is outside a fence around the other, int64 ``(n, 2, 2)``."""
    size = geometry.object_patches
    last = geometry.grid - size
    pair = np.empty((len(reach), 2, 2), dtype=np.int64)
    pending = np.arange(len(reach))
    while len(pending):
        first = reach[pending, None, None]
        pair[pending] = rng.integers(first, last - first + 1, (len(pending), 2, 2))
        one, other = pair[pending].swapaxes(0, 1)
        steps = np.abs(one - other).sum(axis=1)
        pending = pending[steps < reach[pending] + size]
    return pair


def draw(
    rng: Generator,
    allowed: np.ndarray,
    geometry: SceneGeometry,
    split: str,
    n: int,
) -> Drawn:
    """The odd object, another one, and four posts like the other; half of the fences are around the odd one."""

    def kinds_of(count: int) -> np.ndarray:
        pair = balanced_pairs(rng, allowed, count, same=False)
        return pair[:, [0, 1, 1, 1, 1, 1]]

    halves = []
    for inner in (0, 1):
        corners = partial(layout, inner=inner)
        halves.append(draw_and_place(rng, geometry, split, kinds_of, corners, n // 2))
    return Drawn.joined(halves)


def answer(scenes: SceneTable) -> np.ndarray:
    """Yes: the first object is in the middle of the last four."""
    middle = scenes.corner[:, 2:].mean(axis=1)
    return (scenes.corner[:, 0] == middle).all(axis=1)


CARD = TaskCard(
    title="Inside",
    heading="Is the odd object inside the fence? (containment)",
    scenes="Six objects on white, five of them alike. Four of these are a *fence* around one place: above it, on its\n"
    "left and right, and below it. The answer is yes (`same`, 1) if the odd object is inside the fence; if it is\n"
    "not, the fifth of the others is.",
    balance="Half of the answers are yes. The odd object differs in both properties, in shape only or in color only,\n"
    "about equally often. Without the fence the places of the two other objects tell nothing, and nor does the place\n"
    "of the fence alone.",
    order="the odd one first, then the fifth of the others, then the fence from top to bottom",
    pairs=": the odd object and the fifth, always `different`, then the posts, always `same`",
    choices=(
        "Objects mark the region, so that all of a picture is objects on white.",
        "A swap of one object's shape or color makes no scene of this task, so there are no counterfactual pairs.",
    ),
)
INSIDE = Task(
    name="inside",
    question="Is the odd object inside the fence?",
    rule=(
        "Five of six objects are alike. Four of them are a fence: above, left of, right of and below one place. "
        "“Yes” if the odd object is inside it; else the fifth is."
    ),
    objects=6,
    balance=2,
    fewest_kinds=2,
    layout=partial(layout, inner=0),
    draw=draw,
    answer=answer,
    answers=("no", "yes"),
    card=CARD,
)
