"""Every argument of transformers' TrainingArguments and keyword of its Trainer: its fate here.

This module is data, and imports nothing heavy. ``docs/trainer_arguments.md`` is made from it, and a test compares it
with the pinned transformers, so that a new version cannot bring an argument that nobody has looked at.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from ..errors import RelViTError, nearest

FIELDS = (
    "learning_rate", "weight_decay", "lr_scheduler_type", "warmup_steps", "max_grad_norm",
    "load_best_model_at_end", "gradient_checkpointing", "bf16", "report_to", "seed",
)  # fmt: skip
"""Settings of ``TrainConfig`` with Trainer's own names."""

HONORED = {
    "activation_checkpointing_kwargs": "for instance {use_reentrant: true}",
    "adam_beta1": None,
    "adam_beta2": None,
    "adam_epsilon": None,
    "data_seed": "order of a fixed training set",
    "dataloader_drop_last": "of a fixed training set",
    "full_determinism": None,
    "gradient_accumulation_steps": "batch_size stays the images of a step, over all processes and accumulated pieces",
    "lr_scheduler_kwargs": None,
    "label_smoothing_factor": "acts on the task loss; the auxiliary losses stay",
    "optim": None,
    "optim_args": None,
    "optim_target_modules": "of the optimizers that have them (GaLore, APOLLO)",
    "tf32": "GPUs",
    "use_cpu": None,
}
"""Arguments that ``trainer: {...}`` sets; value: a remark or None."""

FREE = {
    "dataloader_num_workers": "scenes are then drawn in worker processes, on the host",
    "dataloader_multiprocessing_context": None,
    "dataloader_persistent_workers": None,
    "dataloader_prefetch_factor": None,
    "ddp_backend": None,
    "ddp_broadcast_buffers": None,
    "ddp_bucket_cap_mb": None,
    "ddp_find_unused_parameters": None,
    "ddp_static_graph": None,
    "ddp_timeout": "GPUs; between processes on CPUs Trainer leaves PyTorch's 30 minutes",
    "debug": None,
    "eval_accumulation_steps": None,
    "eval_on_start": "one evaluation more in the log",
    "log_level": None,
    "log_level_replica": None,
    "log_on_each_node": None,
    "logging_first_step": None,
    "logging_steps": None,
    "per_device_eval_batch_size": None,
    "project": None,
    "restore_callback_states_from_checkpoint": None,
    "run_name": None,
    "save_on_each_node": None,
    "save_total_limit": "of the checkpoints that this training wrote; those of others stay",
    "skip_memory_metrics": None,
    "torch_empty_cache_steps": None,
    "trackio_bucket_id": None,
    "trackio_space_id": None,
    "trackio_static_space_id": None,
}
"""As ``HONORED``, and they may change when a run goes on in its folder: the trained weights do not depend on them."""

MAY_CHANGE = ("report_to", "gradient_checkpointing")
"""Fields of ``TrainConfig`` that may change when a run goes on in its folder."""

DECIDED = {
    "activation_checkpointing": "gradient_checkpointing",
    "dataloader_pin_memory": "RelViTCollator, which moves batches itself",
    "disable_tqdm": "the progress argument of train",
    "do_eval": "evaluations",
    "do_predict": "evaluations",
    "do_train": "evaluations",
    "eval_delay": "evaluations",
    "eval_do_concat_batches": "the accuracy, which needs joined batches",
    "eval_steps": "evaluations",
    "eval_strategy": "evaluations",
    "eval_use_gather_object": "the accuracy, which needs tensors only",
    "batch_eval_metrics": "the accuracy, which needs all logits",
    "include_for_metrics": "the accuracy, which needs logits and labels only",
    "gradient_checkpointing_kwargs": "activation_checkpointing_kwargs, its name today",
    "greater_is_better": "load_best_model_at_end",
    "ignore_data_skip": "resuming, which goes on with the next images",
    "label_names": "the collator, which calls them labels",
    "length_column_name": "fresh",
    "local_rank": "the launcher",
    "logging_nan_inf_filter": "the check that a loss is a number",
    "logging_strategy": "logging_steps",
    "max_steps": "images and batch_size",
    "metric_for_best_model": "load_best_model_at_end",
    "num_train_epochs": "images",
    "output_dir": "--out",
    "per_device_train_batch_size": "batch_size",
    "prediction_loss_only": "evaluations, which measure accuracy",
    "remove_unused_columns": "RelViTCollator, which takes the columns that the losses need",
    "resume_from_checkpoint": "--out: a run goes on in its folder",
    "save_only_model": "resuming, which needs the optimizer",
    "save_steps": "evaluations",
    "save_strategy": "evaluations",
    "train_sampling_strategy": "fresh",
    "dataloader_in_order": "resuming, which needs the order of the images",
    "accelerator_config": "batch_size, which counts over all processes",
}
"""Arguments that something else decides in `relvit train`; with RelViTTrainer in your own script they are yours."""

_NO_TOKENS = "images have no tokens of a language; leave it out"
_ONE_WHOLE_MODEL = "the model must be whole in each process; use torchrun (data parallel) instead"
_PUBLISH = (
    "the Trainer would send its pickled arguments too; train first, then publish the folder with relvit push, or "
    "train with relvit train --push-to-hub"
)
_COMPILE = (
    "compiling the whole model drops the recording of attention; use compile_blocks (compile: true)"
)

