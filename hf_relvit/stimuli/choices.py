"""Choices among k objects, asked of the one at a marked place: is it the match of a sample, or the odd one out?

A same/different head has two classes, so a choice of k is phrased as yes or no about one choice (our choice). The
others are in the picture: a model sees that there is exactly one match, or one odd object.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.random import Generator

from ..geometry import SceneGeometry
from .draws import Layout, balanced_pairs, free_corners, place, top_left_corners
from .task import Drawn, Task, TaskCard

if TYPE_CHECKING:
    from .scenes import SceneTable

_BALANCE = "Half of the answers are yes. For each there is a scene of the same objects where {} trade places: no."


def layout(
    rng: Generator,
    geometry: SceneGeometry,
    n: int,
    fixed: int,
    free: int,
) -> np.ndarray:
    """Some objects side by side at the top left, the others anywhere, int64 ``(n, fixed + free, 2)``.

    The others are listed from top to bottom, so that a picture has one list, and one split.
    """
    marked = top_left_corners(geometry, fixed)
    others = free_corners(rng, geometry, n, free)
    reading = others[..., 0] * geometry.grid + others[..., 1]
    order = np.argsort(reading, axis=1)[..., None]
    others = np.take_along_axis(others, order, axis=1)
    return np.concatenate([np.tile(marked, (n, 1, 1)), others], axis=1)


def draw_match(
    rng: Generator,
    allowed: np.ndarray,
    geometry: SceneGeometry,
    split: str,
    n: int,
    layout: Layout,
    choices: int,
) -> Drawn:
    """A sample, its match as the marked choice, and other choices; then one of those is marked."""
    pair = balanced_pairs(rng, allowed, n // 2, same=False)
    sample, other = pair[:, :1], pair[:, 1:]
    more = _others(rng, allowed, pair, choices - 2)
    yes = np.concatenate([sample, sample, other, more], axis=1)
    order = rng.permuted(np.tile(np.arange(choices - 1), (len(yes), 1)), axis=1)
    yes[:, 2:] = np.take_along_axis(yes[:, 2:], order[..., None], axis=1)
    return _half_marked(rng, geometry, split, yes, layout, marked=1)


def draw_odd(
    rng: Generator,
    allowed: np.ndarray,
    geometry: SceneGeometry,
    split: str,
    n: int,
    layout: Layout,
    objects: int,
) -> Drawn:
    """The odd object at the marked place, the others alike; then one of those is marked."""
    pair = balanced_pairs(rng, allowed, n // 2, same=False)
    odd, usual = pair[:, :1], pair[:, 1:]
    alike = np.repeat(usual, objects - 1, axis=1)
    yes = np.concatenate([odd, alike], axis=1)
    return _half_marked(rng, geometry, split, yes, layout, marked=0)


def _others(
    rng: Generator,
    allowed: np.ndarray,
    taken: np.ndarray,
    count: int,
) -> np.ndarray:
    """Further objects of each scene, all different from each other and from those taken, int64 ``(n, count, 2)``."""
    kinds = np.argwhere(allowed)
    n = len(taken)
    drawn = np.empty((n, count, 2), dtype=np.int64)
    pending = np.arange(n)
    while len(pending):
        picks = rng.integers(0, len(kinds), (len(pending), count))
        drawn[pending] = kinds[picks]
        scene = np.concatenate([taken[pending], drawn[pending]], axis=1)
        alike = (scene[:, :, None] == scene[:, None]).all(axis=-1)
        pairs = alike.sum(axis=(1, 2))
        pending = pending[pairs > scene.shape[1]]
    return drawn


def _half_marked(
    rng: Generator,
    geometry: SceneGeometry,
    split: str,
    yes: np.ndarray,
    layout: Layout,
    marked: int,
) -> Drawn:
    """Scenes of the answer yes, and as many of no: the marked object trades places with one of those behind it."""
    half, objects, _ = yes.shape
    rows = np.arange(half)
    other = rng.integers(marked + 1, objects, half)
    no = yes.copy()
    no[rows, marked] = yes[rows, other]
    no[rows, other] = yes[:, marked]
    kinds = np.concatenate([yes, no])
    corner = place(rng, geometry, split, [kinds], layout)
    return Drawn.of(kinds, corner)


def is_match(scenes: SceneTable) -> np.ndarray:
    """Yes: the marked choice is the sample again."""
    return scenes.relation[:, 0] == 1


def is_odd(scenes: SceneTable) -> np.ndarray:
    """Yes: the marked object differs from two others, as there is one odd object alone."""
    kinds = np.stack([scenes.shape, scenes.color], axis=-1)
    differs = (kinds[:, :1] != kinds[:, 1:3]).any(axis=-1)
    return differs.all(axis=1)


def match_to_sample(choices: int = 3) -> Task:
    """The task with an odd number of choices; the sample makes the number of objects even."""
    card = TaskCard(
        title="Match to sample",
        heading=f"Which of {choices} choices is the sample again? (match to sample)",
        scenes=f"A sample at the top left, and {choices} choices, one of them next to it: the *marked* one.\n"
        "Exactly one choice is the sample again. The answer is yes (`same`, 1) if the marked one is.",
        balance=_BALANCE.format("the marked choice and another"),
        order="in the order sample, marked choice, further choices from top to bottom",
        pairs=": sample and marked choice, then further choices",
        choices=("A choice among many is asked as a question of yes or no about the marked one.",),
    )
    corners = partial(layout, fixed=2, free=choices - 1)
    return Task(
        name="match_to_sample",
        question="Is the choice next to the sample its match?",
        rule=(
            "The sample stands top left, the marked choice to its right. "
            f"“Yes” if that one of {choices} choices is the sample again."
        ),
        objects=choices + 1,
        balance=2,
        fewest_kinds=choices,
        layout=corners,
        draw=partial(draw_match, layout=corners, choices=choices),
        answer=is_match,
        answers=("no", "yes"),
        card=card,
    )


def odd_one_out(objects: int = 4) -> Task:
    """The task with an even number of objects."""
    card = TaskCard(
        title="Odd one out",
        heading=f"Which of {objects} objects is the odd one?",
        scenes=f"{objects} objects on white, all alike but one. The answer is yes (`same`, 1) if the odd one is the\n"
        "*marked* one, which stands at the top left.",
        balance=_BALANCE.format("the marked object and another"),
        order="the marked one first, the others from top to bottom",
        pairs=": neighbors in this order",
        choices=("A choice among many is asked as a question of yes or no about the marked one.",),
    )
    corners = partial(layout, fixed=1, free=objects - 1)
    return Task(
        name="odd_one_out",
        question="Is the object at the top left the odd one?",
        rule=f"All but one of the {objects} objects are alike. “Yes” if the odd one stands at the top left.",
        objects=objects,
        balance=2,
        fewest_kinds=2,
        layout=corners,
        draw=partial(draw_odd, layout=corners, objects=objects),
        answer=is_odd,
        answers=("no", "yes"),
        card=card,
    )


MATCH_TO_SAMPLE = match_to_sample()
ODD_ONE_OUT = odd_one_out()
