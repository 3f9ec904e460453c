import json

import pytest
import torch
import transformers
from transformers import (
    AutoModel,
    AutoModelForImageClassification,
    CLIPConfig,
    SiglipConfig,
    ViTMAEConfig,
)

from hf_relvit.errors import RelViTError
from hf_relvit.modeling import FAMILIES, RelViTConfig, RelViTForImageClassification, RelViTModel

BOTH = {
    "disentanglement": {"layer": 1},
    "pipeline": {"within_object": [0], "within_pair": [1], "between_pair": [1]},
}
READOUTS = [
    (family, readout) for family in sorted(FAMILIES) for readout in FAMILIES[family].readouts
]


def checkpointing(model):
    """Activation checkpointing by the name that this version of transformers gives it."""
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    return model


@pytest.mark.parametrize(("family", "readout"), READOUTS)
def test_forward_backward_save_reload(tmp_path, backbone, batch, family, readout):
    config = RelViTConfig(backbone_config=backbone(family), readout=readout, **BOTH)
    model = RelViTForImageClassification(config).train()
    inputs = batch()
    out = model(**inputs, epoch=0.5)
    assert out.logits.shape == (3, 2)
    assert out.hidden_states is None and out.attentions is None
    torch.testing.assert_close(
        out.loss, out.task_loss + out.disentanglement_loss + out.pipeline_loss
    )
    out.loss.backward()
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert not [
        name for name, p in trainable.items() if p.grad is None
    ]  # DistributedDataParallel would complain

    model.eval().save_pretrained(tmp_path)
    again = AutoModelForImageClassification.from_pretrained(tmp_path)
    assert type(again) is RelViTForImageClassification
    assert again.state_dict().keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert {name for name, p in again.named_parameters() if p.requires_grad} == set(trainable)
    images = inputs["pixel_values"]
    assert torch.equal(again(images).logits, model(images).logits)

    base = AutoModel.from_pretrained(tmp_path)
    assert type(base) is RelViTModel
    features = base(images).pooler_output
    assert torch.equal(again.classifier(features), model(images).logits)


@pytest.mark.parametrize(("family", "readout"), READOUTS)
def test_readouts_by_hand(backbone, batch, family, readout):
    """From the output of the bare backbone, built apart."""
    model = RelViTModel(RelViTConfig(backbone_config=backbone(family), readout=readout)).eval()
    images = batch()["pixel_values"]
    bare = AutoModel.from_config(model.config.backbone_config).eval()
    bare.load_state_dict(model.backbone.state_dict(), strict=False)
    noise = {"noise": torch.arange(16.0).expand(3, -1)} if family == "vit_mae" else {}
    out = bare(images, **noise)
    tokens = out.last_hidden_state
    cls, mean = tokens[:, 0], tokens[:, model.geometry.prefix_tokens :].mean(1)
    if family == "clip_vision_model":
        cls = bare.post_layernorm(cls)
    if family == "beit" and readout == "mean":
        mean = bare.pooler.layernorm(mean)
    map_ = out.pooler_output if readout == "map" else None
    expected = {"cls": cls, "mean": mean, "cls_mean": torch.cat([cls, mean], 1), "map": map_}[
        readout
    ]
    torch.testing.assert_close(model(images).pooler_output, expected)


