"""A task is one value: what a new one must say, and that nothing else in the stimuli needs to know of it."""

import dataclasses

import numpy as np
import pytest

from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.stimuli import tasks
from hf_relvit.stimuli.discrimination import DISCRIMINATION
from hf_relvit.stimuli.distribution import SceneDistribution
from hf_relvit.stimuli.preview import contact_sheet

QUICK = GEOMETRIES["quick"]


@pytest.fixture
def first_above(monkeypatch):
    """Is the first object above the second? The scenes of discrimination, asked another question."""
    task = dataclasses.replace(
        DISCRIMINATION,
        name="first_above",
        question="Is the first object above the second?",
        rule="“Above” if the first object stands higher.",
        answers=("not above", "above"),
        answer=lambda scenes: scenes.corner[:, 0, 0] < scenes.corner[:, 1, 0],
        swaps=None,
    )
    monkeypatch.setitem(tasks.TASKS, "first_above", task)
    return SceneDistribution("first_above", QUICK, 128)


def test_a_new_task_is_drawn_judged_and_shown_by_its_own_value(first_above):
    scenes = first_above.sample("test", 64)
    rows = scenes.corner[..., 0]
    np.testing.assert_array_equal(scenes.label, rows[:, 0] < rows[:, 1])
    assert 0 < scenes.label.mean() < 1
    assert scenes.pixels().shape == (64, 64, 64, 3)


def test_a_task_without_counterfactuals_says_so(first_above):
    with pytest.raises(RelViTError, match="task 'first_above' has no counterfactual pairs"):
        first_above.pairs("shape", "test", 8)


def test_an_unknown_task_is_one_line():
    with pytest.raises(
        RelViTError, match="unknown task 'counting': expected one of discrimination, rmts"
    ):
        SceneDistribution("counting", QUICK).sample("test", 4)


def test_the_numbers_of_the_tasks_never_change():
    """They key the random draws of every published set."""
    assert [tasks.task_number(name) for name in ("discrimination", "rmts")] == [0, 1]


def test_a_single_pair_is_judged_by_the_answer_and_two_by_their_sameness(first_above):
    scenes = first_above.sample("test", 64)
    np.testing.assert_array_equal(scenes.judged, scenes.label[:, None])
    assert (scenes.judged != scenes.relation).any()
    for task in ("discrimination", "rmts"):
        known = SceneDistribution(task, QUICK, 128).sample("test", 64)
        np.testing.assert_array_equal(known.judged, known.relation)


def test_pictures_of_scenes_say_the_answer_in_the_words_of_the_task(first_above, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "PIL.ImageDraw.ImageDraw.text", lambda self, place, text, *style: drawn.append(text)
    )
    scenes = first_above.sample("test", 8)
    contact_sheet(scenes)
    answers = [text for text in drawn if text in ("above", "not above")]
    assert answers == [("not above", "above")[label] for label in scenes.label]
    assert not {"same", "different"} & set(drawn)
    assert not any("in shape" in text or "in color" in text for text in drawn)
