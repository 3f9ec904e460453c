"""A training run from a config to a checkpoint folder, resumable at any moment."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch
from transformers import AttentionInterface, AutoConfig, TrainingArguments, set_seed

from ..errors import RelViTError
from ..geometry import geometry as scene_geometry
from ..modeling import RelViTConfig, RelViTForImageClassification
from ..modeling.attention_mass import ATTENTION, relvit_attention
from ..modeling.processing import PixelProcessor, default_processor, fit_processor, load_processor, save_checkpoint
from ..provenance import provenance, read_json, whole_file, write_json
from .config import TrainConfig
from .data import RelViTCollator, SceneDataset, check_geometry
from .metrics import relational_accuracy
from .trainer import RelViTTrainer, last_complete_checkpoint

# Of pixels on the 0 to 1 scale. Most of a scene is white, so ImageNet's would leave the objects a faint signal.
STIMULUS_MEAN, STIMULUS_SPREAD = (0.97,) * 3, (0.15,) * 3


def build_model(config: TrainConfig) -> tuple[RelViTForImageClassification, PixelProcessor]:
    """The model before training, and its processor.

    Raises:
        RelViTError: a backbone whose geometry is not the scenes', unknown backbone or loss settings.
    """
    scenes, objects = scene_geometry(config.geometry), config.open_objects()
    disentanglement = config.disentanglement
    if disentanglement is not None:
        disentanglement = {"n_shapes": objects.n_shapes, "n_colors": objects.n_colors, **disentanglement}
    extra = dict(readout=config.readout, disentanglement=disentanglement, pipeline=config.pipeline)
    set_seed(config.seed)
    if isinstance(config.backbone, str):
        model = RelViTForImageClassification.from_backbone(config.backbone, **extra)
        processor = fit_processor(load_processor(config.backbone), scenes.image_size)
    else:
        backbone = AutoConfig.for_model(
            **{**config.backbone, "image_size": scenes.image_size, "patch_size": scenes.patch_size}
        )
        model = RelViTForImageClassification(RelViTConfig(backbone_config=backbone, **extra))
        processor = default_processor(scenes.image_size, STIMULUS_MEAN, STIMULUS_SPREAD)
    check_geometry(model.config.geometry, scenes)
    processor = PixelProcessor(processor, scenes.image_size)
    model.config.processor_fingerprint = processor.fingerprint
    model.config.scenes = {key: getattr(config, key) for key in ("task", "geometry", "combinations")}
    return model, processor


def computes_bf16() -> bool:
    """Whether the device multiplies bf16 matrices in hardware; elsewhere bf16 autocast is slower than float32."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def trains_in_bf16(config: TrainConfig) -> bool:
    """Whether this run trains under bf16 autocast."""
    return computes_bf16() if config.bf16 is None else config.bf16


def as_trained(config: TrainConfig) -> torch.autocast:
    """The context in which a study measures a run: the precision of its training, on the device at hand.

    On a CPU ViT-B/16 takes a tenth of the time under bf16 autocast. Without this context, as in `relvit evaluate`, all
    is measured in float32.
    """
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    return torch.autocast(device.type, torch.bfloat16, enabled=trains_in_bf16(config))


def compile_blocks(model: RelViTForImageClassification) -> None:
    """Compile the transformer blocks in place, so that a GPU does a block's elementwise work in a few passes.

    One block is compiled and serves for all, in seconds rather than the minutes of a whole model. What records
    attention stays out of it; without the pipeline loss nothing does, and attention is plain sdpa, the same on a GPU.
    """
    from ..analysis.activations import blocks

    AttentionInterface.register(ATTENTION, torch.compiler.disable(relvit_attention))
    if model.pipeline is None:
        model.set_attn_implementation("sdpa")
    for block in blocks(model):
        # not block.compile(): that would take the hooks on the block, which collect hidden states, into the graph
        block.forward = torch.compile(block.forward, dynamic=False)


