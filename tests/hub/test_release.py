"""The whole house on a Hub: all of it is there, cards name its owner's data, a second time changes nothing."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from huggingface_hub import DatasetCard, HfApi
from walk import run_quietly

from hf_relvit import __version__
from hf_relvit.building.build import build
from hf_relvit.building.settings import BuildConfig
from hf_relvit.hub.runs import EVAL_RESULTS, push

OWNER = "relvit-lab"  # an organization, not the user's own name
RECORD = Path(__file__).parents[2] / "docs/results/records/scratch-discrimination.jsonl"
HOUSE = {
    "datasets": ["counterfactuals", "discrimination", "photorealistic"],
    "benchmark": ["benchmark", "backbones-quick"],
    "models": ["tiny"],
    "spaces": ["interventions"],
}


@pytest.fixture(scope="module")
def house(study, tmp_path_factory):
    """Options of a release at reduced size: three data sets of a config, a model; discrimination is missing."""
    folder = tmp_path_factory.mktemp("house")
    data = folder / "data"
    for name, config in (
        ("discrimination", "quick-32"),
        ("counterfactuals", "discrimination-quick-32"),
    ):
        build(BuildConfig(name, config, n_train=32, n_eval=16), data / name, say=str)
    build(BuildConfig("photorealistic", "tiny"), data / "photorealistic", say=str)
    shutil.copytree(study / "seed0", folder / "released" / "tiny")
    (folder / "records").mkdir()
    shutil.copy(RECORD, folder / "records")
    options = ["--data", str(data), "--models", str(folder / "released"), "--no-build"]
    options += ["--records", str(folder / "records")]
    return ["release", "--owner", OWNER, "--only", "*/*quick-32", "--only", "*/tiny", *options]


@pytest.fixture
def small_space(monkeypatch, tmp_path):
    """A Space of its card alone: its models have 16 MB."""
    card = "---\nsdk: gradio\nsdk_version: 6.31.0\napp_file: app.py\ntags: [relvit-space]\n---\n# Demo\n"
    (tmp_path / "README.md").write_text(card)
    files = {"README.md": tmp_path / "README.md"}
    monkeypatch.setattr("hf_relvit.spaces.interventions.publish.space_files", lambda: files)


def writes(hub):
    """Requests that changed something."""
    asked = [(method, path) for method, path, status in hub.requests if status < 300]
    harmless = ("/preupload/", "/validate-yaml", "/paths-info", "info/lfs", "/repos/create")
    return [
        (method, path)
        for method, path in asked
        if method not in ("GET", "HEAD") and not any(part in path for part in harmless)
    ]


def released(command, capsys):
    code = run_quietly([*command, "--json"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return {row["repo"]: row for row in json.loads(captured.out)["release"]}


def test_the_house_is_published_once_and_found_again(hub, house, small_space, capsys):
    api = HfApi(hub.url, token="local-relvit")
    rows = released(house, capsys)
    states = {repo: row["state"] for repo, row in rows.items()}
    assert states.pop(f"{OWNER}/rmts") == "missing"
    assert set(states) == {f"{OWNER}/{name}" for names in HOUSE.values() for name in names}
    assert set(states.values()) == {"published"}
    collection = api.get_collection(next(iter(api.list_collections(owner=OWNER))).slug)
    assert {item.item_id for item in collection.items} == set(states)
    assert collection.private
    refs = {
        repo: api.list_repo_refs(repo, repo_type=rows[repo]["repo_type"]).tags for repo in states
    }
    tags = {repo: {tag.name for tag in found} for repo, found in refs.items()}
    for name in ("tiny", "benchmark", "backbones-quick", "interventions"):
        assert tags[f"{OWNER}/{name}"] == {f"v{__version__}"}
    check_scores(api)
    check_benchmark(api)

    hub.requests.clear()
    again = released(house, capsys)
    assert {row["state"] for repo, row in again.items() if repo in states} == {"unchanged"}
    assert {repo: row["commit"] for repo, row in again.items()} == {
        repo: row["commit"] for repo, row in rows.items()
    }
    assert writes(hub) == []

    where = {"repo_id": f"{OWNER}/interventions", "repo_type": "space"}
    card = Path(api.hf_hub_download(**where, filename="README.md")).read_bytes()
    api.upload_file(path_in_repo="README.md", path_or_fileobj=card + b"x", **where)
    assert run_quietly([*house, "--public"]) == 0
    assert f"v{__version__} stays at" in capsys.readouterr().out
    assert not api.get_collection(collection.slug).private
    assert not any(
        api.repo_info(repo, repo_type=row["repo_type"]).private
        for repo, row in rows.items()
        if row["state"] != "missing"
    )


def check_scores(api):
    """The scores of the model are for tasks that the data sets list, of the owner's own data."""

    def fetched(repo, path, kind):
        return yaml.safe_load(
            Path(api.hf_hub_download(f"{OWNER}/{repo}", path, repo_type=kind)).read_text()
        )

    entries = fetched("tiny", ".eval_results/relvit.yaml", "model")
    named = {(entry["dataset"]["id"], entry["dataset"]["task_id"]) for entry in entries}
    assert named and {dataset.split("/")[0] for dataset, _ in named} == {OWNER}
    listed = set()
    for name in HOUSE["datasets"]:
        benchmark = fetched(name, "eval.yaml", "dataset")
        assert {"name", "description", "tasks"} == benchmark.keys()
        assert all({"id", "config", "split"} == task.keys() for task in benchmark["tasks"])
        listed |= {(f"{OWNER}/{name}", task["id"]) for task in benchmark["tasks"]}
    assert named <= listed


