"""A data set that is not quite ours is evaluated, or refused in one line."""

import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Image, List, Value
from PIL import Image as Picture

from hf_relvit import (
    GEOMETRIES,
    Checkpoint,
    RelViTConfig,
    RelViTError,
    RelViTForImageClassification,
    evaluate,
    render,
    sample,
)
from hf_relvit.modeling.processing import PixelProcessor, default_processor


@pytest.fixture(scope="module")
def checkpoint():
    backbone = {
        "model_type": "vit",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "image_size": 64,
        "patch_size": 8,
    }
    torch.manual_seed(0)
    model = RelViTForImageClassification(RelViTConfig(backbone_config=backbone)).eval()
    return Checkpoint(model, PixelProcessor(default_processor(64), 64))


@pytest.fixture(scope="module")
def published():
    scenes = sample("discrimination", GEOMETRIES["quick"], "test", 16, combinations=128)
    columns = {
        "image": [Picture.fromarray(picture) for picture in render(scenes)],
        "label": scenes.label.tolist(),
        "difference": scenes.difference.tolist(),
        "relation": scenes.relation.tolist(),
    }
    number = List(Value("int64"))
    label = ClassLabel(names=["different", "same"])
    kinds = {"image": Image(), "label": label, "difference": number, "relation": number}
    return Dataset.from_dict(columns, features=Features(kinds))


def convert(data, mode):
    pictures = [picture.convert(mode) for picture in data["image"]]
    features = Features({"image": Image(), "label": data.features["label"]})
    return Dataset.from_dict({"image": pictures, "label": data["label"]}, features=features)


TAKEN = {
    "image and label alone": lambda data: data.select_columns(["image", "label"]),
    "labels": lambda data: data.rename_column("label", "labels"),
    "not decoded": lambda data: data.cast_column("image", Image(decode=False)),
    "with alpha": lambda data: convert(data, "RGBA"),
}


@pytest.mark.parametrize("change", TAKEN)
def test_what_means_the_same_gives_the_same(change, checkpoint, published):
    expected = evaluate(checkpoint, {"x": published}).set_index("condition").accuracy["all"]
    table = evaluate(checkpoint, {"x": TAKEN[change](published)}).set_index("condition")
    assert table.accuracy["all"] == expected


def test_gray_pictures_are_pictures(checkpoint, published):
    assert evaluate(checkpoint, {"x": convert(published, "L")}).n[0] == 16


REFUSED = {
    "no label": (lambda data: data.remove_columns("label"), "expected one called label or labels"),
    "no image": (lambda data: data.rename_column("image", "img"), "expected one called image"),
    "no rows": (lambda data: data.select([]), "'x' holds no scenes: expected at least one"),
    "other size": (
        lambda data: Dataset.from_dict({"image": [Picture.new("RGB", (96, 64))], "label": [1]}),
        "image of row 0 is 96 x 64 pixels for a model of 64 x 64",
    ),
}


@pytest.mark.parametrize("change", REFUSED)
def test_what_cannot_be_read_is_one_line(change, checkpoint, published):
    changed, message = REFUSED[change]
    with pytest.raises(RelViTError, match=message) as caught:
        evaluate(checkpoint, {"x": changed(published)})
    assert "\n" not in str(caught.value)
