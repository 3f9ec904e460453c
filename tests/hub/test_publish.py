"""One gate and one flow for all that leaves the machine; cards point to what is there."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from huggingface_hub import HfApi, RepoCard

from hf_relvit import cli
from hf_relvit.analysis.alignment import Alignment
from hf_relvit.analysis.novel import Novel
from hf_relvit.analysis.probes import Probes
from hf_relvit.building.build import build
from hf_relvit.building.settings import BuildConfig
from hf_relvit.errors import RelViTError
from hf_relvit.hub import publish as publishing
from hf_relvit.hub.client import check_id
from hf_relvit.hub.datasets import push_dataset
from hf_relvit.hub.outgoing import checked, checked_text
from hf_relvit.hub.publish import Publication, check_links, list_files
from hf_relvit.hub.runs import push, push_result
from hf_relvit.report.run_folder import RunFolder

TOKEN = "hf_" + "aB3" * 12
REFUSED = [
    "../x",
    "a/b/c",
    "ü/x",
    "a",
    "a/b--c",
    "a/.b",
    "a/b.",
    "a/b.git",
    "a//b",
    "/a/b",
    "a/" + "b" * 97,
]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "scenes"
    sizes = {"n_train": 16, "n_eval": 8}
    build(BuildConfig("discrimination", "quick-32", **sizes), out, say=lambda line: None)
    return out


@pytest.fixture
def data(built, tmp_path):
    return shutil.copytree(built, tmp_path / "scenes")


def no_words(line):
    """Nobody is told."""


PUSHES = {
    "run": lambda study, data, repo: push(study, repo, dry_run=True, say=no_words),
    "dataset": lambda study, data, repo: push_dataset(
        "discrimination", data, repo, dry_run=True, say=no_words
    ),
    "result": lambda study, data, repo: push_result(
        RunFolder(study / "seed0").probes(), repo, subfolder="probes", dry_run=True, say=no_words
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_names_that_the_hub_refuses_are_refused_here(name):
    with pytest.raises(RelViTError, match="is no name of a repository"):
        check_id(name)


@pytest.mark.parametrize("kind", PUSHES)
@pytest.mark.parametrize("name", ["../x", "a/b/c", "ü/x"])
def test_also_in_a_dry_run(kind, name, study, built):
    with pytest.raises(RelViTError, match="is no name of a repository"):
        PUSHES[kind](study, built, name)


@pytest.mark.parametrize("file", ["manifest.json", "dataset_info.json"])
def test_data_push_keeps_what_a_link_leads_to(data, tmp_path, file, study):
    secret = tmp_path / "docker_config.json"
    secret.write_text('{"auths": {}}')
    path = data / "quick-32" / file
    if file == "manifest.json":  # whose own files are looked at first
        shutil.move(path, secret)
    else:
        path.unlink()
    path.symlink_to(secret)
    with pytest.raises(RelViTError, match="leads out of"):
        PUSHES["dataset"](study, data, "me/x")


@pytest.mark.parametrize("file", ["manifest.json", "dataset_info.json"])
def test_data_push_sends_no_token_and_no_path_of_this_machine(data, file, study, hub):
    path = data / "quick-32" / file
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"description": "made in /home/alice/masks"}))
    push_dataset("discrimination", data, "relvit/x", say=no_words)
    api = HfApi(hub.url, token="local-relvit")
    sent = api.hf_hub_download("relvit/x", f"quick-32/{file}", repo_type="dataset")
    assert "alice" not in Path(sent).read_text()
    path.write_text(json.dumps(values | {"description": TOKEN}))
    with pytest.raises(RelViTError, match="a likely token of the Hub") as error:
        PUSHES["dataset"](study, data, "me/x")
    assert TOKEN not in str(error.value)


def test_a_token_is_found_wherever_it_stands_in_a_large_file(tmp_path, monkeypatch):
    monkeypatch.setattr("hf_relvit.hub.outgoing._CHUNK", 200)
    file = tmp_path / "table.parquet"
    for start in range(150, 250, 7):  # across the seam of two pieces
        file.write_bytes(b" " * start + TOKEN.encode() + b" " * 300)
        with pytest.raises(RelViTError, match="a likely token of the Hub"):
            checked(file.name, file, tmp_path)
    file.write_bytes(b" " * 1000)
    assert checked(file.name, file, tmp_path) == file
    with pytest.raises(RelViTError, match="token"):
        checked_text("README.md", f"see {TOKEN}")


@pytest.mark.parametrize("link", ["figures/none.png", "./none.md", "das/none", "none.md#part"])
def test_a_card_cannot_name_a_file_that_is_not_there(link):
    card = f"---\n{{}}\n---\n![x]({link})".encode()
    files = {"README.md": card, "figures/there.png": b"x"}
    with pytest.raises(RelViTError, match="is not published with it"):
        list_files(Publication("me/x", "model", "relvit", files, "why"), say=no_words)


def test_a_card_may_name_files_folders_pages_and_places():
    card = b"[a](figures/there.png) [b](figures/) [c](https://x.org/y) [d](#part) [e](old.txt)"
    check_links({"README.md": card, "figures/there.png": b"x"}, ["old.txt"])


def test_a_push_that_did_not_arrive_is_noticed():
    with pytest.raises(RelViTError, match=r"lacks a\.json after the push"):
        publishing._check_arrived("me/x", {"a.json": b"x"}, {"b.json"})


def model_index(hub, repo):
    api = HfApi(hub.url, token="local-relvit")
    card = RepoCard.load(api.hf_hub_download(repo, "README.md"), ignore_metadata_errors=True)
    (model,) = yaml.safe_load(card.content.split("---")[1])["model-index"]
    return card, [result["dataset"] for result in model["results"]]


@pytest.mark.long
def test_a_card_links_only_datasets_that_are_on_the_hub(study, built, hub, monkeypatch):
    said = []
    push(study, "relvit/tiny", say=said.append)
    card, named = model_index(hub, "relvit/tiny")
    assert card.data.get("datasets") is None
    assert {dataset["type"] for dataset in named} == {"discrimination", "counterfactuals"}
    assert not [d for d in named if "revision" in d or "config" in d]
    assert any("config quick-32, tag v1.0.0 is not on the Hub" in line for line in said)

    push_dataset("discrimination", built, "relvit/discrimination", say=no_words)
    push(study, "relvit/tiny", say=no_words)
    card, named = model_index(hub, "relvit/tiny")
    assert card.data.get("datasets") == ["relvit/discrimination"]
    linked = [dataset for dataset in named if dataset["type"] == "relvit/discrimination"]
    api = HfApi(hub.url, token="local-relvit")
    tags = {tag.name for tag in api.list_repo_refs(linked[0]["type"], repo_type="dataset").tags}
    assert {dataset["revision"] for dataset in linked} == tags == {"v1.0.0"}
    files = api.list_repo_files(linked[0]["type"], repo_type="dataset", revision="v1.0.0")
    assert {dataset["config"] for dataset in linked} <= {name.split("/")[0] for name in files}


@pytest.mark.long
@pytest.mark.parametrize("kind", ["probes", "stages"])
def test_the_result_of_an_analysis_is_published_beside_a_run_or_alone(study, hub, kind):
    run = RunFolder(study / "seed0")
    result = run.probes() if kind == "probes" else run.stages
    api = HfApi(hub.url, token="local-relvit")
    push_result(result, "relvit/alone", subfolder=kind, say=no_words)
    files = set(api.list_repo_files("relvit/alone"))
    assert "README.md" in files
    saved = [name for name in files if name.startswith(f"{kind}/")]
    assert saved
    push(study, "relvit/tiny", say=no_words)
    before = set(api.list_repo_files("relvit/tiny"))
    push_result(result, "relvit/tiny", subfolder=f"extra/{kind}", say=no_words)
    files = set(api.list_repo_files("relvit/tiny"))
    assert {f"extra/{name}" for name in saved} <= files
    assert before <= files


def pushed(capsys, *words):
    """Exit code and output of `relvit push`."""
    with pytest.raises(SystemExit) as end:
        cli.main(["push", *map(str, words)])
    told = capsys.readouterr()
    return end.value.code, told.out, told.err


@pytest.mark.parametrize(
    ("cell", "kind"),
    [("probes/judgement", Probes), ("das/color-0", Alignment), ("novel/color", Novel)],
)
def test_one_result_is_published_by_the_command_and_opens_again(study, hub, capsys, cell, kind):
    folder = study / "seed0" / cell
    words = (folder, "--repo", "relvit/alone", "--subfolder", cell)
    code, told, _ = pushed(capsys, *words, "--dry-run")
    assert code == 0 and f"MB  {cell.split('/')[0]}/ (" in told
    code, told, _ = pushed(capsys, *words)
    assert code == 0 and "published" in told
    opened = kind.load("relvit/alone", subfolder=cell)
    pd.testing.assert_frame_equal(opened.to_frame(), kind.load(folder).to_frame())


def test_the_command_refuses_what_is_no_result(study, tmp_path, capsys):
    run = study / "seed0"
    place = ("--repo", "relvit/alone", "--subfolder", "das")
    code, _, told = pushed(capsys, tmp_path, *place)
    assert code == 2 and f"no result in {tmp_path}" in told and "alignment.json" in told
    code, _, told = pushed(capsys, run / "das/color-0", *place, "--base", "me/base")
    assert code == 2 and "--base me/base with --subfolder" in told


@pytest.mark.parametrize("place", ["../x", "/x", ""])
def test_a_result_stays_in_its_repository(study, place):
    with pytest.raises(RelViTError, match="expected a folder such as"):
        push_result(RunFolder(study / "seed0").probes(), "me/x", subfolder=place, dry_run=True)
