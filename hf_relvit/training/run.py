"""A training run from a config to a checkpoint folder, resumable at any moment."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from functools import partial
from pathlib import Path

from transformers import set_seed
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..errors import RelViTError, RelViTWarning
from ..files import file_lock, full_disk_told, tidy_after_kill, write_json
from ..modeling import RelViTConfig, RelViTForImageClassification
from ..modeling.checkpoints import Checkpoint, check_saves
from ..modeling.processing import PixelProcessor, default_processor, fit_processor, load_processor
from ..owned import check_empty, check_replaceable, clear_partials, remove_noted, remove_ours
from ..places import check_out
from ..progress import library_bars
from ..provenance import provenance
from .config import TrainConfig, comparable
from .launcher import is_main_process
from .precision import BF16, FLOAT32, trains_in_bf16
from .resolved import head_settings, resolved, scratch_backbone
from .setup import make_trainer, training_arguments
from .trainer import last_complete_checkpoint
from .training_folder import TrainingFolder

# Of pixels on the 0 to 1 scale. Most of a scene is white, so ImageNet's would leave the objects a faint signal.
STIMULUS_MEAN = (0.97,) * 3
STIMULUS_SPREAD = (0.15,) * 3
_MUCH = 10
"""Images in evaluations per image of training. Our choice: the paper has 5."""


def build_model(config: TrainConfig) -> Checkpoint:
    """The model before training, and its processor.

    Raises:
        RelViTError: a backbone whose geometry is not the scenes', unknown backbone or loss settings.
    """
    scenes = config.distribution().geometry
    extra = head_settings(config)
    set_seed(config.seed)
    if isinstance(config.backbone, str):
        with library_bars():
            model = RelViTForImageClassification.from_backbone(config.backbone, **extra)
        processor = fit_processor(load_processor(config.backbone), scenes.image_size)
    else:
        backbone = scratch_backbone(config.backbone, scenes)
        model = RelViTForImageClassification(RelViTConfig(backbone_config=backbone, **extra))
        processor = default_processor(scenes.image_size, STIMULUS_MEAN, STIMULUS_SPREAD)
    model.config.geometry.check(scenes)
    processor = PixelProcessor(processor, scenes.image_size)
    model.config.trained_in = BF16 if trains_in_bf16(config) else FLOAT32
    model.config.processor_fingerprint = processor.fingerprint
    model.config.scenes = {
        "task": config.task,
        "geometry": config.styled_geometry,
        "combinations": config.combinations,
    }
    if config.objects is not None:
        model.config.scenes["objects"] = config.open_objects().fingerprint()
    return Checkpoint(model, processor)


def train(config: TrainConfig, out: Path, *, progress: bool = True) -> TrainingFolder:
    """Train, or finish an interrupted training, or find it finished.

    Nothing is written before all settings are checked, so that a mistake does not claim the folder. A run goes on with
    the precision that it began with; a tracker, gradient checkpointing and others that do not change the trained
    weights (``arguments.FREE``) may be set anew.

    Args:
        config: of the run.
        out: its folder, see ``TrainingFolder``.
        progress: show a bar.

    Returns:
        The folder, with the trained checkpoint in ``.model``.

    Raises:
        RelViTError: ``out`` belongs to a run of another config, or another process trains in it, or it holds files of
            somebody else under the names of ours; bad config; a loss that is not a number; a full disk.
    """
    folder = TrainingFolder(check_out(out))
    if not folder.config_file.exists():
        _check_free(folder)
    config = _resumed(folder, config)
    if folder.history_file.exists():
        if is_main_process():
            tidy_after_kill(folder.checkpoints, partial(_remove_checkpoints, folder))
        return folder
    checkpoint = build_model(config)
    training_arguments(config, folder.checkpoints)  # refuses what Trainer would
    # The other processes of one training come with the first.
    lock = file_lock(folder.checkpoints) if is_main_process() else contextlib.nullcontext()
    if is_main_process():
        _tell_of_long_evaluations(config)
    with lock, full_disk_told(folder.path):
        _train(config, checkpoint, folder, progress)
    return folder


def _tell_of_long_evaluations(config: TrainConfig) -> None:
    """Presets of the paper evaluate for its 1,280,000 images; with far fewer a run would do little else."""
    if config.evaluated > _MUCH * config.images:
        warnings.warn(
            f"{config.evaluations} evaluations of {config.n_eval:,} scenes of {len(config.eval_splits)} splits see "
            f"{config.evaluated / config.images:.0f} times as many images as training: for a short run choose "
            "--evaluations 4 --n-eval 256, or the preset adapters",
            RelViTWarning,
            stacklevel=3,
        )


def _train(
    config: TrainConfig, checkpoint: Checkpoint, folder: TrainingFolder, progress: bool
) -> None:
    trainer = make_trainer(config, checkpoint, folder.checkpoints, progress=progress)
    main = trainer.is_world_process_zero()
    if main:
        write_json(folder.config_file, config.to_dict(), owned=True)
        clear_partials(folder.path)
    last = last_complete_checkpoint(folder.checkpoints)
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    if main:
        model = trainer.accelerator.unwrap_model(trainer.model)
        trained = Checkpoint(model, checkpoint.processor)
        if config.lora is None:
            trained.save(folder.model)
        else:
            trained.save_adapter(folder.model, model, str(config.backbone))
        facts = provenance(
            seed=config.seed, config=config.to_dict(), micro_batch=trainer.images_at_once
        )
        log = {"log": trainer.state.log_history, "provenance": facts}
        write_json(folder.history_file, log, owned=True)
        _remove_checkpoints(folder)
    trainer.accelerator.wait_for_everyone()


def _remove_checkpoints(folder: TrainingFolder) -> None:
    for saved in folder.checkpoints.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        remove_noted(saved)
    remove_ours(folder.checkpoints, ())  # if it is empty now


def _check_free(folder: TrainingFolder) -> None:
    """Raise RelViTError if a new run would meet somebody else's files."""
    check_replaceable(folder.path, [folder.history_file.name])
    check_saves(folder.model)
    check_replaceable(folder.model, [folder.card.name])
    check_empty(folder.checkpoints)


def _resumed(folder: TrainingFolder, config: TrainConfig) -> TrainConfig:
    """The settings, resolved; those of the run in the folder if there is one, where it leaves the choice.

    Raises:
        RelViTError: the folder holds a run with other settings.
    """
    if not folder.config_file.exists():
        return resolved(config)
    before = folder.settings()
    if config.bf16 is None:
        config = dataclasses.replace(config, bf16=before.bf16)
    wanted = resolved(config)
    if before.bf16 is None:  # of a version that did not write it down
        before = dataclasses.replace(before, bf16=wanted.bf16)
    earlier = comparable(resolved(before).to_dict())
    now = comparable(wanted.to_dict())
    changed = [key for key in {**earlier, **now} if earlier.get(key) != now.get(key)]
    if changed:
        raise RelViTError(
            f"{folder.path} holds a run with another {', '.join(changed)}: name another folder with --out, or remove "
            "it",
            page="other-settings",
        )
    return wanted
