"""A model as an adapter of its base: a few MB that open in each way to the same logits, or one line."""

import dataclasses
import json
import shutil
import warnings

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import vit_of
from transformers import AutoModelForImageClassification

from hf_relvit.errors import RelViTError
from hf_relvit.modeling import RelViTForImageClassification
from hf_relvit.modeling.adapters import FOLDER, WEIGHTS_FILE, adapted_layers, add_adapters
from hf_relvit.modeling.blocks import blocks
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.modeling.families import FAMILIES
from hf_relvit.training.config import TrainConfig, resolve, vit
from hf_relvit.training.run import build_model, train

PIXELS = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    published = build_model(TrainConfig(backbone=vit(2, 32, 2)))
    published.model.to_plain().save_pretrained(folder)
    published.processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def settings(base):
    return TrainConfig(
        backbone=str(base),
        lora=4,
        disentanglement={"layer": 1},
        images=128,
        batch_size=32,
        n_eval=32,
        evaluations=2,
        learning_rate=1e-2,
        warmup_steps=0,
        bf16=False,
    )


@pytest.fixture(scope="module")
def trained(settings, tmp_path_factory):
    return train(settings, tmp_path_factory.mktemp("run") / "lora", progress=False)


def logits(model):
    with torch.no_grad():
        return model.eval()(PIXELS).logits


