"""Problems 19, 20 and 21 of the synthetic visual reasoning test: are two objects the same but for their pose?

After the descriptions of Fleuret et al. (2011), not their images. 19: the same up to scale. 20: one is the other in a
mirror. 21: the same up to a turn and scale. No: two different shapes, in poses of the same kind. Ours: the mirror is
upright; both objects have one color, as SVRT has none; and shapes that are alike in such poses never count as
different (``alike_shapes``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.random import Generator

from ..geometry import SceneGeometry
from .alike_shapes import apart_in_poses
from .discrimination import answer as same_pair
from .draws import SHAPE, differing_pairs, draw_and_place, free_corners
from .poses import MIRRORED, SIDE, TURN, different_sides, different_turns, upright
from .task import Drawn, Task, TaskCard

Poses = Callable[[Generator, SceneGeometry, int], np.ndarray]


def scaled(rng: Generator, geometry: SceneGeometry, n: int) -> np.ndarray:
    """Two different sides."""
    pose = upright(geometry, n, objects=2)
    pose[..., SIDE] = different_sides(rng, geometry, n)
    return pose


def mirrored(rng: Generator, geometry: SceneGeometry, n: int) -> np.ndarray:
    """The first or the second object in a mirror."""
    pose = upright(geometry, n, objects=2)
    pose[np.arange(n), rng.integers(0, 2, n), MIRRORED] = 1
    return pose


def scaled_and_turned(rng: Generator, geometry: SceneGeometry, n: int) -> np.ndarray:
    """Two different sides and turns."""
    pose = scaled(rng, geometry, n)
    pose[..., TURN] = different_turns(rng, n)
    return pose


def draw(
    rng: Generator,
    allowed: np.ndarray,
    geometry: SceneGeometry,
    split: str,
    n: int,
    *,
    poses: Poses,
    apart: np.ndarray,
) -> Drawn:
    """Two shapes of one color, and for each such scene a twin with one of them twice, at the same places and poses."""
    half = n // 2
    kinds_of = partial(_two_shapes, rng, allowed, apart)
    pair, corner = draw_and_place(rng, geometry, split, kinds_of, free_corners, half, _doubled)
    pose = poses(rng, geometry, half)
    both = np.concatenate([pose, pose])
    return Drawn.twinned(pair, _doubled(pair), corner, both)


def _two_shapes(
    rng: Generator,
    allowed: np.ndarray,
    apart: np.ndarray,
    n: int,
) -> np.ndarray:
    """Pairs of two shapes in any order, so that both answers show the same shapes, int64 ``(n, 2, 2)``."""
    pair = differing_pairs(rng, allowed, n, SHAPE, apart)
    swap = rng.random(n) < 0.5
    pair[swap] = pair[swap, ::-1]
    return pair


def _doubled(pair: np.ndarray) -> np.ndarray:
    """The first object twice."""
    return np.repeat(pair[:, :1], 2, axis=1)


def problem(
    number: int,
    poses: Poses,
    turned: bool,
    words: str,
    rule: str,
) -> Task:
    """A problem about two objects that differ in their pose in any case."""
    card = TaskCard(
        title=f"SVRT problem {number}",
        heading=f"{words} (SVRT problem {number})",
        scenes="Two objects of one color on white, at any pixel, after problem "
        f"{number} of the synthetic visual reasoning test.\n{rule}",
        balance="Half of the answers are yes (`same`, 1). Every scene has a twin with the other answer: the same\n"
        "places and poses, one of its shapes doubled.",
        order="two objects",
        pairs=" (here one): the answer",
        twins="`index` of the twin scene, in the same split",
        choices=(
            "Drawn from the published description alone.",
            "Shapes that are alike in such poses, such as our hourglass and bow tie when turned, never count as "
            "different.",
        ),
    )
    return Task(
        name=f"svrt_{number}",
        question=words,
        rule=rule,
        objects=2,
        balance=2,
        fewest_kinds=2,
        layout=free_corners,
        draw=partial(draw, poses=poses),
        answer=same_pair,
        answers=("no", "yes"),
        posed=True,
        apart=partial(apart_in_poses, turned=turned),
        card=card,
    )


SVRT_19 = problem(
    19,
    scaled,
    False,
    "Are both objects the same up to scale?",
    "“Yes” if both have the same shape, though one is larger.",
)
SVRT_20 = problem(
    20,
    mirrored,
    False,
    "Is one object the other one in a mirror?",
    "“Yes” if one is the other with left and right swapped.",
)
SVRT_21 = problem(
    21,
    scaled_and_turned,
    True,
    "Are both objects the same up to a turn and scale?",
    "“Yes” if both have the same shape, though one is larger and turned.",
)