def check_benchmark(api):
    """The table names the model by its id, and the card shows and declares it."""
    where = {"repo_id": f"{OWNER}/benchmark", "repo_type": "dataset"}
    card = DatasetCard.load(api.hf_hub_download(**where, filename="README.md"))
    assert [config["config_name"] for config in card.data.configs] == ["discrimination"]
    table = pd.read_parquet(
        api.hf_hub_download(**where, filename=card.data.configs[0]["data_files"])
    )
    assert set(table.run) == {f"{OWNER}/tiny"} and "test" in set(table.split)
    assert f"[{OWNER}/tiny](https://huggingface.co/{OWNER}/tiny)" in card.text
    accuracy = table.set_index("split").accuracy["test"]
    assert f"| {accuracy:.3f} (" in card.text


def test_a_dry_run_needs_no_account_and_sends_nothing(hub, house, small_space, capsys, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    assert run_quietly([*house, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "missing in relvit-lab/rmts, 1: quick-32" in out
    assert "would be sent" in out and "MB" in out
    assert hub.requests == []


@pytest.mark.parametrize(
    ("owner", "token", "line"),
    [
        ("somebody", "local-relvit", "cannot write to somebody"),
        (OWNER, "local-reader", "may only read"),
        (OWNER, "local-expired", "unknown or expired"),
        ("a/b", "local-relvit", "no name of a repository"),
    ],
)
def test_an_owner_without_rights_is_one_line(
    hub, house, small_space, owner, token, line, capsys, monkeypatch
):
    monkeypatch.setenv("HF_TOKEN", token)
    command = [owner if word == OWNER else word for word in house]
    assert run_quietly(command) == 2
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1
    assert writes(hub) == []


def test_a_taken_name_stops_the_release_before_anything_is_sent(hub, house, small_space, capsys):
    api = HfApi(hub.url, token="local-relvit")
    api.create_repo(f"{OWNER}/interventions", repo_type="space", space_sdk="gradio")
    files = {"path_in_repo": "app.py", "path_or_fileobj": b"mine"}
    api.upload_file(**files, repo_id=f"{OWNER}/interventions", repo_type="space")
    hub.requests.clear()
    assert run_quietly(house) == 2
    assert "another project's" in capsys.readouterr().err
    assert writes(hub) == []


def test_no_network_is_one_line(hub, house, small_space, capsys):
    hub.fail("GET", "/api/whoami-v2", status=None, times=100)
    assert run_quietly(house) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "cannot be reached" in error


@pytest.mark.long
def test_an_interrupted_release_goes_on(hub, house, small_space, capsys):
    hub.fail("POST", f"/api/models/{OWNER}/tiny/commit", status=500, times=100)
    assert run_quietly(house) == 2
    assert "run the same command again" in capsys.readouterr().err
    hub.faults.clear()
    states = {repo: row["state"] for repo, row in released(house, capsys).items()}
    assert (
        states[f"{OWNER}/discrimination"] == "unchanged" and states[f"{OWNER}/tiny"] == "published"
    )


def test_scores_on_data_that_nobody_published_are_not_named(hub, run):
    """The file of scores was sent with dead references when none of its data sets was on the Hub."""
    push(run, "relvit/alone", say=str)
    files = HfApi(hub.url, token="local-relvit").list_repo_files("relvit/alone")
    assert "results.json" in files and EVAL_RESULTS not in files
