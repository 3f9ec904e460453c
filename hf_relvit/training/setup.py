"""The Trainer of a run: its arguments, its scenes and its model, all checked before anything is written."""

from __future__ import annotations

import math
import typing
from pathlib import Path
from typing import Any

import torch
from transformers import AttentionInterface, Trainer, TrainingArguments, get_scheduler
from transformers.integrations import integration_utils

from ..errors import RelViTError, nearest
from ..modeling import RelViTForImageClassification
from ..modeling.adapters import add_adapters
from ..modeling.attention_mass import ATTENTION, relvit_attention
from ..modeling.blocks import blocks
from ..modeling.checkpoints import Checkpoint
from .config import TrainConfig, check_value
from .data import RelViTCollator, SceneDataset
from .launcher import check_launcher, world_size
from .metrics import relational_accuracy
from .precision import trains_in_bf16
from .trainer import RelViTTrainer

FRESH_BLOCK = 4096
"""Fresh scenes that are drawn at once."""
LOGS_PER_EVALUATION = 4


def make_trainer(
    config: TrainConfig, checkpoint: Checkpoint, checkpoints: Path, *, progress: bool = True
) -> RelViTTrainer:
    """The Trainer of a run: fresh or fixed training scenes, validation on the way.

    Args:
        config: of the run.
        checkpoint: the model before training, and its processor.
        checkpoints: folder from which an interrupted training goes on.
        progress: show a bar.

    Raises:
        RelViTError: settings that Trainer does not take, a tracker that is not installed, a batch that does not divide
            over the processes, variables of a launcher that contradict the settings.
    """
    arguments = training_arguments(config, checkpoints, progress=progress)
    model, processor = checkpoint
    scenes = config.distribution()
    _check_optimizer(arguments, model, config)
    # Worker processes have no accelerator: with them scenes are drawn on the host.
    device = torch.device("cpu") if arguments.dataloader_num_workers else arguments.device
    training = _training_scenes(config, device)
    renderer = device if device.type == "cuda" else None
    validation = {
        split: SceneDataset(scenes, split, config.n_eval, device=renderer)
        for split in config.eval_splits
    }
    if config.lora is not None:
        model = add_adapters(model, config.lora, bf16=bool(arguments.bf16))
    if config.compile:
        compile_blocks(model)
    return RelViTTrainer(
        model=model,
        args=arguments,
        train_dataset=training,
        eval_dataset=validation,
        data_collator=RelViTCollator(processor, checkpoint.geometry, scenes.geometry, device),
        processing_class=processor,
        compute_metrics=_accuracy,
        exponential=config.lr_scheduler_type == "exponential",
        pipeline_share=config.pipeline_share,
        # The learning rate, not the data, decides how long an epoch is: the paper's 6,400 images also for fresh ones.
        epoch_steps=max(config.n_train // config.batch_size, 1),
    )


def training_arguments(
    config: TrainConfig, folder: Path, *, progress: bool = True
) -> TrainingArguments:
    """The settings as transformers' TrainingArguments; docs/trainer_arguments.md says which decides which.

    Raises: see ``make_trainer``.
    """
    bf16 = trains_in_bf16(config)
    extra = config.extra
    _check_extra(extra)
    accumulation = extra.get("gradient_accumulation_steps", 1)
    if accumulation < 1:
        raise RelViTError(f"trainer.gradient_accumulation_steps {accumulation}: expected 1 or more")
    check_launcher(bf16, accumulation)
    check_tracker(config.report_to)
    settings = _settings(config, folder) | {
        "per_device_train_batch_size": _piece_size(config.batch_size, accumulation),
        "bf16": bf16,
        "disable_tqdm": not progress,
    }
    plateau = settings["lr_scheduler_kwargs"]
    settings |= extra
    settings["lr_scheduler_kwargs"] = plateau | (extra.get("lr_scheduler_kwargs") or {})
    try:
        return TrainingArguments(**settings)
    except (ValueError, TypeError, ImportError, RuntimeError) as error:
        raise _refused(extra, error) from error


def _check_extra(extra: dict[str, Any]) -> None:
    """Whether further settings of Trainer have the types that it declares."""
    hints = typing.get_type_hints(TrainingArguments)
    for name, value in extra.items():
        try:
            check_value(f"trainer.{name}", value, hints[name])
        except TypeError:  # a type of transformers' own: it checks the value itself
            continue


def _piece_size(batch_size: int, accumulation: int) -> int:
    """Images of a batch that one process takes at once."""
    pieces = world_size() * accumulation
    if batch_size % pieces:
        raise RelViTError(
            f"batch_size {batch_size} does not divide over {world_size()} processes and {accumulation} "
            "accumulated pieces: choose a multiple"
        )
    return batch_size // pieces


def _intervals(config: TrainConfig) -> dict[str, Any]:
    """When training logs, evaluates and saves."""
    every = max(config.steps // config.evaluations, 1)
    return dict(
        logging_steps=max(min(every // LOGS_PER_EVALUATION, 50), 1),
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
    )


def _settings(config: TrainConfig, folder: Path) -> dict[str, Any]:
    """Arguments that the settings and the way of a run decide."""
    plateau = config.lr_scheduler_type == "reduce_lr_on_plateau"
    watched = config.load_best_model_at_end or plateau
    # RelViTTrainer makes the exponential schedule, which Trainer lacks.
    schedule = "constant" if config.lr_scheduler_type == "exponential" else config.lr_scheduler_type
    return dict(
        output_dir=str(folder),
        max_steps=config.steps,
        per_device_eval_batch_size=256,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        lr_scheduler_type=schedule,
        lr_scheduler_kwargs=dict(mode="max", patience=40, factor=0.1) if plateau else {},
        warmup_steps=config.warmup_steps,
        max_grad_norm=config.max_grad_norm,
        train_sampling_strategy="sequential" if config.fresh else "random",
        dataloader_pin_memory=False,  # the collator does it
        remove_unused_columns=False,
        label_names=["labels"],
        **_intervals(config),
        logging_nan_inf_filter=False,
        save_total_limit=2,
        load_best_model_at_end=config.load_best_model_at_end,
        metric_for_best_model="eval_validation_accuracy" if watched else None,
        greater_is_better=True if watched else None,
        activation_checkpointing=config.gradient_checkpointing,
        seed=config.seed,
        use_cpu=not torch.accelerator.is_available(),
        report_to=config.report_to,
    )


def _training_scenes(config: TrainConfig, device: torch.device) -> SceneDataset:
    """Fresh scenes, or a fixed set, which stays on the device if it takes less than a quarter of the memory there."""
    renderer = device if device.type == "cuda" else None
    scenes = config.distribution()
    if config.fresh:
        length = config.steps * config.batch_size
        return SceneDataset(scenes, "train", FRESH_BLOCK, length=length, device=renderer)
    training = SceneDataset(scenes, "train", config.n_train, device=renderer)
    if renderer is not None and 4 * training.pixel_bytes < torch.cuda.mem_get_info(device)[0]:
        training.keep(device)
    return training


def _accuracy(prediction: Any) -> dict[str, Any]:
    return relational_accuracy(prediction.predictions, prediction.label_ids)


def check_tracker(name: str) -> None:
    """Raise RelViTError for a tracker that transformers does not know, or that is not installed."""
    known = integration_utils.INTEGRATION_TO_CALLBACK
    if name in ("none", "all"):
        return
    if name not in known:
        raise RelViTError(
            f"report_to {name!r}: expected none, all or one of {', '.join(known)}{nearest(name, known)}"
        )
    available = integration_utils.get_available_reporting_integrations()
    if name not in available:
        raise RelViTError(
            f"report_to {name!r}: the tracker is not installed; install it, or choose one of "
            f"{', '.join(['none', *available])}"
        )


def _check_optimizer(arguments: TrainingArguments, model: Any, config: TrainConfig) -> None:
    """Make optimizer and schedule once for nothing: bad settings are then refused before any work."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    try:
        kind, settings = Trainer.get_optimizer_cls_and_kwargs(arguments, model)
        schedule: Any = arguments.lr_scheduler_kwargs
        if not {"params", "model", "optimizer_dict"} & settings.keys():
            optimizer = kind([parameter], **settings)
            get_scheduler(
                arguments.lr_scheduler_type,
                optimizer,
                num_warmup_steps=math.ceil(arguments.warmup_steps),
                num_training_steps=config.steps,
                scheduler_specific_kwargs=schedule,
            )
    except (ValueError, TypeError, ImportError, RuntimeError) as error:
        raise _refused(config.extra, error) from error


def _refused(extra: dict[str, Any], error: Exception) -> RelViTError:
    reason = " ".join(str(error).split())[:250]
    return RelViTError(f"Trainer refuses the settings (trainer: {extra}): {reason}; correct them")


def compile_blocks(model: RelViTForImageClassification) -> None:
    """Compile the transformer blocks in place, so that a GPU does a block's elementwise work in a few passes.

    One block is compiled and serves for all, in seconds rather than the minutes of a whole model. The recorder of
    attention stays out of it; without the pipeline loss there is none, and attention is plain sdpa, as on a GPU.
    """
    AttentionInterface.register(ATTENTION, torch.compiler.disable(relvit_attention))
    if model.pipeline is None:
        model.set_attn_implementation("sdpa")
    for block in blocks(model):
        # not block.compile(): that would take the hooks on the block, which collect hidden states, into the graph
        block.forward = torch.compile(block.forward, dynamic=False)
