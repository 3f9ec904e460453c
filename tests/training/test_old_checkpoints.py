"""Old checkpoints are removed by the training that wrote them, and no others."""

import shutil

import pytest
from tiny_trainer import tiny_trainer
from transformers import TrainerCallback

from hf_relvit.owned import RECORD, noting, remove_noted

STEPS = dict(save_steps=1, eval_steps=1)


class Stranger(TrainerCallback):
    """Puts a file into the first checkpoint as soon as it is there."""

    def __init__(self, folder):
        self.file = folder / "checkpoint-1" / "notes.txt"

    def on_save(self, args, state, control, **kwargs):
        if state.global_step == 1:
            self.file.write_text("mine")


def of_somebody_else(folder):
    """A checkpoint of another training, older than all of ours."""
    theirs = folder / "checkpoint-100"
    theirs.mkdir()
    (theirs / "model.safetensors").write_text("theirs")
    return theirs


def present(folder):
    return sorted(path.name for path in folder.glob("checkpoint-*"))


def test_the_checkpoints_of_others_stay(tmp_path):
    theirs = of_somebody_else(tmp_path)
    stranger = Stranger(tmp_path)
    keywords = {"callbacks": [stranger]}
    tiny_trainer(tmp_path, save_total_limit=1, keywords=keywords, **STEPS).train()
    assert present(tmp_path) == ["checkpoint-1", "checkpoint-100", "checkpoint-4"]
    assert list(stranger.file.parent.iterdir()) == [stranger.file]
    assert (theirs / "model.safetensors").read_text() == "theirs"


@pytest.mark.parametrize("limit", [1, 2])
def test_a_resumed_training_goes_on_with_the_rotation(tmp_path, limit):
    tiny_trainer(tmp_path, max_steps=2, **STEPS).train()
    of_somebody_else(tmp_path)
    resumed = tiny_trainer(tmp_path, save_total_limit=limit, **STEPS)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    ours = [f"checkpoint-{step}" for step in range(5 - limit, 5)]
    assert present(tmp_path) == ["checkpoint-100", *ours]


def test_a_new_training_leaves_those_of_an_earlier_one(tmp_path):
    tiny_trainer(tmp_path, max_steps=2, **STEPS).train()
    shutil.move(tmp_path / "checkpoint-2", tmp_path / "checkpoint-50")
    tiny_trainer(tmp_path, save_total_limit=1, **STEPS | dict(save_steps=3)).train()
    assert present(tmp_path) == ["checkpoint-1", "checkpoint-4", "checkpoint-50"]


@pytest.mark.parametrize("highest", [1, 4])
@pytest.mark.parametrize("limit", [1, 2])
def test_the_best_and_the_last_are_kept(tmp_path, limit, highest):
    trainer = tiny_trainer(
        tmp_path,
        save_total_limit=limit,
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        **STEPS,
    )
    evaluate = trainer._evaluate

    def scored(*args, **kwargs):
        accuracy = float(trainer.state.global_step == highest)
        return evaluate(*args, **kwargs) | {"eval_accuracy": accuracy}

    trainer._evaluate = scored
    trainer.train()
    last = {4} if limit == 2 or highest == 4 else set()
    third = {3} if limit == 2 and highest == 4 else set()
    expected = {highest, *last, *third}
    assert present(tmp_path) == [f"checkpoint-{step}" for step in sorted(expected)]


def test_a_torn_folder_of_ours_is_removed_and_one_of_others_is_not(tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "old").write_text("theirs")
    for folder in (ours, theirs):
        with pytest.raises(OSError, match="disk full"), noting(folder):
            (folder / "half").write_text("ours")
            raise OSError("disk full")
        remove_noted(folder)
    assert not ours.exists()
    assert sorted(path.name for path in theirs.iterdir()) == ["half", "old"]


def test_what_is_written_over_is_noted(tmp_path):
    with noting(tmp_path / "ours"):
        (tmp_path / "ours" / "a").write_text("a")
    with noting(tmp_path / "ours"):
        (tmp_path / "ours" / "b").write_text("b")
    (tmp_path / "ours" / "c").write_text("theirs")
    assert (tmp_path / "ours" / RECORD).read_text().split() == ["a", "b"]
    remove_noted(tmp_path / "ours")
    assert [path.name for path in (tmp_path / "ours").iterdir()] == ["c"]
