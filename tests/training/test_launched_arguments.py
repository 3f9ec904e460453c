"""Arguments that show only with several processes, with a tracker, or on a GPU: ours hands them on as Trainer does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny import TINY
from tiny_trainer import tiny_trainer
from transformers import Trainer, TrainerCallback, training_args
from transformers.integrations import integration_utils

from hf_relvit.errors import RelViTError
from hf_relvit.training.config import TrainConfig
from hf_relvit.training.setup import training_arguments
from hf_relvit.training.trainer import RelViTTrainer

TESTS = Path(__file__).parents[1]
DDP = {
    "ddp_backend": "gloo",
    "ddp_broadcast_buffers": False,
    "ddp_bucket_cap_mb": 3,
    "ddp_find_unused_parameters": True,
    "ddp_static_graph": True,
    "ddp_timeout": 77,
}
"""None of them is the default."""
PROGRAM = """
import json, os, sys
import torch
from tiny_trainer import tiny_trainer
from transformers import Trainer
from hf_relvit.training.trainer import RelViTTrainer

kinds = {"ours": RelViTTrainer, "plain": Trainer}
found = {}
for name, kind in kinds.items():
    made = tiny_trainer(sys.argv[1], kind=kind, max_steps=1, save_strategy="no", eval_strategy="no",
                        per_device_train_batch_size=4, **json.loads(sys.argv[2]))
    made.train()
    wrapped = made.model_wrapped
    group = torch.distributed.distributed_c10d._get_default_group()
    found[name] = {
        "class": type(wrapped).__name__,
        "ddp_backend": torch.distributed.get_backend(),
        "ddp_broadcast_buffers": wrapped.broadcast_buffers,
        "ddp_bucket_cap_mb": wrapped.bucket_bytes_cap // 2**20,
        "ddp_find_unused_parameters": wrapped.find_unused_parameters,
        "ddp_static_graph": wrapped.static_graph,
        "ddp_timeout": group._get_backend(torch.device("cpu")).options._timeout.total_seconds(),
    }
if os.environ["RANK"] == "0":
    print(json.dumps(found))
torch.distributed.destroy_process_group()
"""


@pytest.mark.long
@pytest.mark.timeout(300)
def test_data_parallel_arguments_reach_the_wrapper_of_the_model(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [str(tmp_path / "program.py"), str(tmp_path / "run"), json.dumps(DDP)]
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=280, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    expected = {"class": "DistributedDataParallel", **DDP}
    expected["ddp_timeout"] = 1800  # Trainer sets it on GPUs only
    assert found == {"ours": expected, "plain": expected}


class Curious(TrainerCallback):
    """A tracker that notes the arguments it is told when training begins."""

    seen = {}

    def on_train_begin(self, args, state, control, **kwargs):
        self.seen.update({name: getattr(args, name) for name in TRACKED})


TRACKED = {
    "project": "relations",
    "run_name": "first",
    "trackio_bucket_id": "me/bucket",
    "trackio_space_id": "me/space",
    "trackio_static_space_id": "me/static",
    "log_level": "error",
    "log_level_replica": "error",
    "log_on_each_node": False,
    "save_on_each_node": True,
}


@pytest.mark.parametrize("kind", [RelViTTrainer, Trainer])
def test_a_tracker_is_told_its_arguments(tmp_path, monkeypatch, kind):
    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "curious", Curious)
    monkeypatch.setattr(Curious, "seen", {})
    quick = {"max_steps": 1, "save_strategy": "no", "eval_strategy": "no"}
    tiny_trainer(tmp_path, kind=kind, report_to="curious", **quick, **TRACKED).train()
    assert Curious.seen == TRACKED


def run_arguments(folder, **extra):
    """Of a run, with what ``trainer: {...}`` sets."""
    return training_arguments(TrainConfig(**TINY, trainer=extra), folder, progress=False)


def test_a_run_hands_them_on(tmp_path):
    given = {**DDP, **TRACKED}
    del given["ddp_backend"]  # needs several processes
    made = run_arguments(tmp_path, **given)
    assert {name: getattr(made, name) for name in given} == given


@pytest.mark.parametrize("value", [True, False, None])
def test_tf32_is_switched_as_trainer_switches_it(tmp_path, monkeypatch, value):
    """On a machine that has it; the switch itself is PyTorch's."""
    switched = []
    monkeypatch.setattr(training_args, "is_torch_tf32_available", lambda: True)
    monkeypatch.setattr(training_args, "enable_tf32", switched.append)
    expected = [] if value is None else [value]
    extra = {} if value is None else {"tf32": value}
    run_arguments(tmp_path, **extra)
    assert switched == expected
    switched.clear()
    tiny_trainer(tmp_path, tf32=value)
    assert switched == expected


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU may have it")
def test_tf32_without_such_a_gpu_is_one_line(tmp_path):
    with pytest.raises(RelViTError, match=r"tf32.* requires Ampere") as caught:
        run_arguments(tmp_path, tf32=True)
    assert "\n" not in str(caught.value)