def test_it_opens_in_each_way_to_the_same_logits(trained, base):
    ours = Checkpoint.open(trained.model)
    expected = logits(ours.model)
    auto = AutoModelForImageClassification.from_pretrained(trained.model)
    assert logits(auto).equal(expected)
    backbone = RelViTForImageClassification.from_backbone(
        str(base), disentanglement=ours.config.disentanglement
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of peft, about a deprecated property of transformers
        wrapped = peft.PeftModel.from_pretrained(backbone, str(trained.model), subfolder=FOLDER)
    assert torch.allclose(logits(wrapped), expected, atol=1e-5)
    assert torch.allclose(logits(ours.model.to_plain()), expected, atol=1e-5)
    assert len(load_file(trained.model / WEIGHTS_FILE)) == 2 * 12 + 2 + 4, (
        "adapters, head, disentanglement heads"
    )


def test_training_in_bf16_does_not_touch_the_base(settings, base, tmp_path):
    run = train(
        dataclasses.replace(settings, bf16=True, images=32), tmp_path / "bf16", progress=False
    )
    opened = Checkpoint.open(run.model).model
    published = RelViTForImageClassification.from_backbone(str(base))
    names = [name for name in published.backbone.state_dict() if name.endswith("bias")]
    for name in names:
        assert opened.backbone.state_dict()[name].equal(published.backbone.state_dict()[name])


def test_it_is_small_and_says_what_its_base_is(trained, base):
    assert not (trained.model / "model.safetensors").exists()
    saved = json.loads((trained.model / "config.json").read_text())["adapter"]
    assert saved["id"] == str(base) and saved["rank"] == 4 and len(saved["fingerprint"]) == 16
    known = json.loads((trained.model / FOLDER / "adapter_config.json").read_text())
    assert known["base_model_name_or_path"] == str(base) and known["peft_type"] == "LORA"


def test_only_the_layers_of_blocks_and_the_heads_change(trained, base):
    before = RelViTForImageClassification.from_backbone(str(base))
    after = Checkpoint.open(trained.model).model
    layers = adapted_layers(before)
    assert len(layers) == 2 * 6
    for name, weight in before.backbone.state_dict().items():
        changed = not weight.equal(after.backbone.state_dict()[name])
        assert changed == (f"backbone.{name}".removesuffix(".weight") in layers), name


def test_a_whole_model_is_saved_from_an_opened_adapter(trained, tmp_path):
    opened = Checkpoint.open(trained.model)
    opened.save(tmp_path / "whole")
    whole = Checkpoint.open(tmp_path / "whole")
    assert logits(whole.model).equal(logits(opened.model))
    assert whole.config.adapter is None and (tmp_path / "whole" / "model.safetensors").exists()


def test_the_base_can_lie_elsewhere(trained, base, tmp_path):
    moved = shutil.copytree(base, tmp_path / "moved")
    copied = shutil.copytree(trained.model, tmp_path / "copied")
    config = json.loads((copied / "config.json").read_text())
    config["adapter"]["id"] = "nowhere/at-all"
    (copied / "config.json").write_text(json.dumps(config))
    opened = Checkpoint.open(copied, base=moved)
    assert logits(opened.model).equal(logits(Checkpoint.open(trained.model).model))
    with pytest.raises(RelViTError, match="nowhere/at-all"):
        Checkpoint.open(copied)


def _other_base(folder, base):
    weights = load_file(base / "model.safetensors")
    name = next(name for name in weights if "query" in name and name.endswith("weight"))
    weights[name] = weights[name] + 1e-3
    other = folder.parent / "other"
    shutil.copytree(base, other)
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    return other


def _edit(change):
    def damage(folder, base):
        weights = load_file(folder / WEIGHTS_FILE)
        change(weights)
        save_file(weights, folder / WEIGHTS_FILE, metadata={"format": "pt"})
        return base

    return damage


def _without(weights):
    del weights[next(name for name in weights if "lora_B" in name)]


def _with(weights):
    weights["base_model.model.backbone.strange.lora_A.weight"] = torch.zeros(4, 32)


def _misshapen(weights):
    name = next(name for name in weights if "lora_A" in name)
    weights[name] = torch.zeros(3, weights[name].shape[1])


def _no_file(folder, base):
    (folder / WEIGHTS_FILE).unlink()
    return base


def _without_head(weights):
    del weights["base_model.model.classifier.weight"]


def _bad_config(folder, base):
    config = json.loads((folder / "config.json").read_text())
    del config["adapter"]["rank"]
    (folder / "config.json").write_text(json.dumps(config))
    return base


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_other_base, "was trained on"),
        (_edit(_without), "lacks"),
        (_edit(_with), "for no layer"),
        (_edit(_misshapen), "another base"),
        (_edit(_without_head), "lack tensors"),
        (_no_file, "adapter_model.safetensors"),
        (_bad_config, "adapter is"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(trained, base, tmp_path, damage, words):
    folder = shutil.copytree(trained.model, tmp_path / "copy")
    where = damage(folder, base)
    with pytest.raises(RelViTError, match=words) as caught:
        Checkpoint.open(folder, base=where)
    assert "\n" not in str(caught.value)


def test_settings_that_adapters_cannot_have_are_refused():
    with pytest.raises(RelViTError, match="from scratch"):
        TrainConfig(lora=4)
    with pytest.raises(RelViTError, match="at least 1"):
        TrainConfig(backbone="somewhere", lora=0)
    model = build_model(TrainConfig(backbone=vit(2, 32, 2))).model
    with pytest.raises(RelViTError, match="rank from 1 to 32"):
        add_adapters(model, 33, bf16=False)
    assert resolve("b16", lora=8).learning_rate == 3e-4
    assert resolve("b16", lora=8, learning_rate=1e-5).learning_rate == 1e-5
    assert resolve("b16").learning_rate == 1e-6


def test_peft_missing_is_one_line(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    model = build_model(TrainConfig(backbone=vit(2, 32, 2))).model
    with pytest.raises(RelViTError, match="pip install"):
        add_adapters(model, 4, bf16=False)


def test_a_base_that_cannot_be_had_is_one_line_with_the_cure(trained, tmp_path, monkeypatch):
    """Neither a folder of that name nor a network: not a message about the adapter's own files."""
    copied = shutil.copytree(trained.model, tmp_path / "copied")
    config = json.loads((copied / "config.json").read_text())
    config["adapter"]["id"] = "nowhere/at-all"
    (copied / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for base in (None, tmp_path / "missing"):
        with pytest.raises(RelViTError, match=r"backbone .* cannot be opened.*--base") as caught:
            Checkpoint.open(copied, base=base)
        assert "\n" not in str(caught.value) and str(base or "nowhere/at-all") in str(caught.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_are_found_by_their_kind_in_every_family(family):
    """Families name their layers differently; an adapter is in every linear layer of the blocks and nowhere else."""
    model = build_model(TrainConfig(backbone=vit_of(family, 2, 32, 2))).model
    names = adapted_layers(model)
    inside = [module for module in blocks(model).modules() if isinstance(module, torch.nn.Linear)]
    assert len(names) == len(inside) >= 2 * 4
    adapted = add_adapters(model, 2, bf16=False)
    learned = [name for name, weight in adapted.named_parameters() if weight.requires_grad]
    assert sum("lora_A" in name for name in learned) == len(names)
    assert all("lora_" in name or "modules_to_save" in name for name in learned)


def test_blocks_without_linear_layers_are_one_line():
    model = build_model(TrainConfig(backbone=vit(2, 32, 2))).model
    for block in blocks(model):
        for name, part in list(block.named_modules()):
            if isinstance(part, torch.nn.Linear):
                block.set_submodule(name, torch.nn.Identity())
    with pytest.raises(RelViTError, match=r"no linear layers.*leave lora out"):
        add_adapters(model, 4, bf16=False)


def test_frozen_weights_are_kept_in_bf16_where_training_is(base):
    model = RelViTForImageClassification.from_backbone(str(base))
    adapted = add_adapters(model, 4, bf16=True)
    kinds = {name: weight.dtype for name, weight in adapted.named_parameters()}
    frozen = {kind for name, kind in kinds.items() if ".base_layer." in name}
    assert frozen == {torch.bfloat16}
    assert {kind for name, kind in kinds.items() if ".base_layer." not in name} == {torch.float32}
