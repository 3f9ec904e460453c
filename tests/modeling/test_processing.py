import errno
import json
import logging
import os
import shutil

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from hf_relvit.errors import RelViTError
from hf_relvit.modeling import RelViTConfig, RelViTForImageClassification, processing
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.modeling.processing import (
    PixelProcessor,
    default_processor,
    fit_processor,
    load_processor,
    processor_fingerprint,
)

SIZE = {"height": 32, "width": 32}


def processors():
    with processing._quiet_fallback():
        return {
            "vit": default_processor(32),
            "imagenet": default_processor(32, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            "clip": transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=SIZE),
            "siglip": transformers.SiglipImageProcessor(size=SIZE),
            "not normalized": transformers.ViTImageProcessor(size=SIZE, do_normalize=False),
            "not resized": transformers.ViTImageProcessor(do_resize=False),
            "enlarged and cropped": transformers.BitImageProcessor(
                size={"shortest_edge": 40}, crop_size=SIZE
            ),
        }


FITTING = [name for name in processors() if name != "enlarged and cropped"]


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def model(backbone):
    return RelViTForImageClassification(RelViTConfig(backbone_config=backbone("vit"))).eval()


@pytest.mark.parametrize("name", FITTING)
def test_pixels_equal_those_of_the_processor_bit_for_bit(name, images):
    processor = processors()[name]
    expected = processor(images=list(images), return_tensors="pt")["pixel_values"].float()
    pixels = PixelProcessor(processor, 32)
    for given in (images, torch.from_numpy(images)):
        out = pixels(given)
        assert out.dtype == torch.float32 and out.is_contiguous()
        assert torch.equal(out, expected)
    assert fit_processor(processor, 32) is processor


def test_a_processor_that_moves_pixels_is_refused_and_can_be_replaced(images):
    processor = processors()["enlarged and cropped"]
    with pytest.raises(
        RelViTError, match=r"changes images of 32 pixels.*use fit_processor\(processor, 32\)"
    ):
        PixelProcessor(processor, 32)
    with pytest.raises(RelViTError, match="changes images of 48 pixels"):
        PixelProcessor(default_processor(32), 48)
    fitted = PixelProcessor(fit_processor(processor, 32), 32)
    mean, std = (np.array(x) for x in (processor.image_mean, processor.image_std))
    np.testing.assert_allclose(
        fitted(images)[0].permute(1, 2, 0), (images[0] / 255 - mean) / std, atol=1e-6
    )


@pytest.mark.parametrize("bad", [np.zeros((2, 32, 32, 3)), np.zeros((2, 16, 16, 3), np.uint8)])
def test_other_images_are_refused(bad):
    with pytest.raises(RelViTError, match=r"expected uint8 \(batch, 32, 32, 3\)"):
        PixelProcessor(default_processor(32), 32)(bad)


def test_fingerprint_follows_what_changes_pixels(tmp_path):
    found = {name: processor_fingerprint(p) for name, p in processors().items()}
    assert found.pop("siglip") == found["vit"]  # another class, the same pixels
    assert len(set(found.values())) == len(found)
    processor = processors()["clip"]
    processor.save_pretrained(tmp_path)
    assert (
        processor_fingerprint(load_processor(tmp_path))
        == processor_fingerprint(processor)
        == found["clip"]
    )


