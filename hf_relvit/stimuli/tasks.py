"""The tasks that there are. A new one is a file beside ``discrimination.py`` and an entry at the end of this list."""

from __future__ import annotations

from ..errors import RelViTError, nearest
from .discrimination import DISCRIMINATION
from .rmts import RMTS
from .task import Task

TASKS = {task.name: task for task in (DISCRIMINATION, RMTS)}
"""By name. The order is part of the random draws: append."""


def task_of(name: str) -> Task:
    """The task of a name.

    Raises:
        RelViTError: no such task.
    """
    if name not in TASKS:
        raise RelViTError(
            f"unknown task {name!r}: expected one of {', '.join(TASKS)}{nearest(name, TASKS)}"
        )
    return TASKS[name]


def task_number(name: str) -> int:
    """The task's place in the list, which keys its random draws."""
    return list(TASKS).index(name)
