"""The tasks that there are. A new one is a file beside ``discrimination.py`` and an entry at the end of this list."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import RelViTError, nearest
from ..words import TARGET_NAMES
from .choices import MATCH_TO_SAMPLE, ODD_ONE_OUT
from .discrimination import DISCRIMINATION
from .inside import INSIDE
from .larger import LARGER
from .mirrored import MIRRORED
from .one_property import SAME_COLOR, SAME_SHAPE
from .order import ABOVE, LEFT_OF
from .rmts import RMTS
from .same_number import SAME_NUMBER
from .sosd import SOSD
from .svrt import SVRT_5, SVRT_7, SVRT_15, SVRT_22
from .svrt_poses import SVRT_19, SVRT_20, SVRT_21
from .task import Task

_ALL = (
    DISCRIMINATION,
    RMTS,
    SAME_SHAPE,
    SAME_COLOR,
    SOSD,
    ABOVE,
    LEFT_OF,
    MATCH_TO_SAMPLE,
    ODD_ONE_OUT,
    SVRT_5,
    SVRT_7,
    SVRT_15,
    SVRT_22,
    MIRRORED,
    SAME_NUMBER,
    INSIDE,
    LARGER,
    SVRT_19,
    SVRT_20,
    SVRT_21,
)
TASKS = {task.name: task for task in _ALL}
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


def target_name(target: str, tasks: Iterable[str] = ()) -> str:
    """What a probe of a target asks, such as "which color?".

    Args:
        target: of the probe; of "judgement" it is the task's question about a pair.
        tasks: names of the tasks that the probe is of; with none or several the words fit any relation.
    """
    asked = {task_of(task).pair_question or task_of(task).question for task in tasks}
    if target != "judgement" or len(asked) != 1:
        return TARGET_NAMES[target]
    question = asked.pop()
    return question[0].lower() + question[1:]