def test_dinov3_processor_opens_without_torchvision(tmp_path):
    settings = {
        "image_processor_type": "DINOv3ViTImageProcessorFast",
        "size": SIZE,
        "image_mean": [0.1, 0.2, 0.3],
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    processor = load_processor(tmp_path)
    assert PixelProcessor(processor, 32).image_processor.image_mean == (0.1, 0.2, 0.3)


def test_checkpoint_round_trip(tmp_path, model, images):
    processor = PixelProcessor(processors()["clip"], 32)
    for _ in range(2):  # the second replaces the first
        Checkpoint(model, processor).save(tmp_path / "model")
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    again, pixels = Checkpoint.open(tmp_path / "model")
    assert not again.training and again.dtype == torch.float32
    assert again.config.processor_fingerprint == processor.fingerprint == pixels.fingerprint
    assert torch.equal(again(pixels(images)).logits, model(processor(images)).logits)


def test_transformers_pipeline_opens_a_saved_folder(tmp_path, model, images):
    Checkpoint(model, default_processor(32)).save(tmp_path / "model")
    classify = transformers.pipeline(
        "image-classification", model=str(tmp_path / "model"), device="cpu"
    )
    answer = {a["label"]: a["score"] for a in classify(Image.fromarray(images[0]))}
    scores = model(PixelProcessor(default_processor(32), 32)(images[:1])).logits.softmax(-1)[0]
    assert answer == pytest.approx(
        {"different": scores[0].item(), "same": scores[1].item()}, abs=1e-6
    )


def test_half_precision_checkpoint_opens_in_float32(tmp_path, model):
    Checkpoint(model.bfloat16(), default_processor(32)).save(tmp_path / "model")
    assert Checkpoint.open(tmp_path / "model").dtype == torch.float32


def test_ordinary_classifier_opens(tmp_path, model, images):
    model.to_plain().save_pretrained(tmp_path)
    processors()["enlarged and cropped"].save_pretrained(tmp_path)
    again, pixels = Checkpoint.open(tmp_path)
    assert isinstance(again, RelViTForImageClassification)
    assert torch.equal(again(pixels(images)).logits, model(pixels(images)).logits)


def saved(folder, model):
    Checkpoint(model, default_processor(32)).save(folder)
    return folder


def edit(path, **changes):
    values = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in (values | changes).items() if v is not None}))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: truncate(f / "model.safetensors"), "cannot open the checkpoint"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "cannot open the checkpoint"),
        (
            lambda f: (f / "model.safetensors").unlink(),
            "has no model.safetensors: expected safetensors",
        ),
        (lambda f: (f / "config.json").unlink(), "cannot open the checkpoint"),
        (lambda f: (f / "config.json").write_text("{"), "cannot open the checkpoint"),
        (
            lambda f: edit(f / "config.json", model_type="resnet"),
            "expected a same/different classifier",
        ),
        (
            lambda f: edit(f / "config.json", id2label={"0": "same", "1": "different"}),
            "exchange the rows of the head",
        ),
        (
            lambda f: edit(f / "config.json", disentanglement={"layer": 1}),
            "lack tensors, 4 in all, first disentanglement",
        ),
        (
            lambda f: edit(f / "config.json", head_bias=False),
            "have unknown tensors, 1 in all, first classifier.bias",
        ),
        (
            lambda f: edit(f / "config.json", readout="cls_mean"),
            "have misshapen tensors, 1 in all, first class",
        ),
        (lambda f: (f / "preprocessor_config.json").unlink(), "no image processor in"),
        (
            lambda f: edit(f / "preprocessor_config.json", image_mean=[0.4, 0.5, 0.5]),
            "trained with",
        ),
        (lambda f: shutil.rmtree(f), "cannot open the checkpoint"),
    ],
)
def test_damaged_checkpoints_are_one_line_errors(tmp_path, model, damage, message):
    folder = saved(tmp_path / "model", model)
    damage(folder)
    with pytest.raises(RelViTError, match=message) as error:
        Checkpoint.open(folder)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200 + 3 * len(str(tmp_path))


class FullDisk(PixelProcessor):
    def save_pretrained(self, folder):
        raise OSError(errno.ENOSPC, "No space left on device")


class Interrupted(PixelProcessor):
    def save_pretrained(self, folder):
        raise KeyboardInterrupt


def test_a_failed_save_leaves_the_old_checkpoint_and_nothing_else(tmp_path, model, monkeypatch):
    folder = saved(tmp_path / "model", model)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(RelViTError, match="No space left on device; free some space"):
        Checkpoint(model, FullDisk(default_processor(32), 32)).save(folder)
    with pytest.raises(KeyboardInterrupt):
        Checkpoint(model, Interrupted(default_processor(32), 32)).save(folder)
    replace = os.replace

    def replace_once(source, target):
        if ".partial" in str(source):
            raise OSError(errno.EIO, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace_once)
    with pytest.raises(RelViTError, match="Input/output error"):
        Checkpoint(model, default_processor(32)).save(folder)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_the_torchvision_message_is_silenced_alone():
    logger = logging.getLogger("transformers.utils.import_utils")
    said = []
    handler = logging.Handler()  # of its own: transformers' messages need not reach the root logger
    handler.emit = lambda record: said.append(record.getMessage())
    logger.addHandler(handler)
    with processing._quiet_fallback():
        logger.warning("`X` requires torchvision (not installed); falling back")
        logger.warning("something else")
    logger.warning("`Y` requires torchvision, said afterwards")
    logger.removeHandler(handler)
    assert said == ["something else", "`Y` requires torchvision, said afterwards"]
