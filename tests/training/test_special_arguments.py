"""Arguments of Trainer whose effect is neither in the weights nor in the log of one run."""

import os

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image as Picture
from tiny_trainer import ARGUMENTS, SCENES, rows, tiny_checkpoint, tiny_trainer, weights
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.integrations import integration_utils
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from hf_relvit.errors import RelViTError
from hf_relvit.training.arguments import REFUSED, check_arguments
from hf_relvit.training.data import RelViTCollator, SceneDataset

SHORT = dict(save_strategy="no", eval_strategy="no", max_steps=2)
RESUMED = {
    "nothing": {},
    "a log that is open at the checkpoint": dict(logging_steps=3),
    "accumulation": dict(gradient_accumulation_steps=2, per_device_train_batch_size=8),
    "smoothing": dict(label_smoothing_factor=0.2),
    "random order": dict(train_sampling_strategy="random"),
    "the last batch dropped": dict(dataloader_drop_last=True, per_device_train_batch_size=24),
    "bf16": dict(bf16=True),
    "checkpointing": dict(activation_checkpointing=True),
    "restored callbacks": dict(restore_callback_states_from_checkpoint=True),
    "momentum": dict(optim="sgd", learning_rate=0.1, lr_scheduler_type="cosine", warmup_steps=3),
}


@pytest.mark.long
@pytest.mark.parametrize("settings", RESUMED)
def test_a_resumed_log_is_that_of_an_uninterrupted_training(tmp_path, settings):
    arguments = dict(max_steps=6, save_steps=2) | RESUMED[settings]
    whole = tiny_trainer(tmp_path, **arguments)
    whole.train()
    resumed = tiny_trainer(tmp_path / "resumed", **arguments)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert rows(resumed) == rows(whole)
    torch.testing.assert_close(weights(resumed), weights(whole), rtol=0, atol=0)


class Watched(RelViTCollator):
    """Notes which images it was given."""

    def __call__(self, rows):
        batch = super().__call__(rows)
        self.seen = [*getattr(self, "seen", []), batch["pixel_values"].sum().item()]
        return batch


def images_seen(folder, checkpoint=None, **arguments):
    model = tiny_checkpoint()
    collator = Watched(model.processor, model.geometry)
    keywords = {"data_collator": collator}
    settings = dict(eval_strategy="no") | arguments
    trainer = tiny_trainer(folder, checkpoint=model, keywords=keywords, **settings)
    trainer.train(resume_from_checkpoint=checkpoint)
    return collator.seen


def test_skipped_data_are_not_skipped_if_that_is_asked_for(tmp_path):
    whole = images_seen(tmp_path)
    checkpoint = str(tmp_path / "checkpoint-2")
    assert images_seen(tmp_path / "on", checkpoint)[-2:] == whole[2:]
    assert images_seen(tmp_path / "again", checkpoint, ignore_data_skip=True)[:2] == whole[:2]


@pytest.mark.long
@pytest.mark.timeout(240)
def test_spawned_workers_draw_the_same_scenes(tmp_path):
    """As on macOS and Windows, and from Python 3.14 on everywhere: nothing is inherited from this process."""
    alone = tiny_trainer(tmp_path, **SHORT)
    alone.train()
    workers = dict(
        dataloader_num_workers=1,
        dataloader_multiprocessing_context="spawn",
        dataloader_persistent_workers=True,
        dataloader_prefetch_factor=3,
    )
    spawned = tiny_trainer(tmp_path, **SHORT, **workers)
    loader = spawned.get_train_dataloader()
    assert loader.num_workers == 1
    assert loader.multiprocessing_context.get_start_method() == "spawn"
    assert loader.persistent_workers
    assert loader.prefetch_factor == 3
    spawned.train()
    assert rows(spawned) == rows(alone)
    torch.testing.assert_close(weights(spawned), weights(alone), rtol=0, atol=0)


def own_rows(**further):
    scenes = SCENES.sample("train", 32)
    pictures = [Picture.fromarray(picture) for picture in scenes.pixels()]
    columns = {"image": pictures, "label": scenes.label.astype(int), "patches": scenes.patches()}
    columns |= {"shape": scenes.shape, "color": scenes.color}
    return Dataset.from_dict(columns | further)


