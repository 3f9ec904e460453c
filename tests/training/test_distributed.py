"""Two processes train as one does: same images in the same order, same gradients."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from hf_relvit.training.run import build_model, train

PROGRAM = """
import json, os, sys
from pathlib import Path
import torch
from hf_relvit.training import run
from hf_relvit.training.config import TrainConfig
from hf_relvit.training.run import build_model, train

def with_little_memory(config):
    checkpoint = build_model(config)
    def before(module, args, kwargs):
        if module.training and len(kwargs["pixel_values"]) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    checkpoint.model.register_forward_pre_hook(before, with_kwargs=True)
    return checkpoint

if os.environ["RANK"] == os.environ.get("LITTLE_MEMORY"):
    run.build_model = with_little_memory
train(TrainConfig(**json.loads(Path(sys.argv[1]).read_text())), Path(sys.argv[2]), progress=False)
"""


def launched(config, folder, **environment):
    """Train in two processes, as ``torchrun --nproc-per-node 2`` does."""
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    (folder / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [str(folder / "program.py"), str(folder / "config.json"), str(folder / "run")]
    environment = {**os.environ, **environment}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=240, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert ("going on with 2" in done.stderr) == ("LITTLE_MEMORY" in environment)
    return folder / "run"


@pytest.mark.long
@pytest.mark.parametrize(
    ("fresh", "environment"),
    [(False, {}), (True, {"LITTLE_MEMORY": "1"})],
    ids=["fixed", "fresh, too little memory in one of them"],
)
def test_two_processes_are_one(tiny_rmts, tmp_path, fresh, environment):
    config = dataclasses.replace(tiny_rmts, fresh=fresh, n_train=64, images=96, evaluations=3)
    two = launched(config, tmp_path, **environment)
    one = tmp_path / "one"
    train(config, one, progress=False)
    weights = [load_file(run / "model" / "model.safetensors") for run in (one, two)]
    build_model(config).model.save_pretrained(tmp_path / "start")
    start = load_file(tmp_path / "start" / "model.safetensors")
    whole = [torch.cat([of[name].flatten() for name in sorted(start)]) for of in (start, *weights)]
    moved, apart = (whole[1] - whole[0]).norm(), (whole[2] - whole[1]).norm()
    assert apart <= 0.01 * moved  # sums in another order, which Adam makes a little larger
    logs = [json.loads((run / "history.json").read_text())["log"] for run in (one, two)]
    for single, double in zip(*logs):
        assert single["step"] == double["step"]
        for key in (
            "loss",
            "task_loss",
            "pipeline_loss",
            "disentanglement_loss",
            "eval_validation_accuracy",
        ):
            assert (key in single) == (key in double)
            if key in single:
                assert double[key] == pytest.approx(single[key], rel=2e-3), key
