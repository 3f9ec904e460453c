"""Numerosity: are there equally many objects on the left and on the right, whatever stands between them?

Every picture has six objects. With two groups the number of one would tell that of the other, so a third group in the
middle takes the rest (our choice): no single group tells more than three answers in four, the total tells nothing.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.random import Generator

from ..geometry import SceneGeometry
from .draws import draw_and_place
from .task import Drawn, Task, TaskCard

if TYPE_CHECKING:
    from .scenes import SceneTable

_OBJECTS = 6
_COUNTS = ((2, 2), (1, 3), (1, 1), (3, 1), (2, 2), (1, 3), (3, 3), (3, 1))
"""Objects on the left and on the right, equally often; scenes are dealt over them in this order."""


def layout(
    rng: Generator,
    geometry: SceneGeometry,
    n: int,
    left: int,
    right: int,
) -> np.ndarray:
    """Objects one below the other in three bands, int64 ``(n, 6, 2)``.

    In the list the topmost objects of the left and of the right band come first, then the others of the left, right
    and middle one from top to bottom.
    """
    at_left = _group(rng, geometry, n, left, 0)
    in_middle = _group(rng, geometry, n, _OBJECTS - left - right, 1)
    at_right = _group(rng, geometry, n, right, 2)
    listed = [
        at_left[:, :1],
        at_right[:, :1],
        at_left[:, 1:],
        at_right[:, 1:],
        in_middle,
    ]
    return np.concatenate(listed, axis=1)


def _group(
    rng: Generator,
    geometry: SceneGeometry,
    n: int,
    count: int,
    band: int,
) -> np.ndarray:
    """Objects of a band from top to bottom, which share no row, int64 ``(n, count, 2)``."""
    size = geometry.object_patches
    levels = geometry.grid - count * (size - 1)  # without the rows that those above take
    scores = rng.random((n, levels))
    chosen = np.argsort(scores, axis=1)[:, :count]
    rows = np.sort(chosen, axis=1) + (size - 1) * np.arange(count)
    width = _band_width(geometry)
    start = band * (geometry.grid - width) // 2
    columns = rng.integers(start, start + width - size + 1, (n, count))
    return np.stack([rows, columns], axis=-1)


def _band_width(geometry: SceneGeometry) -> int:
    """Patches: a third of the picture without two gaps as wide as an object, and at least an object's width."""
    size = geometry.object_patches
    return max(size, (geometry.grid - 2 * size) // 3)


def draw(
    rng: Generator,
    allowed: np.ndarray,
    geometry: SceneGeometry,
    split: str,
    n: int,
) -> Drawn:
    """Any objects, in the numbers of ``_COUNTS``."""
    kinds = np.argwhere(allowed)

    def kinds_of(count: int) -> np.ndarray:
        picks = rng.integers(0, len(kinds), (count, _OBJECTS))
        return kinds[picks]

    parts = []
    for number, (left, right) in enumerate(_COUNTS):
        scenes = len(range(number, n, len(_COUNTS)))
        corners = partial(layout, left=left, right=right)
        parts.append(draw_and_place(rng, geometry, split, kinds_of, corners, scenes))
    return Drawn.joined(parts)


def answer(scenes: SceneTable) -> np.ndarray:
    """Yes: as many objects begin in the left band as in the right one."""
    width = _band_width(scenes.geometry)
    column = scenes.corner[..., 1]
    left = (column < width).sum(axis=1)
    right = (column >= scenes.geometry.grid - width).sum(axis=1)
    return left == right


CARD = TaskCard(
    title="Same number",
    heading="Are there equally many objects on the left and on the right? (numerosity)",
    scenes="Six objects on white in three groups: left, middle and right. The answer is yes (`same`, 1) if there are\n"
    "equally many on the left and on the right; those in the middle are not counted.",
    balance="Half of the answers are yes: two, one or three on each side, in a half, a quarter and a quarter of\n"
    "them. The others are one and three, and three and one, equally often. The total is always six, and the number\n"
    "of one group alone, the middle one too, is right for three quarters of the scenes at most.",
    order="the topmost ones of the left and of the right group first, then the others of the left, right and middle\n"
    "group from top to bottom",
    pairs=": neighbors in this order, which tells nothing",
    choices=(
        "The middle group is there so that one side does not tell the number on the other.",
        "A swap of shape or color leaves the answer alone, so there are no counterfactual pairs.",
    ),
)
SAME_NUMBER = Task(
    name="same_number",
    question="Are there equally many objects on the left and on the right?",
    rule=(
        "Six objects stand in three groups side by side. “Yes” if the left and the right group have equally many; "
        "the middle one is not counted."
    ),
    objects=_OBJECTS,
    balance=4,
    fewest_kinds=2,
    layout=partial(layout, left=2, right=2),
    draw=draw,
    answer=answer,
    answers=("no", "yes"),
    card=CARD,
)
