"""Symmetry of a pair: do two objects stand as mirror images about the vertical middle line of the picture?

The question is about places: one row, and equal distances from the line. Places are defined for any objects, while
mirrored shapes are not: many of ours are their own mirror image, and a style need not hold both. Our choice.
"""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.random import Generator

from ..geometry import SceneGeometry
from .draws import balanced_pairs, draw_and_place, no_place
from .task import Drawn, Task, TaskCard

if TYPE_CHECKING:
    from .scenes import SceneTable


def layout(
    rng: Generator,
    geometry: SceneGeometry,
    n: int,
    mirrored: bool,
) -> np.ndarray:
    """One object in each half, the left one first, int64 ``(n, 2, 2)``.

    A pair that is no mirror image stands in two rows at equal distances from the line, or in one row at two
    distances, with equal chances. The row and the distance of each object have the same distribution in all pairs.
    """
    size = geometry.object_patches
    last = geometry.grid - size
    rows = last + 1
    insets = (last - size) // 2 + 1  # columns from the side of the picture to the middle line
    row = rng.integers(0, rows, n)
    inset = rng.integers(0, insets, n)
    other_row = row
    other_inset = inset
    if not mirrored:
        in_two_rows = rng.random(n) < 0.5
        other_row = np.where(in_two_rows, _elsewhere(rng, geometry, row, rows), row)
        other_inset = np.where(in_two_rows, inset, _elsewhere(rng, geometry, inset, insets))
    left = np.column_stack([row, inset])
    right = np.column_stack([other_row, last - other_inset])
    return np.stack([left, right], axis=1)


def _elsewhere(
    rng: Generator,
    geometry: SceneGeometry,
    place: np.ndarray,
    places: int,
) -> np.ndarray:
    """Other rows or columns among so many, ``(n,)``, so far away that the jitter of two sprites cannot hide it."""
    step = 2 * geometry.max_jitter // geometry.patch_size + 1
    if places < 2 * step:
        raise no_place(len(place), geometry)
    steps = rng.integers(step, places - step + 1, len(place))
    return (place + steps) % places


def draw(
    rng: Generator,
    allowed: np.ndarray,
    geometry: SceneGeometry,
    split: str,
    n: int,
) -> Drawn:
    """A quarter each: mirror images or not, of two equal or two different objects."""
    parts = []
    for mirrored, same in product((False, True), repeat=2):
        kinds_of = partial(balanced_pairs, rng, allowed, same=same)
        corners = partial(layout, mirrored=mirrored)
        parts.append(draw_and_place(rng, geometry, split, kinds_of, corners, n // 4))
    return Drawn.joined(parts)


def answer(scenes: SceneTable) -> np.ndarray:
    """Yes: the patches of the two objects are mirror images."""
    row, column = np.moveaxis(scenes.corner, -1, 0)
    last = scenes.geometry.grid - scenes.geometry.object_patches
    one_row = row[:, 0] == row[:, 1]
    equally_far = column[:, 0] == last - column[:, 1]
    return one_row & equally_far


CARD = TaskCard(
    title="Mirrored places",
    heading="Do two objects stand as mirror images? (symmetry)",
    scenes="Two objects on white, one in each half. The answer is yes (`same`, 1) if they stand in one row of\n"
    "patches at equal distances from the vertical middle line of the picture.",
    balance="Half of the answers are yes. Of the others about half stand in two rows at equal distances, and half in\n"
    "one row at two distances, so that either alone is right for three quarters of the scenes. The two objects are\n"
    "equal in half of the scenes of each answer. Where each object stands alone tells nothing.",
    order="the left one first",
    pairs=" (here one): `same` if it agrees in shape and color, which tells nothing",
    choices=(
        "Places are mirrored, and no shapes, as the question must be defined for any objects.",
        "Rows and distances that differ do so by more than jitter can hide.",
        "A swap of shape or color leaves the answer alone, so there are no counterfactual pairs.",
    ),
)
MIRRORED = Task(
    name="mirrored",
    question="Do the two objects stand as mirror images?",
    rule=(
        "“Yes” if they stand in one row, equally far from the vertical middle line of the picture. "
        "Shapes and colors are of no importance."
    ),
    objects=2,
    balance=4,
    fewest_kinds=2,
    layout=partial(layout, mirrored=True),
    draw=draw,
    answer=answer,
    answers=("no", "yes"),
    card=CARD,
)
