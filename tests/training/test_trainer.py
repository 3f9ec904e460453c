import dataclasses
import json
import math
from functools import partial

import pytest
import torch
from one_device import one_device

from hf_relvit.errors import RelViTError
from hf_relvit.geometry import geometry
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.stimuli.distribution import SceneDistribution
from hf_relvit.training.data import RelViTCollator, SceneDataset
from hf_relvit.training.run import build_model, make_trainer, train
from hf_relvit.training.trainer import last_complete_checkpoint


def parameters(model):
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=0, msg=name)


def trainer_of(config, folder):
    model, processor = build_model(config)
    return make_trainer(config, Checkpoint(model, processor), folder, progress=False)


class Killed(Exception):
    pass


@pytest.mark.parametrize("fresh", [True, False])
def test_a_killed_run_that_resumes_equals_an_uninterrupted_one(tiny_rmts, tmp_path, fresh):
    config = dataclasses.replace(tiny_rmts, fresh=fresh, n_train=48)
    whole = trainer_of(config, tmp_path / "whole")
    whole.train()

    killed = trainer_of(config, tmp_path / "killed")
    step = killed.training_step

    def until_step_5(*args, **kwargs):
        if killed.state.global_step == 5:
            raise Killed
        return step(*args, **kwargs)

    killed.training_step = until_step_5
    with pytest.raises(Killed):
        killed.train()
    resumed = trainer_of(config, tmp_path / "killed")
    checkpoint = last_complete_checkpoint(tmp_path / "killed")
    assert checkpoint.name == "checkpoint-4"
    resumed.train(resume_from_checkpoint=str(checkpoint))
    assert_equal(parameters(whole.model), parameters(resumed.model))


@pytest.mark.parametrize("family", ["vit", "dinov2", "deit"])
def test_the_best_checkpoint_is_loaded_completely(tiny, tmp_path, family):
    """Upstream silently loads about a fifth of a ViT: huggingface/transformers issues 43701 and 48805."""
    backbone = dict(tiny.backbone, model_type=family)
    if family == "dinov2":
        del backbone["intermediate_size"]  # it has mlp_ratio instead
    trainer = trainer_of(
        dataclasses.replace(tiny, backbone=backbone, load_best_model_at_end=True), tmp_path
    )
    seen = {}
    save = trainer._save_checkpoint

    def remember(*args):
        save(*args)
        seen[trainer.state.global_step] = parameters(trainer.model)

    trainer._save_checkpoint = remember
    # Make the second of four checkpoints the best, whatever this short run learned.
    evaluate, accuracy = trainer._evaluate, iter([0.5, 0.9, 0.6, 0.5])
    trainer._evaluate = lambda *args: evaluate(*args) | {"eval_validation_accuracy": next(accuracy)}
    trainer.train()
    assert trainer.state.best_global_step == 4
    assert_equal(parameters(trainer.model), seen[4])
    assert not torch.equal(
        parameters(trainer.model)["classifier.weight"], seen[8]["classifier.weight"]
    )


def test_each_loss_term_is_logged_and_they_add_up(tiny_rmts, tmp_path):
    trainer = trainer_of(tiny_rmts, tmp_path)
    trainer.train()
    rows = [row for row in trainer.state.log_history if "pipeline_loss" in row]
    assert rows
    for row in rows:
        terms = row["task_loss"] + row["disentanglement_loss"] + row["pipeline_loss"]
        assert row["loss"] == pytest.approx(terms, rel=1e-5)


def test_every_split_that_is_named_is_evaluated(tiny_rmts, tmp_path):
    trainer = trainer_of(
        dataclasses.replace(tiny_rmts, eval_splits=["validation", "test_compositional"]), tmp_path
    )
    trainer.train()
    for split in ("validation", "test_compositional"):
        rows = [row for row in trainer.state.log_history if f"eval_{split}_accuracy" in row]
        assert [row["step"] for row in rows] == [2, 4, 6, 8]
        assert all(row[f"eval_{split}_n"] == 32 for row in rows)


def test_a_loss_that_is_not_a_number_stops_the_run(tiny, tmp_path):
    trainer = trainer_of(tiny, tmp_path)
    with torch.no_grad():
        trainer.model.classifier.weight.fill_(math.nan)
    with pytest.raises(RelViTError, match="lower the learning rate"):
        trainer.train()


def test_the_exponential_schedule_falls_by_epochs(tiny, tmp_path):
    config = dataclasses.replace(
        tiny,
        lr_scheduler_type="exponential",
        warmup_steps=0,
        fresh=False,
        n_train=32,
        learning_rate=1e-3,
    )
    trainer = trainer_of(config, tmp_path)
    trainer.train()  # 8 steps are 4 epochs of 2
    assert (
        trainer.lr_scheduler.get_last_lr() == [pytest.approx(1e-3 * 0.95**4)] * 2
    )  # with and without weight decay


