"""Arguments of Trainer that once changed a training without a word, and data sets with other names."""

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Image, List, Value
from PIL import Image as Picture
from tiny import TINY
from transformers import TrainingArguments

from hf_relvit.analysis.activations import Site
from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.modeling.configuration_relvit import RelViTConfig
from hf_relvit.stimuli.distribution import SceneDistribution
from hf_relvit.training.config import TrainConfig
from hf_relvit.training.data import PublishedScenes, RelViTCollator, SceneDataset
from hf_relvit.training.evaluation import evaluate
from hf_relvit.training.run import build_model
from hf_relvit.training.trainer import RelViTTrainer

SCENES = SceneDistribution("discrimination", GEOMETRIES["quick"], 128)


def trained(folder, data=None, batch=32, evaluated=None, **arguments):
    """One step of plain gradient descent, and the trainer that did it."""
    checkpoint = build_model(TrainConfig(**TINY, disentanglement={"layer": 1}))
    settings = TrainingArguments(
        str(folder),
        max_steps=1,
        per_device_train_batch_size=batch,
        optim="sgd",
        learning_rate=0.1,
        max_grad_norm=0,
        lr_scheduler_type="constant",
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        logging_steps=1,
        save_strategy="no",
        remove_unused_columns=False,
        label_names=["labels"],
        train_sampling_strategy="sequential",
        **arguments,
    )
    trainer = RelViTTrainer(
        model=checkpoint.model,
        args=settings,
        train_dataset=SceneDataset(SCENES, "train", 64) if data is None else data,
        eval_dataset=evaluated,
        epoch_steps=1,
        data_collator=RelViTCollator(checkpoint.processor, checkpoint.geometry),
    )
    before = torch.cat([p.detach().flatten() for p in checkpoint.model.parameters()])
    trainer.train()
    after = torch.cat([p.detach().flatten() for p in checkpoint.model.parameters()])
    return trainer, (after - before).norm().item()


def logged(trainer, name):
    return next(row[name] for row in trainer.state.log_history if name in row)


def test_accumulated_pieces_are_one_step(tmp_path):
    whole, step = trained(tmp_path / "whole", batch=32)
    pieces, steps = trained(tmp_path / "pieces", batch=8, gradient_accumulation_steps=4)
    assert steps == pytest.approx(step, rel=0.01)
    for name in ("loss", "task_loss", "disentanglement_loss"):
        assert logged(pieces, name) == pytest.approx(logged(whole, name), rel=0.01)


def test_label_smoothing_acts_on_the_task_loss_alone(tmp_path):
    plain, _ = trained(tmp_path / "plain")
    smooth, _ = trained(tmp_path / "smooth", label_smoothing_factor=0.4)
    terms = ("disentanglement_loss",)
    assert [logged(smooth, t) for t in terms] == pytest.approx([logged(plain, t) for t in terms])
    assert logged(smooth, "task_loss") != pytest.approx(logged(plain, "task_loss"), abs=1e-4)
    task, auxiliary = (logged(smooth, name) for name in ("task_loss", "disentanglement_loss"))
    assert logged(smooth, "loss") == pytest.approx(task + auxiliary, rel=1e-4)


def published(names=None, column="label"):
    scenes = SCENES.sample("test", 16)
    pictures = [Picture.fromarray(picture) for picture in scenes.pixels()]
    labels = scenes.label.astype(int)
    if names:
        labels = np.array([names.index(("different", "same")[label]) for label in labels])
    number = Value("int64")
    features = {"image": Image(), column: ClassLabel(names=names) if names else number}
    features |= {"difference": List(number), "relation": List(number)}
    columns = {"image": pictures, column: labels, "difference": scenes.difference.astype(int)}
    columns["relation"] = scenes.relation.astype(int)
    return Dataset.from_dict(columns, features=Features(features)), scenes.label


@pytest.mark.parametrize("column", ["label", "labels"])
@pytest.mark.parametrize("names", [None, ["different", "same"], ["same", "different"]])
def test_labels_are_read_by_name(names, column):
    data, label = published(names, column)
    np.testing.assert_array_equal(PublishedScenes(data).label, label)


