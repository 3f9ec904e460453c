"""The backbone of adapters, published with them: what was trained on a folder opens by its Hub id."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import HfApi, ModelCard
from tiny import TINY
from walk import run_quietly

from hf_relvit.errors import RelViTError
from hf_relvit.hub.bases import Base, on_base, push_base
from hf_relvit.hub.runs import push
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.training.config import TrainConfig
from hf_relvit.training.run import build_model

BASE = "relvit/tiny-base"
CARD = "---\nlicense: mit\ntags: [relvit-base]\n---\n# A tiny backbone\n"


def backbone(folder: Path, seed: int) -> Path:
    made = build_model(TrainConfig(**TINY, combinations=32, seed=seed))
    made.model.to_plain().save_pretrained(folder)
    made.processor.save_pretrained(folder)
    (folder / "README.md").write_text(CARD)
    return folder


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """A backbone in a folder, and the run of an adapter that was trained on it."""
    place = tmp_path_factory.mktemp("bases")
    folder = backbone(place / "tiny-base", seed=0)
    settings = {**TINY, "backbone": str(folder), "lora": 2}
    (place / "tiny.yaml").write_text(yaml.safe_dump(settings))
    out = place / "runs" / "adapted"
    command = ["train", "quick", "--settings", str(place / "tiny.yaml"), "--out", str(out)]
    assert run_quietly(command) == 0
    return folder, out


@pytest.fixture
def api(hub):
    return HfApi(hub.url, token="local-relvit")


def lines(call, *words, **options):
    said = []
    call(*words, **options, say=said.append)
    return said


def test_an_adapter_of_a_folder_opens_by_id_with_its_published_base(adapted, api):
    folder, run = adapted
    push_base(folder, BASE, say=str)
    push(run, "relvit/adapted", base=BASE, say=str)
    commit = api.model_info(BASE).sha
    config = json.loads(Path(api.hf_hub_download("relvit/adapted", "config.json")).read_text())
    assert (config["adapter"]["id"], config["adapter"]["revision"]) == (BASE, commit)
    saved = Path(api.hf_hub_download("relvit/adapted", "adapter/adapter_config.json"))
    peft = json.loads(saved.read_text())
    assert (peft["base_model_name_or_path"], peft["revision"]) == (BASE, commit)
    trained = api.hf_hub_download("relvit/adapted", "training/config.json")
    logged = api.hf_hub_download("relvit/adapted", "training/history.json")
    assert json.loads(Path(trained).read_text())["backbone"] == BASE
    assert json.loads(Path(logged).read_text())["provenance"]["config"]["backbone"] == BASE
    card = ModelCard.load("relvit/adapted").data
    assert card.base_model == BASE and card["base_model_relation"] == "adapter"
    here = Checkpoint.open(run / "model").model
    there = Checkpoint.open("relvit/adapted").model
    assert all(map(torch.equal, here.parameters(), there.parameters()))
    assert any(
        "nothing has changed" in line for line in lines(push, run, "relvit/adapted", base=BASE)
    )


def test_without_a_published_base_the_note_says_so(adapted, hub):
    _, run = adapted
    said = lines(push, run, "relvit/adapted", dry_run=True)
    assert any("publish it, name it by --base" in line for line in said)
    said = lines(push, run, "relvit/adapted", base=BASE, dry_run=True)
    assert not any("folder of this machine" in line for line in said)


def test_other_weights_are_refused_before_anything_is_sent(adapted, api, tmp_path):
    _, run = adapted
    push_base(backbone(tmp_path / "other", seed=1), "relvit/other", say=str)
    with pytest.raises(RelViTError, match="the adapter was trained on"):
        push(run, "relvit/refused", base="relvit/other", say=str)
    assert not api.repo_exists("relvit/refused")


@pytest.mark.long
def test_a_release_sends_the_base_before_its_adapters(adapted, api, monkeypatch, capsys):
    folder, run = adapted
    card = folder.parent / "space.md"
    card.write_text(
        "---\nsdk: gradio\nsdk_version: 6.31.0\napp_file: app.py\ntags: [relvit-space]\n---\n# Demo\n"
    )
    served = run / "model"
    names = ("config.json", "adapter/adapter_config.json")
    files = {"README.md": card, **{f"released/adapted/{name}": served / name for name in names}}
    monkeypatch.setattr("hf_relvit.spaces.interventions.publish.space_files", lambda: files)
    options = ["--models", str(run.parent), "--base", str(folder), "--only", "none/*", "--no-build"]
    command = ["release", "--owner", "relvit-lab", *options]
    assert run_quietly([*command, "--dry-run"]) == 0
    assert not api.repo_exists("relvit-lab/tiny-base")
    for _ in range(2):
        assert run_quietly(command) == 0
    assert "published" not in capsys.readouterr().out.splitlines()[-4:]
    commit = api.model_info("relvit-lab/tiny-base").sha
    space = api.hf_hub_download(
        "relvit-lab/interventions", "released/adapted/config.json", repo_type="space"
    )
    for file in (space, api.hf_hub_download("relvit-lab/adapted", "config.json")):
        adapter = json.loads(Path(file).read_text())["adapter"]
        assert (adapter["id"], adapter["revision"]) == ("relvit-lab/tiny-base", commit)


@pytest.mark.parametrize(
    ("card", "line"),
    [
        (None, "is not there: a backbone is published with its card"),
        ("---\ntags: [clip]\n---\n# CLIP\n", r"has tags \['clip'\]"),
    ],
)
def test_a_base_without_its_card_is_one_line(adapted, hub, tmp_path, card, line):
    folder = backbone(tmp_path / "bare", seed=0)
    (folder / "README.md").unlink()
    if card is not None:
        (folder / "README.md").write_text(card)
    with pytest.raises(RelViTError, match=line):
        push_base(folder, BASE, say=str)


def test_only_adapters_take_a_base(study, hub):
    with pytest.raises(RelViTError, match="is no adapter, so it needs no base"):
        push(study / "seed0", "relvit/tiny", base=BASE, say=str)


def test_all_other_files_stay_as_they_are():
    files = {"config.json": b'{"a": 1}', "das/alignment.json": b"{}"}
    assert on_base(files, Base("a/b", "c")) == files