def test_a_white_patch_changes_its_own_token_only(family, backbone):
    """Proves prefix counts and the order of patches, for MAE too, which shuffles them unless told not to."""
    model = RelViTModel(RelViTConfig(backbone_config=backbone(family))).eval()
    geometry = model.geometry
    row, column = 2, 1
    images = torch.zeros(2, 3, 32, 32)
    images[1, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 1
    embeddings = model(images, output_hidden_states=True).hidden_states[0]
    assert embeddings.shape[1] == geometry.sequence_length
    changed = (embeddings[0] - embeddings[1]).abs().amax(-1) > 1e-6
    expected = geometry.tokens(geometry.patches((row, column), 1))
    assert changed.nonzero().flatten().tolist() == expected.tolist()


def test_mae_is_deterministic_and_keeps_all_patches(backbone, batch):
    model = RelViTForImageClassification(RelViTConfig(backbone_config=backbone("vit_mae"))).eval()
    images = batch()["pixel_values"]
    assert torch.equal(model(images).logits, model(images).logits)
    again = AutoModel.from_config(backbone("vit_mae", mask_ratio=0.0)).eval()
    again.load_state_dict(model.backbone.state_dict())
    shuffled = again(
        images
    ).last_hidden_state  # the trap: without our noise the tokens come in random order
    assert not torch.allclose(shuffled, model.backbone(images).last_hidden_state)


def test_images_of_another_size(family, backbone, batch):
    model = RelViTForImageClassification(
        RelViTConfig(backbone_config=backbone(family), image_size=48, **BOTH)
    )
    inputs = batch() | {"pixel_values": torch.randn(3, 3, 48, 48)}
    out = model.eval()(**inputs, output_hidden_states=True)
    assert model.geometry.grid == 6
    assert out.hidden_states[0].shape[1] == model.geometry.sequence_length
    with pytest.raises(RelViTError, match="images of 32 x 32 pixels: the model takes 48 x 48"):
        model(**batch())


def sources(backbone):
    """Checkpoints of every kind that hold a backbone of a family."""
    text = {"num_hidden_layers": 1, "vocab_size": 99, "hidden_size": 32, "intermediate_size": 32}
    text["num_attention_heads"] = 4
    yield from ((family, AutoModel.from_config(backbone(family))) for family in FAMILIES)
    for family, name in [
        ("vit", "ViTForImageClassification"),
        ("deit", "DeiTForImageClassification"),
        ("dinov2", "Dinov2ForImageClassification"),
        ("dinov2_with_registers", "Dinov2WithRegistersForImageClassification"),
        ("clip_vision_model", "CLIPVisionModelWithProjection"),
        ("beit", "BeitForImageClassification"),
        ("ijepa", "IJepaForImageClassification"),
    ]:
        yield family, getattr(transformers, name)(backbone(family, num_labels=7))
    clip = CLIPConfig(
        vision_config=backbone("clip_vision_model").to_dict(), text_config=text, projection_dim=16
    )
    yield "clip_vision_model", transformers.CLIPModel(clip)
    siglip = SiglipConfig(vision_config=backbone("siglip_vision_model").to_dict(), text_config=text)
    yield "siglip_vision_model", transformers.SiglipModel(siglip)
    decoder = {f"decoder_{k}": v for k, v in text.items() if k != "vocab_size"}
    yield (
        "vit_mae",
        transformers.ViTMAEForPreTraining(ViTMAEConfig(**backbone("vit_mae").to_dict() | decoder)),
    )


def test_from_backbone_takes_every_tensor_of_every_kind_of_checkpoint(tmp_path, backbone, batch):
    for number, (family, source) in enumerate(sources(backbone)):
        folder = tmp_path / str(number)
        source.save_pretrained(folder)
        model = RelViTForImageClassification.from_backbone(folder)
        reference = AutoModel.from_pretrained(folder, config=model.config.backbone_config)
        assert model.config.backbone_config.model_type == family
        assert model.config.backbone_config is model.backbone.config
        for name, value in model.backbone.state_dict().items():
            assert torch.equal(value, reference.state_dict()[name]), (type(source).__name__, name)
        if type(source) is type(reference):  # a bare backbone also loads in the usual way
            usual = RelViTForImageClassification.from_pretrained(folder, config=model.config)
            for name, value in model.backbone.state_dict().items():
                assert torch.equal(value, usual.backbone.state_dict()[name]), name


def test_from_backbone_rejects_an_incomplete_checkpoint(tmp_path, backbone):
    source = AutoModel.from_config(backbone("vit"))
    state = {k: v for k, v in source.state_dict().items() if "layers.1." not in k}
    source.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(RelViTError, match=r"lacks 16 tensors of the backbone, first layers\.1\."):
        RelViTForImageClassification.from_backbone(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(RelViTError, match=r"cannot open the backbone .* incomplete metadata"):
        RelViTForImageClassification.from_backbone(tmp_path)
    with pytest.raises(RelViTError, match="cannot open the backbone nowhere"):
        RelViTForImageClassification.from_backbone("nowhere")


def test_saved_configuration_names_no_path(tmp_path, backbone):
    AutoModel.from_config(backbone("vit")).save_pretrained(tmp_path / "base")
    RelViTForImageClassification.from_backbone(tmp_path / "base").save_pretrained(
        tmp_path / "model"
    )
    assert str(tmp_path) not in json.dumps(
        json.loads((tmp_path / "model" / "config.json").read_text())
    )


@pytest.mark.parametrize("family", ["vit", "dinov3_vit", "siglip_vision_model", "beit", "vit_mae"])
def test_gradient_checkpointing_gives_the_same_gradients(family, backbone, batch):
    inputs = batch()
    gradients, losses = [], []
    for enable in (False, True):
        torch.manual_seed(1)
        config = RelViTConfig(backbone_config=backbone(family), **BOTH)
        model = RelViTForImageClassification(config).train()
        if enable:
            checkpointing(model)
            assert any(getattr(m, "gradient_checkpointing", False) for m in model.modules())
        out = model(**inputs)
        out.loss.backward(retain_graph=True)
        out.pipeline_loss.backward()  # a second recomputation
        losses.append(out.pipeline_loss)
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    torch.testing.assert_close(*losses)
    assert len(gradients[0]) == len(gradients[1])
    for a, b in zip(*gradients):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_losses_follow_the_inputs(backbone, batch):
    model = RelViTForImageClassification(
        RelViTConfig(backbone_config=backbone("vit"), **BOTH)
    ).eval()
    inputs = batch()
    images, labels, patches = inputs["pixel_values"], inputs["labels"], inputs["patches"]
    assert model(images).loss is None
    out = model(images, labels=labels)
    assert torch.equal(out.loss, out.task_loss) and out.pipeline_loss is None
    assert model(images, labels=labels, patches=patches).pipeline_loss is None
    with pytest.raises(RelViTError, match="a training step without shape, color"):
        model.train()(images, labels=labels, patches=patches)


def test_weights_and_epochs(backbone, batch):
    config = RelViTConfig(
        backbone_config=backbone("vit"),
        disentanglement={"layer": 2, "weight": 0.5},
        pipeline={"within_object": [0], "weight": 2.0, "start_epoch": {"within_object": 1}},
    )
    model = RelViTForImageClassification(config).train()
    before, after = model(**batch(), epoch=0.9), model(**batch(), epoch=1)
    assert before.pipeline_loss == 0 and after.pipeline_loss > 0
    expected = after.task_loss + 0.5 * after.disentanglement_loss + 2 * after.pipeline_loss
    torch.testing.assert_close(after.loss, expected)


def test_attention_maps_need_eager(backbone, batch):
    images = batch()["pixel_values"]
    model = RelViTForImageClassification(RelViTConfig(backbone_config=backbone("vit"))).eval()
    with pytest.raises(
        RelViTError, match=r"only 'eager' has them; call model.set_attn_implementation\('eager'\)"
    ):
        model(images, output_attentions=True)
    model.set_attn_implementation("eager")
    out = model(images, output_attentions=True, output_hidden_states=True)
    assert [a.shape for a in out.attentions] == [(3, 4, 17, 17)] * 2
    assert [h.shape for h in out.hidden_states] == [(3, 17, 32)] * 3


def test_pipeline_loss_needs_our_attention(backbone, batch):
    model = RelViTForImageClassification(RelViTConfig(backbone_config=backbone("vit"), **BOTH))
    model.set_attn_implementation("eager")
    with pytest.raises(RelViTError, match=r"set_attn_implementation\('relvit'\)"):
        model(**batch())


def test_patches_of_another_grid(backbone, batch):
    model = RelViTForImageClassification(RelViTConfig(backbone_config=backbone("vit"), **BOTH))
    inputs = batch()
    with pytest.raises(RelViTError, match="patch 19 of a model with 4 x 4 patches"):
        model(**inputs | {"patches": inputs["patches"] + 4})


def test_between_pair_needs_two_pairs(backbone, batch):
    model = RelViTForImageClassification(RelViTConfig(backbone_config=backbone("vit"), **BOTH))
    with pytest.raises(RelViTError, match="between_pair with 2 objects"):
        model(**batch(k=2))
