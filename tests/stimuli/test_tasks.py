"""A task is one value: what a new one must say, and that nothing else in the stimuli needs to know of it."""

import dataclasses

import numpy as np
import pytest

from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.stimuli import tasks
from hf_relvit.stimuli.discrimination import DISCRIMINATION
from hf_relvit.stimuli.distribution import SceneDistribution

QUICK = GEOMETRIES["quick"]


@pytest.fixture
def above(monkeypatch):
    """Is the first object above the second? The scenes of discrimination, asked another question."""
    task = dataclasses.replace(
        DISCRIMINATION,
        name="above",
        answer=lambda relation, corner: corner[:, 0, 0] < corner[:, 1, 0],
        swaps=None,
    )
    monkeypatch.setitem(tasks.TASKS, "above", task)
    return SceneDistribution("above", QUICK, 128)


def test_a_new_task_is_drawn_judged_and_shown_by_its_own_value(above):
    scenes = above.sample("test", 64)
    rows = scenes.corner[..., 0]
    np.testing.assert_array_equal(scenes.label, rows[:, 0] < rows[:, 1])
    assert 0 < scenes.label.mean() < 1
    assert scenes.pixels().shape == (64, 64, 64, 3)


def test_a_task_without_counterfactuals_says_so(above):
    with pytest.raises(RelViTError, match="task 'above' has no counterfactual pairs"):
        above.pairs("shape", "test", 8)


def test_an_unknown_task_is_one_line():
    with pytest.raises(
        RelViTError, match="unknown task 'counting': expected one of discrimination, rmts"
    ):
        SceneDistribution("counting", QUICK).sample("test", 4)


def test_the_numbers_of_the_tasks_never_change():
    """They key the random draws of every published set."""
    assert [tasks.task_number(name) for name in ("discrimination", "rmts")] == [0, 1]