def train(config: TrainConfig, out: Path, *, progress: bool = True, repo: str | None = None) -> Path:
    """Train, or finish what was interrupted, or find it finished.

    ``out`` then holds ``model/`` (checkpoint, processor and card), ``config.json`` (the resolved config) and
    ``history.json`` (the log, with provenance).

    Args:
        config: of the run.
        out: its folder.
        progress: show a bar.
        repo: "owner/name" on the Hub to publish the finished run to, private if it is new (``hub.runs.push``).

    Returns:
        The checkpoint folder ``out / "model"``.

    Raises:
        RelViTError: ``out`` belongs to a run of another config; bad config; a loss that is not a number; before
            training, a repository that cannot be written to or is not ours.
    """
    from ..hub.cards import run_card  # what a card is made of takes a while to import
    from ..hub.results import of_training

    out = Path(out)
    if (out / "config.json").exists():
        before = read_json(out / "config.json")
        changed = [key for key, value in config.to_dict().items() if before.get(key) != value]
        if changed:
            raise RelViTError(
                f"{out} holds a run with another {', '.join(changed)}: name another folder with --out, or remove it"
            )
        if (out / "history.json").exists():
            if repo is not None:
                from ..hub.runs import push

                push(out, repo)
            return out / "model"
    else:
        write_json(out / "config.json", config.to_dict())

    model, processor = build_model(config)
    trainer = make_trainer(config, model, processor, out / "checkpoints", progress=progress, repo=repo)
    checkpoint = last_complete_checkpoint(out / "checkpoints")
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if trainer.is_world_process_zero():
        save_checkpoint(trainer.accelerator.unwrap_model(trainer.model), processor, out / "model")
        history = {
            "log": trainer.state.log_history,
            "provenance": provenance(seed=config.seed, config=config.to_dict(), micro_batch=trainer.images_at_once),
        }
        card = run_card(of_training(config.to_dict(), history, processor.fingerprint))
        with whole_file(out / "model" / "README.md") as temporary:
            temporary.write_text(str(card), encoding="utf-8")
        write_json(out / "history.json", history)
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
        if repo is not None:
            trainer.push_to_hub()
    trainer.accelerator.wait_for_everyone()
    return out / "model"


def make_trainer(
    config: TrainConfig,
    model,
    processor: PixelProcessor,
    checkpoints: Path,
    *,
    progress: bool = True,
    repo: str | None = None,
) -> RelViTTrainer:
    """The Trainer of a run: fresh or fixed training scenes, validation on the way."""
    scenes, objects = scene_geometry(config.geometry), config.open_objects()
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if config.batch_size % world:
        raise RelViTError(f"batch_size {config.batch_size} does not divide over {world} processes: choose a multiple")

    def scenes_of(split: str, n: int, length: int | None = None) -> SceneDataset:
        return SceneDataset(
            config.task,
            scenes,
            split,
            n,
            combinations=config.combinations,
            seed=config.seed,
            objects=objects,
            length=length,
            device=device if device.type == "cuda" else None,
        )

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
            config.schedule, config.schedule if config.schedule == "cosine" else "constant_with_warmup"
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
        push_to_hub=repo is not None,
        hub_model_id=repo,
        hub_strategy="end",
        hub_private_repo=True,
    )
    # The learning rate, not the data, decides how long an epoch is: the paper's 6,400 images also for fresh ones.
    device, n_block = arguments.device, 4096 if config.fresh else config.n_train
    training = scenes_of("train", n_block, config.steps * config.batch_size if config.fresh else None)
    if not config.fresh and device.type == "cuda" and 4 * training.pixel_bytes < torch.cuda.mem_get_info(device)[0]:
        training.keep(device)
    if config.compile:
        compile_blocks(model)
    return RelViTTrainer(
        model=model,
        args=arguments,
        train_dataset=training,
        eval_dataset={split: scenes_of(split, config.n_eval) for split in config.eval_splits},
        data_collator=RelViTCollator(processor, model.config.geometry, scenes, device),
        processing_class=processor,
        compute_metrics=lambda p: relational_accuracy(p.predictions, p.label_ids),
        exponential=config.schedule == "exponential",
        epoch_steps=max(config.n_train // config.batch_size, 1),
    )
