"""A Trainer, ours or the plain one, on a tiny model and scenes drawn on the fly: four steps of sixteen images."""

from __future__ import annotations

from tiny import TINY
from transformers import Trainer, TrainingArguments

from hf_relvit.geometry import GEOMETRIES
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.stimuli.distribution import SceneDistribution
from hf_relvit.training.config import TrainConfig
from hf_relvit.training.data import RelViTCollator, SceneDataset
from hf_relvit.training.metrics import relational_accuracy
from hf_relvit.training.run import build_model
from hf_relvit.training.trainer import RelViTTrainer

SCENES = SceneDistribution("discrimination", GEOMETRIES["quick"], 128)
LOSSES = {"disentanglement": {"layer": 1}}
ARGUMENTS = dict(
    max_steps=4,
    per_device_train_batch_size=16,
    per_device_eval_batch_size=32,
    use_cpu=True,
    report_to="none",
    disable_tqdm=True,
    logging_steps=1,
    save_strategy="steps",
    save_steps=2,
    eval_strategy="steps",
    eval_steps=2,
    train_sampling_strategy="sequential",
    remove_unused_columns=False,
)


def accuracy(prediction):
    return relational_accuracy(prediction.predictions, prediction.label_ids)


def tiny_checkpoint(**losses) -> Checkpoint:
    return build_model(TrainConfig(**TINY, **(losses or LOSSES)))


def tiny_trainer(
    folder, *, kind=RelViTTrainer, checkpoint=None, wrap=None, keywords=None, **arguments
):
    """The Trainer of an argument's test.

    Args:
        folder: for checkpoints.
        kind: the class.
        checkpoint: model and processor; by default one with the disentanglement loss.
        wrap: what to put around the model.
        keywords: of the class, instead of those that stand here.
        arguments: of TrainingArguments, instead of ``ARGUMENTS``.
    """
    model, processor = checkpoint or tiny_checkpoint()
    given = dict(
        model=wrap(model) if wrap else model,
        args=TrainingArguments(str(folder), **(ARGUMENTS | arguments)),
        train_dataset=SceneDataset(SCENES, "train", 64),
        eval_dataset=SceneDataset(SCENES, "validation", 32),
        data_collator=RelViTCollator(processor, model.config.geometry),
        compute_metrics=accuracy,
    )
    if issubclass(kind, RelViTTrainer):
        given["epoch_steps"] = 4
    return kind(**(given | (keywords or {})))


def weights(trainer: Trainer):
    return {name: value.detach().clone() for name, value in trainer.model.state_dict().items()}


def rows(trainer: Trainer):
    """Of the log, what does not depend on the clock."""
    timed = ("runtime", "per_second")
    history = trainer.state.log_history
    return [{key: row[key] for key in row if not key.endswith(timed)} for row in history]
