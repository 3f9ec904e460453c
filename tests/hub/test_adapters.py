"""An adapter on the Hub: a few files that name their base, opened again from there in each way."""

import warnings

import peft
import pytest
import torch
import yaml
from huggingface_hub import HfApi, ModelCard
from tiny import TINY
from transformers import AutoModelForImageClassification

from hf_relvit import cli
from hf_relvit.modeling import RelViTForImageClassification
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.training.config import TrainConfig
from hf_relvit.training.run import build_model

BASE = "relvit/base"
REPO = "relvit/adapted"


def command(*words):
    with pytest.raises(SystemExit) as end:
        cli.main([str(word) for word in words])
    return end.value.code


def upload(model, folder, hub):
    """The backbone of a model as an ordinary checkpoint on the Hub, beside what is in the folder."""
    model.to_plain().save_pretrained(folder)
    api = HfApi(hub.url, token="local-relvit")
    api.create_repo(BASE, exist_ok=True)
    api.upload_folder(repo_id=BASE, folder_path=folder)


@pytest.fixture
def published(hub, tmp_path):
    """The Hub ids of a base and of an adapter of it; the adapter's folder."""
    base = build_model(TrainConfig(**TINY, combinations=32))
    base.processor.save_pretrained(tmp_path / "base")
    upload(base.model, tmp_path / "base", hub)
    settings = {**TINY, "backbone": BASE, "lora": 2}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(settings))
    out = tmp_path / "run"
    words = ("--settings", tmp_path / "tiny.yaml", "--out", out, "--push-to-hub", "--repo", REPO)
    assert command("train", "quick", *words) == 0
    return out


def test_it_is_an_adapter_of_its_base_and_opens_in_each_way(published, hub):
    api = HfApi(hub.url, token="local-relvit")
    files = set(api.list_repo_files(REPO))
    assert {
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "config.json",
    } <= files
    assert "model.safetensors" not in files
    card = ModelCard.load(REPO).data
    assert card.base_model == BASE and card["base_model_relation"] == "adapter"
    side = Checkpoint.open(REPO).config.image_size
    pixels = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    backbone = RelViTForImageClassification.from_backbone(BASE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of peft, about a deprecated property of transformers
        wrapped = peft.PeftModel.from_pretrained(backbone, REPO, subfolder="adapter")
    models = {
        "folder": Checkpoint.open(published / "model").model,
        "hub": Checkpoint.open(REPO).model,
        "auto": AutoModelForImageClassification.from_pretrained(REPO),
        "peft": wrapped,
    }
    with torch.no_grad():
        logits = {name: model.eval()(pixels).logits for name, model in models.items()}
    for name, found in logits.items():
        assert torch.allclose(found, logits["folder"], atol=1e-5), name
    saved = (published / "model" / "config.json").read_text()
    assert f'"revision": "{api.model_info(BASE).sha}"' in saved
    other = build_model(TrainConfig(**TINY, combinations=32, seed=1))
    upload(other.model, published.parent / "base", hub)
    again = Checkpoint.open(REPO).model
    assert all(a.equal(b) for a, b in zip(again.parameters(), models["folder"].parameters()))