def test_classes_of_other_names_and_no_labels_are_one_line():
    data, _ = published(["different", "same"])
    renamed = data.cast_column("label", ClassLabel(names=["cat", "dog"]))
    with pytest.raises(RelViTError, match="labels cat, dog in column 'label': expected"):
        _ = PublishedScenes(renamed).label
    with pytest.raises(RelViTError, match="expected one called label or labels"):
        _ = PublishedScenes(data.remove_columns("label")).label


DAMAGES = {
    "no pictures": lambda data: data.remove_columns("image"),
    "pictures of another name": lambda data: data.rename_column("image", "img"),
    "no labels": lambda data: data.remove_columns("label"),
    "labels as text": lambda data: data.cast_column("label", Value("string")),
    "a text for the difference": lambda data: data.map(lambda row: {"difference": "shape"}),
    "no rows": lambda data: data.select([]),
    "no dataset": lambda data: [1, 2],
    "pictures of another size": lambda data: data.map(
        lambda row: {"image": row["image"].resize((32, 32))}
    ),
}


@pytest.fixture(scope="module")
def untrained():
    return build_model(TrainConfig(**TINY))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_data_set_that_lacks_something_is_refused_in_one_line(damage, untrained):
    data, _ = published(["different", "same"])
    with pytest.raises(RelViTError) as error:
        evaluate(untrained, {"test": DAMAGES[damage](data)})
    assert "\n" not in str(error.value)


def test_pictures_and_labels_alone_can_be_evaluated(untrained):
    data, _ = published(["different", "same"])
    whole = evaluate(untrained, {"test": data})
    alone = evaluate(untrained, {"test": data.select_columns(["image", "label"])})
    assert list(alone.condition) == ["all"]
    assert alone.accuracy[0] == whole.accuracy[whole.condition == "all"].item()


def rows(column):
    scenes = SCENES.sample("train", 32)
    labels = {} if column is None else {column: scenes.label.astype(int)}
    pictures = [Picture.fromarray(picture) for picture in scenes.pixels()]
    patches = {"patches": scenes.patches(), "shape": scenes.shape, "color": scenes.color}
    return Dataset.from_dict({"image": pictures, **labels, **patches})


@pytest.mark.parametrize("column", ["label", "labels"])
def test_a_data_set_of_ones_own_trains_by_either_name(tmp_path, column):
    trainer, step = trained(tmp_path, rows(column), batch=16)
    assert step > 0
    assert np.isfinite(logged(trainer, "loss"))


def test_a_data_set_without_labels_is_one_line(tmp_path):
    with pytest.raises(RelViTError, match="and no labels: expected a column called label or"):
        trained(tmp_path, rows(None), batch=16)


def test_integers_of_numpy_are_integers():
    assert Site("resid_post", np.int64(1)) == Site("resid_post", 1)
    backbone = TINY["backbone"] | {"image_size": 64, "patch_size": 8}
    pipeline = {"within_object": list(np.arange(2)), "heads": list(np.arange(1))}
    config = RelViTConfig(
        backbone_config=backbone, disentanglement={"layer": np.int64(1)}, pipeline=pipeline
    )
    assert config.disentanglement["layer"] == 1
    assert config.to_json_string()


@pytest.mark.parametrize("split", ["train", "eval", "named eval"])
def test_a_training_set_of_the_other_order_is_refused_with_the_cure(tmp_path, split):
    """The collator sees numbers only: trained as they are, the model would learn the opposite."""
    right = rows("label").cast_column("label", ClassLabel(names=["different", "same"]))
    wrong = rows("label").cast_column("label", ClassLabel(names=["same", "different"]))
    evaluated = {"eval": wrong, "named eval": {"own": wrong}}.get(split)
    with pytest.raises(RelViTError, match="align_labels_with_mapping"):
        trained(tmp_path, wrong if split == "train" else right, batch=16, evaluated=evaluated)
    cured = wrong.align_labels_with_mapping({"different": 0, "same": 1}, "label")
    _, step = trained(tmp_path, cured, batch=16)
    assert step > 0
