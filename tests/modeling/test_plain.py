import pytest
import torch
import transformers

from hf_relvit.errors import RelViTError
from hf_relvit.modeling import FAMILIES, RelViTConfig, RelViTForImageClassification

CASES = [(family, readout) for family in sorted(FAMILIES) for readout in FAMILIES[family].plain]


def logits_of(plain, images):
    out = plain.eval()(images)
    return out.image_embeds if "image_embeds" in out else out.logits


@pytest.mark.parametrize(("family", "readout"), CASES)
def test_plain_model_has_the_same_logits_and_comes_back(
    tmp_path, family, readout, backbone, batch, spread
):
    config = RelViTConfig(backbone_config=backbone(family), readout=readout)
    model = spread(RelViTForImageClassification(config)).eval()
    images = batch()["pixel_values"]
    expected = model(images).logits
    plain = model.to_plain()
    assert type(plain).__name__ == FAMILIES[family].plain[readout]
    assert type(plain).__module__.startswith("transformers.models")
    torch.testing.assert_close(logits_of(plain, images), expected, atol=1e-6, rtol=0)

    plain.save_pretrained(tmp_path)
    again = getattr(transformers, type(plain).__name__).from_pretrained(tmp_path)
    torch.testing.assert_close(logits_of(again, images), expected, atol=1e-6, rtol=0)
    assert again.config.id2label == {0: "different", 1: "same"}

    back = RelViTForImageClassification.from_plain(again)
    torch.testing.assert_close(back.eval()(images).logits, expected, atol=1e-6, rtol=0)
    assert back.config.readout == readout


def test_automatic_interpolation_needs_no_argument(backbone):
    config = RelViTConfig(backbone_config=backbone("dinov2"), image_size=48)
    model = RelViTForImageClassification(config).eval()
    images = torch.randn(2, 3, 48, 48)
    torch.testing.assert_close(
        model.to_plain()(images).logits, model(images).logits, atol=1e-6, rtol=0
    )


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("dinov3_vit", {}, "no plain class for dinov3_vit with readout 'cls'"),
        ("siglip_vision_model", {}, "no plain class for siglip_vision_model with readout 'map'"),
        ("vit", {"readout": "mean"}, "no plain class for vit with readout 'mean'"),
        (
            "vit",
            {"image_size": 48},
            "ViTForImageClassification cannot interpolate from 32 to 48 pixels",
        ),
        (
            "clip_vision_model",
            {"head_bias": True},
            "CLIPVisionModelWithProjection has no bias in its head",
        ),
    ],
)
def test_cases_without_a_plain_class_name_the_remote_code_path(family, changes, message, backbone):
    model = RelViTForImageClassification(RelViTConfig(backbone_config=backbone(family), **changes))
    with pytest.raises(RelViTError, match=message) as error:
        model.to_plain()
    assert "trust_remote_code=True" in str(error.value)


def test_only_same_different_classifiers_come_back(backbone):
    imagenet = transformers.ViTForImageClassification(backbone("vit", num_labels=1000))
    with pytest.raises(RelViTError, match="checkpoint labels are 1000 classes") as error:
        RelViTForImageClassification.from_plain(imagenet)
    assert len(str(error.value)) < 300
    with pytest.raises(RelViTError, match="ViTModel is no classifier"):
        RelViTForImageClassification.from_plain(transformers.ViTModel(backbone("vit")))
