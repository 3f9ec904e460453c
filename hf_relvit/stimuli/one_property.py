"""Same in shape, same in color: do two objects agree in one property, whatever the other one is? (Our choice.)"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.random import Generator

from ..geometry import SceneGeometry
from .draws import DIFFERENCES, differing_pairs, free_corners, place
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
    """A quarter of the pairs for each difference, so that one property tells nothing about the other."""
    quarter = n // len(DIFFERENCES)
    quarters = [
        differing_pairs(rng, allowed, quarter, difference) for difference in range(len(DIFFERENCES))
    ]
    kinds = np.concatenate(quarters)
    corner = place(rng, geometry, split, [kinds], free_corners)
    return Drawn.of(kinds, corner)


def answer(scenes: SceneTable, property: str) -> np.ndarray:
    """Same: the two objects have one shape (color)."""
    values = getattr(scenes, property)
    return values[:, 0] == values[:, 1]


def same_in(property: str, other: str) -> Task:
    """The task about one of two properties."""
    card = TaskCard(
        title=f"Same in {property}",
        heading=f"Do two objects have the same {property}?",
        scenes=f"Two objects on white; the answer is `same` if they agree in {property}. Their {other} is of no\n"
        "importance.",
        balance="A quarter of the pairs agree in both properties, in shape only, in color only and in neither.",
        order="two objects",
        pairs=" (here one): `same` if it agrees in shape and color",
        choices=(
            f"Only swaps of {property} have counterfactual pairs: others leave the answer alone.",
        ),
    )
    return Task(
        name=f"same_{property}",
        question=f"Do the two objects have the same {property}?",
        rule=f"“Same” if the {property} is equal; their {other} is of no importance.",
        objects=2,
        balance=4,
        fewest_kinds=4,
        layout=free_corners,
        draw=draw,
        answer=partial(answer, property=property),
        swaps=2,
        swapped=(property,),
        card=card,
    )


SAME_SHAPE = same_in("shape", "color")
SAME_COLOR = same_in("color", "shape")
