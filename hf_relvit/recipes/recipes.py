"""The recipes that there are. A new one is a file beside ``steering.py`` and an entry in this list."""

from __future__ import annotations

from ..geometry import geometry as preset
from ..stimuli.counterfactuals import PROPERTIES
from ..stimuli.tasks import task_of
from .alignment import ALIGNMENT, RANDOM_ALIGNMENT
from .knockout import KNOCKOUT
from .novel import NOVEL
from .probes import PROBES
from .recipe import Recipe, Section
from .steering import STEERING

_ALL = (
    ALIGNMENT,
    RANDOM_ALIGNMENT,
    NOVEL,
    PROBES,
    STEERING,
    KNOCKOUT,
)
RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _ALL}
"""By name, each behind those whose results it opens."""
USUAL = [recipe.name for recipe in _ALL if recipe.usual]
"""Analyses of a study whose grid names none."""

SECTIONS: dict[str, Section] = {
    recipe.section.name: recipe.section for recipe in RECIPES.values() if recipe.section
}
"""Sections of reports, by the name of the table, in their order."""


def has_all_pairs(task: str) -> bool:
    """Whether a task has counterfactual pairs of every property, as studies need."""
    asked = task_of(task)
    return asked.swaps is not None and set(asked.swapped) == set(PROPERTIES)


def fits(recipe: Recipe, task: str, geometry: str = "b16") -> bool:
    """Whether a recipe can be made of a task: the scenes and the results that it needs exist.

    Args:
        recipe: of ``RECIPES``.
        task: of ``stimuli.tasks``.
        geometry: of the scenes; one on the grid by default.
    """
    on_grid = stands_on_grid(task, geometry)
    if recipe.needs_grid and not on_grid:
        return False
    if recipe.needs_pairs and not (on_grid and has_all_pairs(task)):
        return False
    return all(fits(RECIPES[name], task, geometry) for name in recipe.needs)


def stands_on_grid(task: str, geometry: str) -> bool:
    """Whether all objects of a task's scenes have equally many tokens."""
    return task_of(task).placed(preset(geometry)).on_grid