def test_the_plateau_schedule_watches_validation_accuracy(tiny, tmp_path):
    trainer = trainer_of(
        dataclasses.replace(tiny, lr_scheduler_type="reduce_lr_on_plateau", warmup_steps=0),
        tmp_path,
    )
    trainer.train()
    assert (
        trainer.lr_scheduler.mode,
        trainer.lr_scheduler.patience,
        trainer.lr_scheduler.factor,
    ) == ("max", 40, 0.1)
    assert trainer.lr_scheduler.best > 0


def test_gradient_checkpointing_changes_nothing(tiny_rmts, tmp_path):
    plain, checkpointed = (
        trainer_of(dataclasses.replace(tiny_rmts, gradient_checkpointing=on), tmp_path / str(on))
        for on in (False, True)
    )
    plain.train()
    checkpointed.train()
    for name, value in parameters(plain.model).items():
        torch.testing.assert_close(
            value, checkpointed.model.state_dict()[name], rtol=1e-4, atol=1e-5
        )


@pytest.mark.long
@pytest.mark.filterwarnings(
    "ignore:The .grad attribute:UserWarning"
)  # torch's compiler looks at it
def test_compiled_blocks_learn_the_same(tiny_rmts, tmp_path, monkeypatch):
    monkeypatch.setattr(
        torch, "compile", partial(torch.compile, backend="aot_eager")
    )  # needs no C++ compiler
    for name, losses in {"both": {}, "none": dict(disentanglement=None, pipeline=None)}.items():
        config = dataclasses.replace(tiny_rmts, **losses)
        plain, compiled = (
            trainer_of(dataclasses.replace(config, compile=on), tmp_path / f"{name}-{on}")
            for on in (False, True)
        )
        plain.train()
        compiled.train()
        for key, value in parameters(plain.model).items():
            torch.testing.assert_close(
                value, compiled.model.state_dict()[key], rtol=1e-3, atol=1e-4
            )
    assert "compile" not in config.to_dict()  # runs from before the option are the same runs
    assert dataclasses.replace(config, compile=True).to_dict()["compile"]


def test_a_step_never_waits_for_the_device(tiny_rmts, monkeypatch):
    """On a stand-in for a GPU; a set that is kept there, fresh scenes, and both losses."""
    model, processor = build_model(tiny_rmts)
    model.to("meta").train()
    scenes = geometry(tiny_rmts.geometry)
    collator = RelViTCollator(processor, model.config.geometry, scenes, device="meta")
    kept, fresh = (
        SceneDataset(
            SceneDistribution("rmts", scenes, 32),
            "train",
            32,
            length=n,
            device=torch.device("meta"),
        )
        for n in (32, 320)
    )
    kept.keep(torch.device("meta"))
    with one_device(monkeypatch) as waits:
        for data in (kept, fresh):
            model(**collator(data.__getitems__(list(range(8)))), epoch=0.5).loss.backward()
    assert not waits
    assert model.classifier.weight.grad.device.type == "meta"


def test_a_torn_checkpoint_is_passed_over(tmp_path):
    for step, text in ((2, json.dumps({"global_step": 2})), (4, '{"global_st'), (6, None)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if text:
            (folder / "trainer_state.json").write_text(text)
    assert last_complete_checkpoint(tmp_path).name == "checkpoint-2"
    assert last_complete_checkpoint(tmp_path / "nothing") is None


def test_a_finished_run_is_not_repeated_and_never_mixed(tiny, tmp_path):
    config = dataclasses.replace(tiny, images=32)
    model = train(config, tmp_path, progress=False).model
    before = (model / "model.safetensors").stat().st_mtime_ns
    assert not (tmp_path / "checkpoints").exists()
    train(config, tmp_path, progress=False)
    assert (model / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(RelViTError, match=r"another learning_rate, seed"):
        train(dataclasses.replace(config, seed=1, learning_rate=1.0), tmp_path, progress=False)


def test_seeds_reproduce_to_the_bit(tiny, tmp_path):
    config = dataclasses.replace(tiny, images=64)
    one, again, other = (
        trainer_of(dataclasses.replace(config, seed=seed), tmp_path / str(i))
        for i, seed in enumerate((5, 5, 6))
    )
    for trainer in (one, again, other):
        trainer.train()
    assert_equal(parameters(one.model), parameters(again.model))
    assert not torch.equal(one.model.classifier.weight, other.model.classifier.weight)
