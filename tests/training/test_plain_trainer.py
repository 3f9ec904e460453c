"""transformers' own Trainer with our model: it trains with all losses, or says in one line what it keeps back."""

import pytest
from tiny_trainer import LOSSES, SCENES, rows, tiny_checkpoint, tiny_trainer
from torch.nn.functional import cross_entropy
from transformers import Trainer

from hf_relvit.errors import RelViTError
from hf_relvit.training.data import RelViTCollator, SceneDataset

PIPELINE = {"within_object": [0], "within_pair": [1]}
BOTH = {**LOSSES, "pipeline": PIPELINE}
KEEPS_LABELS = {
    "label_smoothing_factor": dict(label_smoothing_factor=0.1),
    "compute_loss_func": dict(
        keywords={
            "compute_loss_func": lambda outputs, labels, **_: cross_entropy(outputs.logits, labels)
        }
    ),
}


def trained(folder, checkpoint, **settings):
    settings = dict(max_steps=1, save_strategy="no", eval_strategy="no") | settings
    trainer = tiny_trainer(folder, kind=Trainer, checkpoint=checkpoint, **settings)
    trainer.train()
    return trainer


def first_loss(trainer):
    return rows(trainer)[0]["loss"]


@pytest.mark.parametrize("patches", [True, False])
@pytest.mark.parametrize("losses", [LOSSES, {"pipeline": PIPELINE}, BOTH])
@pytest.mark.parametrize("keeper", KEEPS_LABELS)
def test_auxiliary_losses_do_not_vanish_without_a_word(tmp_path, keeper, losses, patches):
    checkpoint = tiny_checkpoint(**losses)
    settings = dict(KEEPS_LABELS[keeper])
    if not patches:
        collate = RelViTCollator(checkpoint.processor, checkpoint.geometry)

        def bare(batch):
            return {key: collate(batch)[key] for key in ("pixel_values", "labels")}

        settings["keywords"] = settings.get("keywords", {}) | {"data_collator": bare}
    with pytest.raises(
        RelViTError, match=r"a training step without labels.*label_smoothing_factor"
    ):
        trained(tmp_path, checkpoint, **settings)


def test_without_smoothing_they_are_part_of_the_loss(tmp_path):
    plain = first_loss(trained(tmp_path, tiny_checkpoint(disentanglement=None)))
    both = first_loss(trained(tmp_path, tiny_checkpoint(**BOTH)))
    assert plain < 1
    assert both > 5  # the shape's and the color's 16 classes: 2 log 16


@pytest.mark.parametrize("key", ["start_epoch", "stop_epoch"])
def test_stages_that_start_or_stop_need_the_epoch(tmp_path, key):
    """Trainer tells no model its epoch: all stages would count all the time."""
    checkpoint = tiny_checkpoint(pipeline={**PIPELINE, key: {"within_object": 0.01}})
    with pytest.raises(RelViTError, match="a training step without epoch"):
        trained(tmp_path, checkpoint)


@pytest.mark.parametrize("keeper", KEEPS_LABELS)
def test_a_model_of_the_task_loss_alone_trains_as_any_classifier(tmp_path, keeper):
    checkpoint = tiny_checkpoint(disentanglement=None)
    batch = RelViTCollator(checkpoint.processor, checkpoint.geometry)(
        SceneDataset(SCENES, "train", 64).__getitems__(list(range(16)))
    )
    logits = checkpoint.model.train()(batch["pixel_values"]).logits
    smooth = KEEPS_LABELS[keeper].get("label_smoothing_factor", 0)
    expected = cross_entropy(logits, batch["labels"], label_smoothing=smooth).item()
    trainer = trained(tmp_path, checkpoint, **KEEPS_LABELS[keeper])
    assert first_loss(trainer) == pytest.approx(expected, rel=1e-5)


def test_accumulated_pieces_are_means(tmp_path):
    whole = trained(tmp_path, tiny_checkpoint(**LOSSES))
    settings = dict(per_device_train_batch_size=4, gradient_accumulation_steps=4)
    pieces = trained(tmp_path, tiny_checkpoint(**LOSSES), **settings)
    assert first_loss(pieces) == pytest.approx(first_loss(whole), rel=0.01)
