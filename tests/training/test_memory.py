"""Too little memory: the same training in smaller pieces."""

import dataclasses
import json
import logging

import pytest
import torch

from hf_relvit.errors import RelViTError
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.training import run
from hf_relvit.training.run import build_model, make_trainer, train
from hf_relvit.training.trainer import last_complete_checkpoint

GPU = torch.OutOfMemoryError(
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8.00 GiB"
)
CPU = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "8589934592 bytes. Error code 12 (Cannot allocate memory)"
)


def scarce(model, most, error=GPU, *, training=True, backward=False):
    """Let a model run out of memory with more than ``most`` images at once."""

    def fail(*_):
        raise error

    def before(module, args, kwargs):
        if module.training == training and len(kwargs["pixel_values"]) > most and not backward:
            fail()

    def after(module, args, kwargs, output):
        if module.training == training and len(kwargs["pixel_values"]) > most and backward:
            output.loss.register_hook(fail)

    model.register_forward_pre_hook(before, with_kwargs=True)
    model.register_forward_hook(after, with_kwargs=True)
    return model


def trainer_of(config, folder, **limits):
    model, processor = build_model(config)
    trainer = make_trainer(config, Checkpoint(model, processor), folder, progress=False)
    if limits:
        scarce(trainer.model, **limits)
    return trainer


def assert_same_training(config, one, other):
    models = [build_model(config).model, one.model, other.model]
    start, *ends = [
        torch.cat([p.detach().flatten() for p in model.parameters()]) for model in models
    ]
    assert (ends[1] - ends[0]).norm() <= 0.01 * (
        ends[0] - start
    ).norm()  # sums in another order, through Adam
    for single, pieces in zip(one.state.log_history, other.state.log_history):
        assert single["step"] == pieces["step"]
        for key in (
            "loss",
            "task_loss",
            "disentanglement_loss",
            "pipeline_loss",
            "eval_validation_accuracy",
        ):
            if key in single:
                assert pieces[key] == pytest.approx(single[key], rel=2e-3), key


@pytest.mark.long
@pytest.mark.parametrize(
    ("batch_size", "limits", "micro_batch"),
    [
        (16, dict(most=3, backward=True), 2),
        (16, dict(most=15, error=CPU), 8),
        (14, dict(most=5), 4),  # 4 + 4 + 4 + 2
    ],
)
def test_pieces_train_as_the_whole_batch_does(
    tiny_rmts, tmp_path, caplog, batch_size, limits, micro_batch
):
    config = dataclasses.replace(tiny_rmts, batch_size=batch_size)
    whole, pieces = (
        trainer_of(config, tmp_path / "whole"),
        trainer_of(config, tmp_path / "pieces", **limits),
    )
    whole.train()
    with caplog.at_level(logging.WARNING, "hf_relvit"):
        pieces.train()
    assert (whole.micro_batch, pieces.micro_batch) == (None, micro_batch)
    assert_same_training(config, whole, pieces)
    said = [record.getMessage() for record in caplog.records if record.name.startswith("hf_relvit")]
    assert said[-1].endswith(
        f"images at once (training on cpu): going on with {micro_batch}; the batch of a step stays the same, "
        "in several pieces"
    )


def test_memory_that_another_program_takes_in_the_middle(tiny_rmts, tmp_path):
    whole, pieces = (
        trainer_of(tiny_rmts, tmp_path / "whole"),
        trainer_of(tiny_rmts, tmp_path / "pieces"),
    )
    whole.train()
    begin = pieces.callback_handler.on_step_begin

    def on_step_begin(*args):
        if pieces.state.global_step == 5:
            scarce(pieces.model, 8)
        return begin(*args)

    pieces.callback_handler.on_step_begin = on_step_begin
    pieces.train()
    assert pieces.micro_batch == 8
    assert_same_training(tiny_rmts, whole, pieces)


def test_a_killed_run_in_pieces_resumes(tiny_rmts, tmp_path):
    whole = trainer_of(tiny_rmts, tmp_path / "whole", most=8)
    whole.train()
    killed = trainer_of(tiny_rmts, tmp_path / "killed", most=8)
    step = killed.training_step

    def until_step_5(*args, **kwargs):
        if killed.state.global_step == 5:
            raise KeyboardInterrupt
        return step(*args, **kwargs)

    killed.training_step = until_step_5
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    resumed = trainer_of(tiny_rmts, tmp_path / "killed", most=8)
    resumed.train(resume_from_checkpoint=str(last_complete_checkpoint(tmp_path / "killed")))
    for one, other in zip(whole.model.parameters(), resumed.model.parameters()):
        assert torch.equal(one, other)


def test_an_evaluation_that_does_not_fit(tiny, tmp_path):
    whole, pieces = (
        trainer_of(tiny, tmp_path / "whole"),
        trainer_of(tiny, tmp_path / "pieces", most=8, training=False),
    )
    for trainer in (whole, pieces):
        trainer.train()
    assert pieces.args.per_device_eval_batch_size == 8
    assert pieces.micro_batch is None
    assert_same_training(tiny, whole, pieces)
    assert len(whole.state.log_history) == len(pieces.state.log_history)


@pytest.mark.long
@pytest.mark.parametrize(("training", "what"), [(True, "training"), (False, "evaluation")])
def test_one_image_that_does_not_fit_is_one_line(tiny, tmp_path, training, what):
    trainer = trainer_of(tiny, tmp_path, most=0, training=training)
    with pytest.raises(
        RelViTError, match=rf"one image does not fit in memory \({what} on cpu\): set gradient_ch"
    ):
        trainer.train()


def test_memory_that_smaller_pieces_do_not_save(tiny, tmp_path, monkeypatch):
    def step(*args, **kwargs):
        raise GPU

    trainer = trainer_of(tiny, tmp_path)
    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(RelViTError, match="out of memory at step 0: run the same command again"):
        trainer.train()


def test_a_lost_device_is_one_line(tiny, tmp_path):
    lost = torch.distributed.DistBackendError("NCCL error: remote process exited\nLast error: ...")
    trainer = trainer_of(tiny, tmp_path, most=1, error=lost)
    with pytest.raises(
        RelViTError,
        match=r"lost the .* at step 0 \(NCCL error: remote process exited\): run the same",
    ):
        trainer.train()


def test_other_errors_are_what_they_are(tiny, tmp_path):
    trainer = trainer_of(
        tiny, tmp_path, most=1, error=RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    )
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        trainer.train()


def test_a_run_says_how_many_images_it_took_at_once(tiny, tmp_path, monkeypatch):
    config = dataclasses.replace(tiny, images=32)

    def with_little_memory(config):
        checkpoint = build_model(config)
        scarce(checkpoint.model, 4)
        return checkpoint

    monkeypatch.setattr(run, "build_model", with_little_memory)
    train(config, tmp_path / "pieces", progress=False)
    monkeypatch.undo()
    train(config, tmp_path / "whole", progress=False)
    histories = [
        json.loads((tmp_path / name / "history.json").read_text()) for name in ("pieces", "whole")
    ]
    assert [history["provenance"]["micro_batch"] for history in histories] == [4, 16]
    assert histories[0]["provenance"]["config"] == histories[1]["provenance"]["config"]