REFUSED = {
    "auto_find_batch_size": "it shrinks the batch and starts anew; pieces of a batch are found without it",
    "average_tokens_across_devices": _NO_TOKENS,
    "bf16_full_eval": "a run is evaluated in the precision of its training; use bf16",
    "deepspeed": _ONE_WHOLE_MODEL,
    "enable_jit_checkpoint": "a checkpoint at a signal is torn if the process ends; each evaluation saves one",
    "fp16": "attention shares of the pipeline loss underflow in it; use bf16",
    "fp16_full_eval": "a run is evaluated in the precision of its training; use bf16",
    "fsdp": _ONE_WHOLE_MODEL,
    "fsdp_config": _ONE_WHOLE_MODEL,
    "hub_always_push": _PUBLISH,
    "hub_model_id": _PUBLISH,
    "hub_private_repo": _PUBLISH,
    "hub_revision": _PUBLISH,
    "hub_strategy": _PUBLISH,
    "hub_token": _PUBLISH,
    "include_num_input_tokens_seen": _NO_TOKENS,
    "liger_kernel_config": _NO_TOKENS,
    "neftune_noise_alpha": _NO_TOKENS,
    "parallelism_config": _ONE_WHOLE_MODEL,
    "push_to_hub": _PUBLISH,
    "torch_compile": _COMPILE,
    "torch_compile_backend": _COMPILE,
    "torch_compile_mode": _COMPILE,
    "use_cache": _NO_TOKENS,
    "use_liger_kernel": _NO_TOKENS,
}
"""Arguments that are refused wherever they differ from their default; value: why, and the cure."""

KEYWORDS = {
    "args": "honored, as this page says",
    "callbacks": "honored",
    "compute_loss_func": "refused: the model computes its losses; change RelViTConfig's, or override compute_loss",
    "compute_metrics": "honored",
    "data_collator": "honored; RelViTCollator",
    "eval_dataset": "honored",
    "model": "honored; needed",
    "model_init": "refused: pass a model; a grid of settings is a study (`relvit study`)",
    "optimizer_cls_and_kwargs": "honored",
    "optimizers": "honored",
    "preprocess_logits_for_metrics": "honored",
    "processing_class": "honored",
    "train_dataset": "honored",
}
"""Keywords of Trainer in RelViTTrainer."""


def check_extra(extra: Any) -> None:
    """Raise RelViTError unless ``trainer: {...}`` names arguments that may be set in it."""
    if not isinstance(extra, dict):
        raise RelViTError(
            f"trainer {extra!r}: expected a mapping such as {{adam_beta2: 0.98}}, or leave it out"
        )
    for name in extra:
        if name in FIELDS:
            raise RelViTError(f"trainer.{name}: write {name} beside trainer, not in it")
        if name in DECIDED:
            raise RelViTError(f"trainer.{name}: leave it out; this is decided by {DECIDED[name]}")
        if name in REFUSED:
            raise RelViTError(f"trainer.{name}: {REFUSED[name]}")
        if name not in HONORED and name not in FREE:
            raise unknown_key(name, [*HONORED, *FREE])


def unknown_key(key: str, known: Iterable[str]) -> RelViTError:
    """The error for a key that is none of the known ones."""
    names = list(known)
    return RelViTError(
        f"unknown key {key!r}{nearest(key, names)}; the keys are: {', '.join(names)}"
    )


def check_arguments(arguments: Any) -> None:
    """Raise RelViTError for TrainingArguments that RelViTTrainer cannot honor."""
    for field in dataclasses.fields(arguments):
        if field.name not in REFUSED:
            continue
        value = getattr(arguments, field.name)
        if value != field.default and value:
            raise RelViTError(f"{field.name}={value!r}: {REFUSED[field.name]}")
    if getattr(arguments, "mixed_precision", "no") == "fp16":  # by a launcher's variable
        raise RelViTError(f"ACCELERATE_MIXED_PRECISION=fp16: {REFUSED['fp16']}")


_HEAD = """# Trainer's arguments

Every argument of transformers' `TrainingArguments` and keyword of its `Trainer`, and its fate in `relvit train`. The
page is made from `hf_relvit/training/arguments.py`, and a test compares it with the pinned transformers.

An argument that is set or decided here acts in `RelViTTrainer` as it acts in Trainer:
`tests/training/test_argument_effects.py` trains with both and compares weights, log and files, and sees that something
differs without the argument. Arguments that show nothing on a CPU, such as `ddp_bucket_cap_mb`, are read by methods of
Trainer that ours leaves as they are; the same file looks that up in the source.
"""


def arguments_page() -> str:
    """``docs/trainer_arguments.md``: the tables of this module."""
    settings = dict.fromkeys(FIELDS, "a setting of ours with Trainer's own name")
    sections = (
        ("Set by a setting", settings),
        ("Set by `trainer: {...}`", HONORED),
        ("Set by `trainer: {...}`, free to change when a run goes on in its folder", FREE),
        ("Decided by something else", DECIDED),
        ("Refused", REFUSED),
        ("Keywords of `RelViTTrainer`", KEYWORDS),
    )
    lines = [_HEAD]
    for heading, table in sections:
        lines += [f"## {heading}", "", "| name | remark |", "|---|---|"]
        lines += [f"| `{name}` | {remark or ''} |" for name, remark in table.items()]
        lines.append("")
    return "\n".join(lines)
