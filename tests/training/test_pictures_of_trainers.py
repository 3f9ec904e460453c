"""A Trainer's own loader decodes pictures after the checks of everything else that reads them."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Image, Value
from PIL import Image as Picture
from transformers import TrainingArguments

from hf_relvit.errors import RelViTError
from hf_relvit.training.config import TrainConfig, vit
from hf_relvit.training.data import RelViTCollator
from hf_relvit.training.run import build_model
from hf_relvit.training.trainer import RelViTTrainer

PIXELS = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
WHOLE = Picture.fromarray(PIXELS)


def encoded(picture, kind="PNG") -> bytes:
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


def dataset(*contents: bytes) -> Dataset:
    rows = [{"bytes": content, "path": None} for content in contents]
    stored = {"bytes": Value("binary"), "path": Value("string")}
    features = Features({"image": stored, "label": Value("int64")})
    data = Dataset.from_dict({"image": rows, "label": [0] * len(rows)}, features=features)
    return data.cast_column("image", Image())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    checkpoint = build_model(TrainConfig(backbone=vit(2, 32, 2), combinations=32))
    arguments = TrainingArguments(
        str(tmp_path_factory.mktemp("run")),
        use_cpu=True,
        max_steps=1,
        per_device_train_batch_size=2,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
    )
    collator = RelViTCollator(checkpoint.processor, checkpoint.geometry)
    return SimpleNamespace(model=checkpoint.model, arguments=arguments, collator=collator)


def trainer(world, data) -> RelViTTrainer:
    return RelViTTrainer(
        world.model,
        world.arguments,
        data_collator=world.collator,
        train_dataset=data,
        eval_dataset=data,
        epoch_steps=1,
    )


BROKEN = {
    "empty": (b"", "does not open"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "does not open"),
    "cut off": (encoded(WHOLE)[:3000], "is broken|does not open"),
    "other size": (encoded(WHOLE.crop((0, 0, 64, 32))), "is 64 x 32 pixels for a model of 64"),
    "large": (encoded(Picture.new("1", (5000, 5000))), "is 5000 x 5000 pixels"),
}
USES = {
    "train": lambda used: used.train(),
    "evaluate": lambda used: used.evaluate(),
    "evaluate other data": lambda used: used.evaluate(used.train_dataset),
    "predict": lambda used: used.predict(used.train_dataset),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("fault", BROKEN)
def test_a_picture_that_cannot_be_used(trained, fault, use):
    content, message = BROKEN[fault]
    with pytest.raises(RelViTError, match=message) as caught:
        USES[use](trainer(trained, dataset(encoded(WHOLE), content)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "CMYK", "LA"])
def test_a_batch_is_that_of_an_evaluation(trained, mode):
    kind = "TIFF" if mode == "CMYK" else "PNG"
    data = dataset(encoded(WHOLE.convert(mode), kind), encoded(WHOLE))
    (batch,) = trainer(trained, data).get_eval_dataloader()
    decoded = trained.collator([data[row] for row in range(2)])
    torch.testing.assert_close(batch["pixel_values"], decoded["pixel_values"], rtol=0, atol=0)
    assert batch["pixel_values"].shape == (2, 3, 64, 64)


def test_a_transformation_of_the_user_gets_pictures(trained):
    def turned(rows):
        return {**rows, "image": [picture.rotate(90) for picture in rows["image"]]}

    data = dataset(encoded(WHOLE), encoded(WHOLE)).with_transform(turned)
    (batch,) = trainer(trained, data).get_eval_dataloader()
    expected = trained.collator([{"image": WHOLE.rotate(90), "label": 0}])
    torch.testing.assert_close(batch["pixel_values"][:1], expected["pixel_values"])