@pytest.mark.long
@pytest.mark.parametrize("data", ["scenes", "rows", "rows with a column of their own"])
def test_columns_that_the_losses_need_are_kept_by_default(tmp_path, data):
    """Trainer's default would take the images away, since the model knows them as pixel_values."""
    further = {"remark": ["mine"] * 32} if "own" in data else {}
    given = SceneDataset(SCENES, "train", 32) if data == "scenes" else own_rows(**further)
    runs = []
    for remove in (True, False):
        keywords = {"train_dataset": given}
        trainer = tiny_trainer(tmp_path, keywords=keywords, **SHORT, remove_unused_columns=remove)
        trainer.train()
        runs.append(trainer)
    assert rows(runs[0]) == rows(runs[1])
    assert rows(runs[0])[0]["disentanglement_loss"] > 1


@pytest.mark.parametrize("data", ["scenes", "rows"])
def test_a_plain_trainer_that_removes_the_images_is_told_the_cure(tmp_path, data):
    given = SceneDataset(SCENES, "train", 32) if data == "scenes" else own_rows()
    trainer = tiny_trainer(
        tmp_path,
        kind=Trainer,
        keywords={"train_dataset": given},
        **SHORT,
        remove_unused_columns=True,
    )
    with pytest.raises(RelViTError, match=r"rows without an image .*remove_unused_columns=False"):
        trainer.train()


def test_columns_of_another_collator_are_removed(tmp_path):
    """With a collator that is not ours Trainer removes what the model does not take, as ever."""
    checkpoint = tiny_checkpoint()
    batch = RelViTCollator(checkpoint.processor, checkpoint.geometry)(
        SceneDataset(SCENES, "train", 32).__getitems__(list(range(32)))
    )
    columns = {name: value.numpy() for name, value in batch.items()}
    data = Dataset.from_dict(columns | {"remark": ["mine"] * 32}).with_format("torch")
    keywords = {"train_dataset": data, "data_collator": None}
    trainer = tiny_trainer(
        tmp_path, checkpoint=checkpoint, keywords=keywords, **SHORT, remove_unused_columns=True
    )
    trainer.train()
    assert np.isfinite(rows(trainer)[0]["loss"])


def test_arguments_of_the_caller_stay_as_they_are(tmp_path):
    given = TrainingArguments(str(tmp_path), **ARGUMENTS | dict(save_total_limit=3))
    before = given.to_dict()
    tiny_trainer(tmp_path, keywords={"args": given})
    assert given.to_dict() == before


class Recorder(TrainerCallback):
    """A tracker."""

    tracked = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.tracked.append(dict(logs))


def test_a_tracker_gets_every_row_of_the_log(tmp_path, monkeypatch):
    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "recorder", Recorder)
    monkeypatch.setattr(Recorder, "tracked", [])
    trainer = tiny_trainer(tmp_path, report_to="recorder")
    trainer.train()
    logged = [{key: row[key] for key in row if key != "step"} for row in trainer.state.log_history]
    assert Recorder.tracked == logged
    assert any("disentanglement_loss" in row for row in logged)


@pytest.mark.parametrize("off", [True, False])
def test_one_bar_unless_bars_are_off(tmp_path, off):
    trainer = tiny_trainer(tmp_path, disable_tqdm=off, **SHORT)
    callbacks = trainer.callback_handler.callbacks
    assert sum(isinstance(each, ProgressCallback) for each in callbacks) == (0 if off else 1)
    assert not any(isinstance(each, PrinterCallback) for each in callbacks)
    trainer.train()


def test_debugging_watches_the_activations(tmp_path):
    plain, watched = (
        tiny_trainer(tmp_path, **SHORT, **debug) for debug in ({}, {"debug": "underflow_overflow"})
    )
    for trainer in (plain, watched):
        trainer.train()
    hooked = [module for module in watched.model.modules() if module._forward_hooks]
    assert len(hooked) > 10
    assert rows(watched) == rows(plain)


def test_full_determinism_is_switched_on(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "environ", os.environ.copy())
    try:
        trainer = tiny_trainer(tmp_path, full_determinism=True, **SHORT)
        assert torch.are_deterministic_algorithms_enabled()
        trainer.train()
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_refused_before_any_work(tmp_path, name):
    arguments = TrainingArguments(str(tmp_path), **ARGUMENTS)
    check_arguments(arguments)
    setattr(arguments, name, "asked for")
    with pytest.raises(RelViTError, match=rf"^{name}='asked for': "):
        tiny_trainer(tmp_path, keywords={"args": arguments})
    assert not list(tmp_path.iterdir())
