"""Second-order same-different: two pairs, each side by side; are both same or both different?

After the task of Puebla & Bowers (2024). RMTS of the paper asks the same of a display pair at a fixed place; here both
pairs are anywhere, one above the other, so that their places tell which objects belong together (our choice).
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.random import Generator

from ..geometry import SceneGeometry
from .draws import separate_rows, top_left_corners
from .rmts import answer, draw_two_pairs
from .task import Task, TaskCard


def layout(rng: Generator, geometry: SceneGeometry, n: int) -> np.ndarray:
    """Two pairs side by side, in rows without a patch in common, the upper one first."""
    rows = separate_rows(rng, geometry, n)
    last = geometry.grid - 2 * geometry.object_patches
    columns = rng.integers(0, last + 1, (n, 2))
    starts = np.stack([rows, columns], axis=-1)
    pair = top_left_corners(geometry)
    return (starts[:, :, None] + pair).reshape(n, 4, 2)


CARD = TaskCard(
    title="Second-order same-different",
    heading="Are two pairs both same or both different? (second-order same-different)",
    scenes="Four objects on white, in two pairs. The objects of a pair stand side by side, and the pairs in\n"
    "different rows. The answer is `same` if both pairs are same or both are different.",
    balance="Each of the four combinations of the relations of both pairs has a quarter of the scenes. The two pairs\n"
    "never show the same two objects. Upper different pairs differ in both properties, in shape only or in\n"
    "color only, a third each; lower ones are drawn from all pairs, as in RMTS.",
    order="pair by pair, from the top and from the left",
    pairs=": upper, lower",
)
SOSD = Task(
    name="sosd",
    question="Are both pairs same, or both different?",
    rule="Objects side by side are a pair. The answer is “same” if both pairs are same, or both different.",
    objects=4,
    balance=4,
    fewest_kinds=3,
    layout=layout,
    draw=partial(draw_two_pairs, layout=layout),
    answer=answer,
    swaps=8,
    pair_names=("upper", "lower"),
    card=CARD,
    pair_question="Is the pair same?",
)
