"""RelViTTrainer against a bare loop on the same model and data; both auxiliary losses against none.

A bare loop is PyTorch alone: the same scenes, model, optimizer, schedule, clipping and autocast. The sides take turns
in one process; each figure is a median over rounds.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import tempfile
import time
from pathlib import Path

import machine
import torch
from torch.utils.data import DataLoader

from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.training.config import PRESETS, TrainConfig
from hf_relvit.training.precision import computes_bf16
from hf_relvit.training.run import build_model, make_trainer

STEPS, ROUNDS = 25, 3


def trainer_seconds(config: TrainConfig) -> float:
    """Seconds per step, without evaluation and saving."""
    model, processor = build_model(config)
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(config, Checkpoint(model, processor), Path(folder), progress=False)
        trainer.args.eval_strategy = trainer.args.save_strategy = "no"
        start = time.perf_counter()
        trainer.train()
        return (time.perf_counter() - start) / config.steps


def bare_seconds(config: TrainConfig) -> float:
    model, processor = build_model(config)
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(config, Checkpoint(model, processor), Path(folder), progress=False)
    loader = DataLoader(trainer.train_dataset, config.batch_size, collate_fn=trainer.data_collator)
    optimizer = torch.optim.AdamW(
        model.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda i: min(1, i / config.warmup_steps) * (1 + math.cos(math.pi * i / config.steps)) / 2,
    )
    model.train()
    start = time.perf_counter()
    for batch in loader:
        with torch.autocast("cpu", torch.bfloat16, enabled=computes_bf16()):
            loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return (time.perf_counter() - start) / config.steps


def main() -> None:
    torch.set_num_threads(1)  # so that other work on the machine disturbs less
    quick = dataclasses.replace(PRESETS["quick"], images=STEPS * 128)
    both = dataclasses.replace(PRESETS["quick-rmts"], images=STEPS * 128)
    none = dataclasses.replace(both, disentanglement=None, pipeline=None)
    losses = {
        "disentanglement": {"layer": 2},
        "pipeline": {"within_object": [0, 1, 2], "within_pair": [3, 4]},
    }
    sides = {
        "bare loop": lambda: bare_seconds(quick),
        "RelViTTrainer": lambda: trainer_seconds(quick),
        "discrimination, both losses": lambda: trainer_seconds(
            dataclasses.replace(quick, **losses)
        ),
        "rmts, no loss": lambda: trainer_seconds(none),
        "rmts, both losses": lambda: trainer_seconds(both),
    }
    times = {name: [] for name in sides}
    for i in range(ROUNDS + 1):
        for name, side in sides.items():
            seconds = side()
            if i:  # the first round warms up
                times[name].append(seconds)
    step = {name: statistics.median(values) for name, values in times.items()}
    ratios = {
        "RelViTTrainer throughput / bare loop": step["bare loop"] / step["RelViTTrainer"],
        "discrimination: time a step, both losses / none": step["discrimination, both losses"]
        / step["RelViTTrainer"],
        "rmts: time a step, both losses / none": step["rmts, both losses"] / step["rmts, no loss"],
    }
    machine.write(
        "training",
        [
            {"what": name, "seconds_a_step": s, "images_per_second": 128 / s}
            for name, s in step.items()
        ]
        + [{"what": name, "ratio": value} for name, value in ratios.items()],
    )


if __name__ == "__main__":
    main()
