"""Problems 5, 7, 15 and 22 of the synthetic visual reasoning test: how many of several shapes are alike?

After the descriptions of Fleuret et al. (2011), not their images; the style "contours" has shapes of their kind.
Problem 1 is discrimination. 5: two pairs of equal shapes, or four different ones. 7: three pairs, or two triplets.
15: four shapes in a square, 22: three in a row, all equal or all different.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.random import Generator

from ..geometry import SceneGeometry
from .draws import Layout, draw_and_place, free_corners
from .task import Drawn, Task, TaskCard

if TYPE_CHECKING:
    from .scenes import SceneTable


def scattered(
    rng: Generator,
    geometry: SceneGeometry,
    n: int,
    count: int,
) -> np.ndarray:
    """Objects anywhere, listed from top to bottom, so that a picture has one list."""
    corner = free_corners(rng, geometry, n, count)
    reading = corner[..., 0] * geometry.grid + corner[..., 1]
    order = np.argsort(reading, axis=1)[..., None]
    return np.take_along_axis(corner, order, axis=1)


def regular_corners(
    rng: Generator,
    geometry: SceneGeometry,
    n: int,
    rows: int,
    columns: int,
) -> np.ndarray:
    """Objects in equal steps along rows and columns, int64 ``(n, rows * columns, 2)``."""
    size = geometry.object_patches
    last = geometry.grid - size
    most = last // (max(rows, columns) - 1)
    step = rng.integers(size, most + 1, n)[:, None]
    counts = np.array([rows, columns]) - 1
    start = rng.integers(0, last - step * counts + 1)
    steps = np.stack(np.unravel_index(np.arange(rows * columns), (rows, columns)), axis=-1)
    return start[:, None] + step[..., None] * steps


def draw(
    rng: Generator,
    allowed: np.ndarray,
    geometry: SceneGeometry,
    split: str,
    n: int,
    layout: Layout,
    groups: Sequence[Sequence[int]],
) -> Drawn:
    """Half of the scenes with each list of groups of equal objects."""
    halves = []
    for sizes in groups:
        kinds_of = partial(_grouped, rng, np.argwhere(allowed), sizes)
        halves.append(draw_and_place(rng, geometry, split, kinds_of, layout, n // 2))
    return Drawn.joined(halves)


def _grouped(
    rng: Generator,
    kinds: np.ndarray,
    sizes: Sequence[int],
    n: int,
) -> np.ndarray:
    """(shape, color) of groups of equal objects in random order, int64 ``(n, k, 2)``."""
    members = np.repeat(np.arange(len(sizes)), sizes)
    places = rng.permuted(np.tile(members, (n, 1)), axis=1)
    scores = rng.random((n, len(kinds)), dtype=np.float32)
    different = np.argsort(scores, axis=1)[:, : len(sizes)]
    return kinds[np.take_along_axis(different, places, axis=1)]


def answer(scenes: SceneTable, sizes: Sequence[int]) -> np.ndarray:
    """Yes: as many pairs of objects are equal as in groups of these sizes."""
    kinds = np.stack([scenes.shape, scenes.color], axis=-1)
    equal = (kinds[:, :, None] == kinds[:, None]).all(axis=-1)
    ordered_pairs = equal.sum(axis=(1, 2))
    return ordered_pairs == sum(size**2 for size in sizes)


def problem(
    number: int,
    yes: Sequence[int],
    no: Sequence[int],
    layout: Layout,
    words: str,
) -> Task:
    """A problem whose classes are two lists of sizes of groups of equal objects."""
    objects = sum(yes)
    card = TaskCard(
        title=f"SVRT problem {number}",
        heading=f"{words} (SVRT problem {number})",
        scenes=f"{objects} objects on white, after problem {number} of the synthetic visual reasoning test.",
        balance="Half of the answers are yes (`same`, 1).",
        order="from top to bottom",
        pairs=": neighbors in this order, which tells nothing",
        choices=("Drawn from the published description alone.",),
    )
    return Task(
        name=f"svrt_{number}",
        question=words,
        rule=f"The question of problem {number} of the synthetic visual reasoning test: “{words}”",
        objects=objects,
        balance=2,
        fewest_kinds=max(len(yes), len(no)),
        layout=layout,
        draw=partial(draw, layout=layout, groups=(yes, no)),
        answer=partial(answer, sizes=yes),
        answers=("no", "yes"),
        card=card,
    )


SVRT_5 = problem(
    5, (2, 2), (1,) * 4, partial(scattered, count=4), "Are there two pairs of equal objects?"
)
SVRT_7 = problem(
    7,
    (2, 2, 2),
    (3, 3),
    partial(scattered, count=6),
    "Are there three pairs, and not two triplets?",
)
SVRT_15 = problem(
    15, (4,), (1,) * 4, partial(regular_corners, rows=2, columns=2), "Are all four objects equal?"
)
SVRT_22 = problem(
    22, (3,), (1,) * 3, partial(regular_corners, rows=1, columns=3), "Are all three objects equal?"
)
