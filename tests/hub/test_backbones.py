"""Records of backbones on the Hub: read from any repository as from files, and published as a board."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from huggingface_hub import DatasetCard, HfApi
from walk import run_quietly

from hf_relvit.errors import RelViTError
from hf_relvit.hub.backbones import push_records
from hf_relvit.hub.records import fetch_records, open_records, record_file
from hf_relvit.report import records as files_of_records
from hf_relvit.report.records import read_records, sealed, write_records

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "docs" / "results" / "records" / "scratch-discrimination.jsonl"
BOARD = "relvit/backbones"


@pytest.fixture
def record():
    (found,) = read_records(COMMITTED)
    return found


@pytest.fixture
def api(hub):
    return HfApi(hub.url, token="local-relvit")


def renamed(record, model, **values):
    """The same numbers, as those of another backbone."""
    return sealed({**record, "model": model, **values})


def put(api, repo, files, kind="model"):
    """A repository of somebody, with files of any kind."""
    api.create_repo(repo, repo_type=kind, exist_ok=True)
    for name, content in files.items():
        api.upload_file(
            path_or_fileobj=content.encode(), path_in_repo=name, repo_id=repo, repo_type=kind
        )
    return repo


def fetched(api, name):
    return Path(api.hf_hub_download(BOARD, name, repo_type="dataset"))


def card_of(api):
    """The card of the board, and its one config."""
    card: Any = DatasetCard.load(fetched(api, "README.md"))
    (config,) = card.data.configs
    return card, config


def line(record):
    return json.dumps(record) + "\n"


@pytest.mark.parametrize("kind", ["model", "dataset"])
@pytest.mark.parametrize("name", ["record.jsonl", "records/scratch.jsonl"])
def test_a_record_beside_other_files_is_found(api, record, kind, name):
    repo = put(
        api, "relvit/vit", {name: line(record), "other.jsonl": "{}", "x/record.jsonl": "{}"}, kind
    )
    assert fetch_records(repo) == [record]


def test_files_and_repositories_stand_side_by_side(api, record, tmp_path, capsys):
    repo = put(api, "relvit/vit", {"record.jsonl": line(renamed(record, "relvit/vit"))})
    out = tmp_path / "board"
    assert run_quietly(["board", str(COMMITTED), repo, "--out", str(out)]) == 0
    assert set(pd.read_parquet(out / "board.parquet").model) == {record["model"], "relvit/vit"}


def test_where_a_data_set_without_records_has_the_name_the_model_is_read(api, record):
    put(api, "relvit/vit", {"data.csv": "a,b\n"}, "dataset")
    put(api, "relvit/vit", {"record.jsonl": line(record)})
    assert fetch_records("relvit/vit") == [record]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda record: {**record, "parameters": 1}, "the checksum does not fit the numbers"),
        (lambda record: {"protocol": 1}, "is no record"),
        (lambda record: renamed(record, "a", values=[]), "length >= 1"),
    ],
)
def test_a_repository_is_believed_no_more_than_a_file(api, record, change, told):
    repo = put(api, "relvit/vit", {"record.jsonl": line(change(record))})
    with pytest.raises(RelViTError, match=told) as error:
        fetch_records(repo)
    assert str(error.value).startswith("relvit/vit/record.jsonl, line 1")


def test_unlike_records_of_two_repositories_are_refused(api, record, capsys):
    one = put(api, "relvit/one", {"record.jsonl": line(record)})
    other = renamed(record, "two", protocol=2)
    two = put(api, "relvit/two", {"record.jsonl": line(other)})
    assert run_quietly(["board", one, two]) == 2
    error = capsys.readouterr().err
    assert "has protocol 1, two 2" in error and error.count("\n") == 1


def test_a_large_file_is_refused_before_it_is_fetched(api, hub, record, monkeypatch):
    repo = put(api, "relvit/vit", {"record.jsonl": line(record)})
    monkeypatch.setattr(files_of_records, "MAX_BYTES", 1000)
    hub.requests.clear()
    with pytest.raises(RelViTError, match=r"relvit/vit/record\.jsonl has 0 MB"):
        fetch_records(repo)
    assert not [path for _, path, _ in hub.requests if "/resolve/" in path]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("relvit/nothing", "is no file here, and not found on the Hub"),
        ("other/private", "is no file here, and not found on the Hub"),
        ("relvit/plain", "has no records: expected record.jsonl or records/NAME.jsonl"),
        ("records/missing.jsonl", "no records in records/missing.jsonl: expected a file"),
        ("a/b/c", "no records in a/b/c: expected a file"),
        ("..a/b", "is no name of a repository"),
    ],
)
def test_what_holds_no_records_is_one_line(api, hub, source, told, capsys):
    put(api, "relvit/plain", {"config.json": "{}"})
    owner = HfApi(hub.url, token="local-other")
    owner.create_repo("other/private", private=True, exist_ok=True)
    assert run_quietly(["board", source]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_no_network_is_one_line(hub, capsys):
    hub.fail("GET", "/api/datasets", status=None, times=100)
    assert run_quietly(["board", "relvit/vit"]) == 2
    error = capsys.readouterr().err
    assert "relvit/vit, which is no file here: the Hub cannot be reached" in error
    assert error.count("\n") == 1


def test_a_board_is_published_and_read_again(api, record, tmp_path, capsys):
    command = ["board", str(COMMITTED), "--out", str(tmp_path / "board"), "--repo", BOARD]
    assert run_quietly(command) == 0
    assert "published: " in capsys.readouterr().out
    assert fetch_records(BOARD) == [record]
    assert api.repo_info(BOARD, repo_type="dataset").private
    listed = set(api.list_repo_files(BOARD, repo_type="dataset"))
    assert {"README.md", "eval.yaml", "board.html", record_file(record["model"])} <= listed
    assert run_quietly(command) == 0
    assert "nothing has changed: " in capsys.readouterr().out


def test_the_card_shows_the_board_and_declares_its_table(api, record):
    push_records([record], BOARD, say=str)
    card, config = card_of(api)
    (part,) = config["data_files"]
    table = pd.read_parquet(fetched(api, part["path"]))
    assert set(table.model) == {record["model"]}
    value = next(each for each in record["values"] if each["measure"] == "judgement")
    assert f"{value['value']:.3f} ({value['ci_low']:.3f}–" in card.text
    assert f"[{record['model']}]({record_file(record['model'])})" in card.text
    assert f"relvit board runs/mine/record.jsonl {BOARD}" in card.text


def test_the_tasks_of_the_benchmark_are_those_of_the_table(api, record):
    push_records([record], BOARD, say=str)
    facts = yaml.safe_load(fetched(api, "eval.yaml").read_text())
    assert facts.keys() == {"name", "description", "tasks"}
    _, config = card_of(api)
    named = {(config["config_name"], part["split"]) for part in config["data_files"]}
    assert {(task["config"], task["split"]) for task in facts["tasks"]} == named
    measured = {f"{value['task']}-{value['measure']}" for value in record["values"]}
    assert {task["id"] for task in facts["tasks"]} == measured


def test_records_that_are_there_stay_and_one_of_the_same_name_is_replaced(api, record):
    push_records([record, renamed(record, "second")], BOARD, say=str)
    newer = renamed(record, "second", weights="f" * 16)
    push_records([newer, renamed(record, "a/third")], BOARD, say=str)
    weights = {each["model"]: each["weights"] for each in fetch_records(BOARD)}
    old = record["weights"]
    assert weights == {record["model"]: old, "second": "f" * 16, "a/third": old}
    assert set(pd.read_parquet(fetched(api, "board.parquet")).model) == set(weights)


def test_an_unlike_record_changes_nothing_there(api, record):
    push_records([record], BOARD, say=str)
    head = api.repo_info(BOARD, repo_type="dataset").sha
    other = renamed(record, "other", objects="0" * 16)
    with pytest.raises(RelViTError, match="unlike measurements"):
        push_records([other], BOARD, say=str)
    assert api.repo_info(BOARD, repo_type="dataset").sha == head


def test_keys_of_a_later_version_are_published_as_they_are(api, record):
    later = sealed({**record, "pretraining": {"images": 3}})
    push_records([later], BOARD, say=str)
    assert fetch_records(BOARD) == [later]


def test_another_projects_repository_is_refused(api, record):
    put(api, BOARD, {"data.csv": "a\n"}, "dataset")
    with pytest.raises(RelViTError, match="is another project's"):
        push_records([record], BOARD, say=str)


def test_a_dry_run_lists_the_files_and_asks_nobody(hub, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    command = ["board", str(COMMITTED), "--out", str(tmp_path / "board"), "--repo", BOARD]
    assert run_quietly([*command, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "eval.yaml" in out and "records/ (1 file)" in out and "nothing was sent" in out
    assert hub.requests == []


def test_options_of_publishing_need_a_repository(capsys):
    assert run_quietly(["board", str(COMMITTED), "--dry-run"]) == 2
    assert "name the data set by --repo" in capsys.readouterr().err


def test_sources_keep_their_order(record, tmp_path):
    write_records(tmp_path / "second.jsonl", [renamed(record, "second")])
    found = open_records([str(tmp_path / "second.jsonl"), str(COMMITTED)])
    assert [each["model"] for each in found] == ["second", record["model"]]
