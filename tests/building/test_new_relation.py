"""A new relation becomes a dataset by its ``Task`` alone: no builder, no card and no list of its own."""

import dataclasses

import numpy as np
import pytest
from datasets import load_dataset

from hf_relvit import BuildConfig, build
from hf_relvit.building.card import render_card
from hf_relvit.building.dataset_folder import open_folder
from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.hub.datasets import push_dataset
from hf_relvit.stimuli import tasks
from hf_relvit.stimuli.discrimination import DISCRIMINATION
from hf_relvit.stimuli.scenes import sample
from hf_relvit.stimuli.task import TaskCard


@pytest.fixture
def above(monkeypatch):
    """Is the first object above the second? With nothing said for its card."""
    task = dataclasses.replace(
        DISCRIMINATION,
        name="first_above",
        question="Does the first stand higher?",
        answer=lambda scenes: scenes.corner[:, 0, 0] < scenes.corner[:, 1, 0],
        swaps=None,
        card=TaskCard(),
    )
    monkeypatch.setitem(tasks.TASKS, "first_above", task)
    return task


def test_its_scenes_are_built_opened_and_pushed(above, tmp_path, monkeypatch):
    out = tmp_path / "first_above"
    build(BuildConfig("first_above", "quick-32", n_train=16, n_eval=8), out, say=print)
    table = sample("first_above", GEOMETRIES["quick"], "test", 8, combinations=32)
    rows = open_folder(out, "quick-32")["test"]
    assert rows["label"][:] == table.label.tolist()
    np.testing.assert_array_equal(np.stack([np.asarray(i) for i in rows["image"]]), table.pixels())
    data = load_dataset(str(out), "quick-32", split="test", cache_dir=str(tmp_path / "cache"))
    assert data["label"][:] == table.label.tolist()
    said = []
    push_dataset("first_above", out, "someone/first_above", dry_run=True, say=said.append)
    assert any("MB  quick-32/ (" in line for line in said)


def test_its_card_names_it_and_says_what_the_task_says(above, tmp_path, monkeypatch):
    build(BuildConfig("first_above", "quick-32", n_train=8, n_eval=8), tmp_path, say=print)
    card = (tmp_path / "README.md").read_text()
    assert "pretty_name: first_above\n" in card
    assert "# Does the first stand higher?\n" in card
    assert "relvit data build first_above --config quick-32" in card
    told = TaskCard(title="Above", heading="Is it above?", choices=("It is ours.",))
    monkeypatch.setitem(tasks.TASKS, "first_above", dataclasses.replace(above, card=told))
    card = render_card(tmp_path)
    assert (
        "pretty_name: Above\n" in card and "# Is it above?\n" in card and "- It is ours.\n" in card
    )


def test_an_unknown_task_is_one_line(tmp_path):
    with pytest.raises(
        RelViTError, match="unknown task 'first_above': expected one of discrimination,"
    ):
        build(BuildConfig("first_above", "quick-32"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
