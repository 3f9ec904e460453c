"""A training run from a config to a checkpoint folder, resumable at any moment."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from transformers import AttentionInterface, AutoConfig, TrainingArguments, set_seed

from ..errors import RelViTError
from ..files import write_json
from ..modeling import RelViTConfig, RelViTForImageClassification
from ..modeling.attention_mass import ATTENTION, relvit_attention
from ..modeling.blocks import blocks
from ..modeling.checkpoints import Checkpoint, check_saves
from ..modeling.processing import PixelProcessor, default_processor, fit_processor, load_processor
from ..owned import check_empty, check_replaceable, clear_partials, remove_ours
from ..provenance import provenance
from .config import TrainConfig
from .data import RelViTCollator, SceneDataset
from .folder import TrainingFolder
from .metrics import relational_accuracy
from .precision import BF16, FLOAT32, trains_in_bf16
from .trainer import RelViTTrainer, last_complete_checkpoint

# Of pixels on the 0 to 1 scale. Most of a scene is white, so ImageNet's would leave the objects a faint signal.
STIMULUS_MEAN, STIMULUS_SPREAD = (0.97,) * 3, (0.15,) * 3

CHECKPOINTS = ("checkpoint-*/*",)
"""What the Trainer writes into its folder, and an interrupted run goes on from."""


def build_model(config: TrainConfig) -> Checkpoint:
    """The model before training, and its processor.

    Raises:
        RelViTError: a backbone whose geometry is not the scenes', unknown backbone or loss settings.
    """
    distribution = config.distribution()
    scenes = distribution.geometry
    disentanglement = config.disentanglement
    if disentanglement is not None:
        objects = distribution.objects
        disentanglement = {
            "n_shapes": objects.n_shapes,
            "n_colors": objects.n_colors,
            **disentanglement,
        }
    extra = dict(readout=config.readout, disentanglement=disentanglement, pipeline=config.pipeline)
    set_seed(config.seed)
    if isinstance(config.backbone, str):
        model = RelViTForImageClassification.from_backbone(config.backbone, **extra)
        processor = fit_processor(load_processor(config.backbone), scenes.image_size)
    else:
        layout = {"image_size": scenes.image_size, "patch_size": scenes.patch_size}
        backbone = AutoConfig.for_model(**{**config.backbone, **layout})
        model = RelViTForImageClassification(RelViTConfig(backbone_config=backbone, **extra))
        processor = default_processor(scenes.image_size, STIMULUS_MEAN, STIMULUS_SPREAD)
    model.config.geometry.check(scenes)
    processor = PixelProcessor(processor, scenes.image_size)
    model.config.trained_in = BF16 if trains_in_bf16(config) else FLOAT32
    model.config.processor_fingerprint = processor.fingerprint
    model.config.scenes = {
        key: getattr(config, key) for key in ("task", "geometry", "combinations")
    }
    return Checkpoint(model, processor)


def compile_blocks(model: RelViTForImageClassification) -> None:
    """Compile the transformer blocks in place, so that a GPU does a block's elementwise work in a few passes.

    One block is compiled and serves for all, in seconds rather than the minutes of a whole model. What records
    attention stays out of it; without the pipeline loss nothing does, and attention is plain sdpa, the same on a GPU.
    """
    AttentionInterface.register(ATTENTION, torch.compiler.disable(relvit_attention))
    if model.pipeline is None:
        model.set_attn_implementation("sdpa")
    for block in blocks(model):
        # not block.compile(): that would take the hooks on the block, which collect hidden states, into the graph
        block.forward = torch.compile(block.forward, dynamic=False)


def train(config: TrainConfig, out: Path, *, progress: bool = True) -> TrainingFolder:
    """Train, or finish what was interrupted, or find it finished.

    Args:
        config: of the run.
        out: its folder, see ``TrainingFolder``.
        progress: show a bar.

    Returns:
        The folder, with the trained checkpoint in ``.model``.

    Raises:
        RelViTError: ``out`` belongs to a run of another config, or holds files of somebody else under the names of
            ours; bad config; a loss that is not a number.
    """
    folder = TrainingFolder(Path(out))
    if folder.config_file.exists():
        _check_same(folder, config)
        if folder.history_file.exists():
            return folder
    else:
        _check_free(folder)
        write_json(folder.config_file, config.to_dict(), owned=True)
    clear_partials(folder.path)

    checkpoint = build_model(config)
    trainer = make_trainer(config, checkpoint, folder.checkpoints, progress=progress)
    last = last_complete_checkpoint(folder.checkpoints)
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    if trainer.is_world_process_zero():
        trained = Checkpoint(trainer.accelerator.unwrap_model(trainer.model), checkpoint.processor)
        trained.save(folder.model)
        facts = provenance(
            seed=config.seed, config=config.to_dict(), micro_batch=trainer.images_at_once
        )
        log = {"log": trainer.state.log_history, "provenance": facts}
        write_json(folder.history_file, log, owned=True)
        remove_ours(folder.checkpoints, CHECKPOINTS)
    trainer.accelerator.wait_for_everyone()
    return folder


def _check_free(folder: TrainingFolder) -> None:
    """Raise RelViTError if a new run would meet somebody else's files."""
    check_replaceable(folder.path, [folder.history_file.name])
    check_saves(folder.model)
    check_empty(folder.checkpoints)


