"""The Space as a repository: whole, nothing else in it, and it starts from there alone."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from huggingface_hub import HfApi, RepoCard
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from hf_relvit.errors import RelViTError
from hf_relvit.spaces.interventions import app
from hf_relvit.spaces.interventions.publish import MARK, push_space, space_files

HERE = Path(__file__).parents[2]


def test_only_what_the_package_ships():
    chosen = space_files()
    assert {
        "app.py",
        "README.md",
        "requirements.txt",
        "hf_relvit/spaces/interventions/style.css",
    } <= set(chosen)
    assert any(name.endswith("model/model.safetensors") for name in chosen)
    assert not any(".." in name or name.startswith("/") or "__pycache__" in name for name in chosen)
    kinds = {path.suffix for path in chosen.values()}
    assert kinds <= {".py", ".css", ".html", ".json", ".safetensors", ".parquet", ".md", ".txt"}


@pytest.mark.long
def test_released_models_go_along(monkeypatch, tmp_path, assets):
    """Those that are complete, and of them what is needed to serve them."""
    (tmp_path / "released" / "half" / "training").mkdir(parents=True)
    (tmp_path / "released" / "whole").symlink_to(assets)
    monkeypatch.setattr(app, "RELEASED", tmp_path / "released")
    sent = {name for name in space_files() if name.startswith("released/")}
    assert {"released/whole/about.json", "released/whole/das/color-0/alignment.json"} <= sent
    assert any(name.endswith("model.safetensors") for name in sent)
    assert not any("half" in name for name in sent)
    assert app.models()[0] == tmp_path / "released" / "whole"


def test_the_card_starts_the_space():
    card = RepoCard.load(HERE / "spaces" / "interventions" / "README.md")
    assert card.data.get("sdk") == "gradio" and card.data.get("app_file") == "app.py"
    assert MARK in (card.data.get("tags") or [])
    pins = (HERE / "constraints.txt").read_text()
    assert f"gradio=={card.data.get('sdk_version')}\n" in pins


ZERO_GPU = {"python": ("3.12.12", "3.10.13"), "torch": ("2.8.0", "2.9.1", "2.10.0", "2.11.0")}
"""Versions that ZeroGPU offers, by the Hub's documentation of July 2026 (docs/hub/spaces-zerogpu.md)."""


def test_requirements_are_those_of_the_package():
    """But torch, which is of a version that ZeroGPU offers, and that the package allows."""
    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    text = (HERE / "spaces" / "interventions" / "requirements.txt").read_text()
    known = {Requirement(line).name: Requirement(line) for line in text.splitlines()}
    needed = [Requirement(line) for line in project["dependencies"]]
    demo = [Requirement(line) for line in project["optional-dependencies"]["demo"]]
    needed += [each for each in demo if each.name != "gradio"]  # the Space's card names it
    (torch,) = known.pop("torch").specifier
    assert torch.operator == "==" and torch.version in ZERO_GPU["torch"]
    for each in needed:
        if each.name == "torch":
            assert torch.version in each.specifier
        else:
            assert known.pop(each.name) == each
    assert set(known) == {"spaces"}


def test_the_python_of_the_space_is_one_of_zero_gpu_and_of_the_package():
    card = RepoCard.load(HERE / "spaces" / "interventions" / "README.md")
    version = card.data.get("python_version")
    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    assert version in ZERO_GPU["python"]
    assert version in SpecifierSet(project["requires-python"])


@pytest.mark.long
def test_what_is_sent_runs_by_itself(tmp_path):
    """In a folder of its own, without the installed package: the models open and answer."""
    for name, path in space_files().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(path.read_bytes())
    code = """
import sys
sys.meta_path = [finder for finder in sys.meta_path if "hf_relvit" not in getattr(finder, "__module__", "")]
sys.path_importer_cache.clear()
import hf_relvit
assert hf_relvit.__file__.startswith(sys.argv[1]), hf_relvit.__file__
from app import models
from hf_relvit.spaces.interventions.moves import first_state
from hf_relvit.spaces.interventions.page import summary
from hf_relvit.spaces.interventions.served import open_served
(small,) = [folder for folder in models() if folder.name.startswith("scratch")]  # needs no base
served = open_served(small)
print(summary(served, first_state(served.limits))["decision"])
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("The model says")


def test_a_dry_run_sends_nothing(monkeypatch):
    monkeypatch.setattr(
        "hf_relvit.hub.publish.signed_in", lambda repo: pytest.fail("the Hub was asked")
    )
    said = []
    push_space("relvit/interventions", dry_run=True, say=said.append)
    assert said[-1].endswith("nothing was sent")
    assert f" {len(space_files())} files for relvit/interventions" in said[-1]


@pytest.mark.long
def test_published_twice_changes_nothing(hub):
    said = []
    push_space("relvit/interventions", say=said.append)
    api = HfApi()
    first = api.repo_info("relvit/interventions", repo_type="space")
    assert first.private
    files = set(api.list_repo_files("relvit/interventions", repo_type="space"))
    assert files - {".gitattributes"} == set(space_files())
    push_space("relvit/interventions", say=said.append)
    assert api.repo_info("relvit/interventions", repo_type="space").sha == first.sha
    assert said[0].startswith("published: ") and said[1].startswith("nothing has changed: ")


def test_a_space_of_another_project_is_left_alone(hub):
    api = HfApi()
    api.create_repo("relvit/other", repo_type="space", space_sdk="static")
    api.upload_file(
        path_or_fileobj=b"<p>mine</p>",
        path_in_repo="index.html",
        repo_id="relvit/other",
        repo_type="space",
    )
    with pytest.raises(RelViTError, match="another project"):
        push_space("relvit/other")
