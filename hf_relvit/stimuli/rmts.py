"""Relational match-to-sample: do the sample pair and the display pair show the same relation? (Paper, section 3.1.)"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.random import Generator

from ..geometry import SceneGeometry
from .draws import (
    Layout,
    balanced_pairs,
    free_corners,
    identical_pairs,
    place,
    top_left_corners,
    uniform_pairs,
)
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
    """A quarter for each combination of sample and display relation; the display pair stands top left."""
    return draw_two_pairs(rng, allowed, geometry, split, n, layout)


def draw_two_pairs(
    rng: Generator,
    allowed: np.ndarray,
    geometry: SceneGeometry,
    split: str,
    n: int,
    layout: Layout,
) -> Drawn:
    """A quarter for each combination of the relations of two pairs."""
    quarters = [
        _sample_and_display(rng, allowed, n // 4, *relations)
        for relations in product((False, True), repeat=2)
    ]
    kinds = np.concatenate(quarters)
    swap = rng.random(n) < 0.5
    kinds[swap, :2] = kinds[swap, 1::-1]
    corner = place(rng, geometry, split, [kinds], layout)
    return Drawn.of(kinds, corner)


def layout(rng: Generator, geometry: SceneGeometry, n: int) -> np.ndarray:
    """The sample pair anywhere, the display pair side by side, top left."""
    sample = free_corners(rng, geometry, n)
    display = top_left_corners(geometry)
    return np.concatenate([sample, np.tile(display, (n, 1, 1))], axis=1)


def _sample_and_display(
    rng: Generator,
    allowed: np.ndarray,
    n: int,
    sample_same: bool,
    display_same: bool,
) -> np.ndarray:
    """(shape, color) of ``n`` scenes, int64 ``(n, 4, 2)``; the display never repeats the sample pair."""
    sample = balanced_pairs(rng, allowed, n, sample_same)
    display = uniform_pairs(rng, allowed, n, display_same)
    while (again := identical_pairs(sample, display)).any():
        count = int(again.sum())
        display[again] = uniform_pairs(rng, allowed, count, display_same)
    return np.concatenate([sample, display], axis=1)


def answer(scenes: SceneTable) -> np.ndarray:
    """Same: the relations of both pairs are."""
    return scenes.relation[:, 0] == scenes.relation[:, 1]


CARD = TaskCard(
    title="Relational match to sample",
    heading="Do two pairs show the same relation? (relational match to sample)",
    scenes="Four objects on white. The *display pair* stands top left, side by side; the *sample pair* stands\n"
    "anywhere else. The answer is `same` if both pairs are same or both are different.",
    balance="Each of the four combinations of sample and display relation has a quarter of the scenes. Different\n"
    "sample pairs differ in both properties, in shape only or in color only, a third each; display pairs are drawn\n"
    "from all pairs, so most different ones differ in both. The two pairs never show the same two objects.",
    order="in the order sample 1, sample 2, display 1, display 2",
    pairs=": sample, display",
    choices=(
        "That the kinds of different sample pairs are thirds, and those of display pairs are not, is our choice.",
    ),
)
RMTS = Task(
    name="rmts",
    question="Do the two pairs show the same relation?",
    rule=(
        "The pair at the top left is the display pair; the other two objects are the sample pair. "
        "The answer is “same” if both pairs are same, or both different."
    ),
    objects=4,
    balance=4,
    fewest_kinds=3,
    layout=layout,
    draw=draw,
    answer=answer,
    swaps=8,
    source_moves=False,
    pair_names=("sample", "display"),
    card=CARD,
    pair_question="Is the pair same?",
)
