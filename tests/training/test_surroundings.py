"""What is around a training: other processes in its folder, and what a launcher leaves in the environment."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest
import torch
from tiny_trainer import tiny_trainer
from transformers import TrainerCallback

from hf_relvit.errors import RelViTError
from hf_relvit.training import run
from hf_relvit.training.precision import training_autocast
from hf_relvit.training.run import build_model, train
from hf_relvit.training.setup import training_arguments

SECOND = """
import json, sys
from pathlib import Path
from hf_relvit.errors import RelViTError
from hf_relvit.training.config import TrainConfig
from hf_relvit.training.run import train
try:
    train(TrainConfig(**json.loads(sys.argv[1])), Path(sys.argv[2]), progress=False)
except RelViTError as error:
    print(error)
"""


class AnotherProcess(TrainerCallback):
    """Starts a second training in the folder while the first is at its second step."""

    said = None

    def __init__(self, config, folder):
        settings = json.dumps(config.to_dict())
        self.command = [sys.executable, "-c", SECOND, settings, str(folder)]

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 2:
            done = subprocess.run(
                self.command, capture_output=True, text=True, timeout=120, check=True
            )
            self.said = done.stdout


@pytest.mark.long
@pytest.mark.timeout(200)
def test_a_second_training_in_a_folder_at_work_is_refused(tiny, tmp_path, monkeypatch):
    config = dataclasses.replace(tiny, images=64)
    alone = train(config, tmp_path / "alone", progress=False)
    another = AnotherProcess(config, tmp_path / "run")

    def with_another(*args, **kwargs):
        trainer = make_trainer(*args, **kwargs)
        trainer.add_callback(another)
        return trainer

    make_trainer = run.make_trainer
    monkeypatch.setattr(run, "make_trainer", with_another)
    folder = train(config, tmp_path / "run", progress=False)
    assert f"is being made by process {os.getpid()}" in another.said
    assert another.said.count("\n") == 1
    assert folder.weights.read_bytes() == alone.weights.read_bytes()
    assert not list(tmp_path.glob("run/.*.lock"))


CONTRADICTIONS = {
    "ACCELERATE_MIXED_PRECISION": ["bf16", "fp16", "fp8"],
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": ["4"],
    "ACCELERATE_DYNAMO_BACKEND": ["INDUCTOR", "eager"],
    "ACCELERATE_USE_FSDP": ["true", "1"],
    "ACCELERATE_USE_DEEPSPEED": ["true"],
    "ACCELERATE_USE_MEGATRON_LM": ["yes"],
    "ACCELERATE_USE_PARALLELISM_CONFIG": ["on"],
    "WORLD_SIZE": ["", "two", "-1", "1.5"],
    "RANK": ["", "first"],
    "LOCAL_RANK": ["", " 0"],
}
HARMLESS = {
    "ACCELERATE_MIXED_PRECISION": ["no", ""],
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": ["1", ""],
    "ACCELERATE_DYNAMO_BACKEND": ["no", "NO", ""],
    "ACCELERATE_USE_FSDP": ["false", ""],
    "WORLD_SIZE": ["1"],
}


def cases(table):
    return [(name, value) for name, values in table.items() for value in values]


@pytest.mark.parametrize(("name", "value"), cases(CONTRADICTIONS))
def test_a_variable_that_would_change_the_run_is_one_line(tiny, tmp_path, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(RelViTError, match=rf"the environment has {name}.*unset it") as error:
        train(tiny, tmp_path / "run", progress=False)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "value"), cases(HARMLESS))
def test_a_variable_that_says_the_same_changes_nothing(tiny, tmp_path, monkeypatch, name, value):
    def settings():
        values = training_arguments(tiny, tmp_path).to_dict()
        return {key: values[key] for key in values if key != "logging_dir"}

    before = settings()
    monkeypatch.setenv(name, value)
    assert settings() == before


def test_precision_of_the_launcher_that_the_run_has_too_is_taken(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    arguments = training_arguments(dataclasses.replace(tiny, bf16=True), tmp_path)
    assert arguments.bf16


def test_half_precision_of_a_launcher_is_refused_in_a_script_too(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    with pytest.raises(RelViTError, match="ACCELERATE_MIXED_PRECISION=fp16: attention shares"):
        tiny_trainer(tmp_path)


def test_settings_that_change_no_weights_may_change_in_the_folder(tiny, tmp_path):
    """A finished run stays finished with another tracker, or with what saves memory."""
    config = dataclasses.replace(tiny, images=32)
    folder = train(config, tmp_path, progress=False)
    before = folder.weights.stat().st_mtime_ns
    for changed in (dict(gradient_checkpointing=True), dict(report_to="wandb")):
        train(dataclasses.replace(config, **changed), tmp_path, progress=False)
    assert folder.weights.stat().st_mtime_ns == before
    assert build_model(config).config.trained_in == "float32"


def test_a_cuda_build_of_torch_without_a_gpu_computes_on_the_cpu(tiny, monkeypatch):
    def compiled(check_available=False):
        return None if check_available else torch.device("cuda")

    monkeypatch.setattr(torch.accelerator, "current_accelerator", compiled)
    context = training_autocast(dataclasses.replace(tiny, bf16=True))
    assert context.device == "cpu"