def _check_same(folder: TrainingFolder, config: TrainConfig) -> None:
    before = folder.config
    changed = [key for key, value in config.to_dict().items() if before.get(key) != value]
    if changed:
        raise RelViTError(
            f"{folder.path} holds a run with another {', '.join(changed)}: name another folder with --out, or remove "
            "it"
        )


def make_trainer(
    config: TrainConfig, checkpoint: Checkpoint, checkpoints: Path, *, progress: bool = True
) -> RelViTTrainer:
    """The Trainer of a run: fresh or fixed training scenes, validation on the way."""
    model, processor = checkpoint
    distribution = config.distribution()
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if config.batch_size % world:
        raise RelViTError(
            f"batch_size {config.batch_size} does not divide over {world} processes: choose a multiple"
        )

    def scenes_of(split: str, n: int, length: int | None = None) -> SceneDataset:
        own = device if device.type == "cuda" else None
        return SceneDataset(distribution, split, n, length=length, device=own)

    every = max(config.steps // config.evaluations, 1)
    plateau = config.schedule == "plateau"
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        max_steps=config.steps,
        per_device_train_batch_size=config.batch_size // world,
        per_device_eval_batch_size=256,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        lr_scheduler_type={"plateau": "reduce_lr_on_plateau", "exponential": "constant"}.get(
            config.schedule,
            config.schedule if config.schedule == "cosine" else "constant_with_warmup",
        ),
        lr_scheduler_kwargs=dict(mode="max", patience=40, factor=0.1) if plateau else {},
        warmup_steps=config.warmup_steps,
        max_grad_norm=config.max_grad_norm,
        train_sampling_strategy="sequential" if config.fresh else "random",
        dataloader_pin_memory=False,  # the collator does it
        remove_unused_columns=False,
        label_names=["labels"],
        logging_steps=max(min(every // 4, 50), 1),
        logging_nan_inf_filter=False,
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        load_best_model_at_end=config.best,
        metric_for_best_model="eval_validation_accuracy" if config.best or plateau else None,
        greater_is_better=True if config.best or plateau else None,
        bf16=trains_in_bf16(config),
        activation_checkpointing=config.gradient_checkpointing,
        seed=config.seed,
        use_cpu=not torch.accelerator.is_available(),
        report_to=config.report_to,
        disable_tqdm=not progress,
    )
    # The learning rate, not the data, decides how long an epoch is: the paper's 6,400 images also for fresh ones.
    device, n_block = arguments.device, 4096 if config.fresh else config.n_train
    training = scenes_of(
        "train", n_block, config.steps * config.batch_size if config.fresh else None
    )
    if (
        not config.fresh
        and device.type == "cuda"
        and 4 * training.pixel_bytes < torch.cuda.mem_get_info(device)[0]
    ):
        training.keep(device)
    if config.compile:
        compile_blocks(model)
    return RelViTTrainer(
        model=model,
        args=arguments,
        train_dataset=training,
        eval_dataset={split: scenes_of(split, config.n_eval) for split in config.eval_splits},
        data_collator=RelViTCollator(processor, checkpoint.geometry, distribution.geometry, device),
        processing_class=processor,
        compute_metrics=lambda p: relational_accuracy(p.predictions, p.label_ids),
        exponential=config.schedule == "exponential",
        epoch_steps=max(config.n_train // config.batch_size, 1),
    )
