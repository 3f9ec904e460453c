"""A study kept on the Hub: fetched whole, sent as far as it is finished, never another project's."""

from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hf_relvit.errors import RelViTError
from hf_relvit.hub.studies import fetch_study, finished_files, send_study
from hf_relvit.owned import RECORD, STARTED

REPO = "relvit/kept"


@pytest.fixture
def out(tmp_path):
    """A study with a finished cell, one at work, scenes and a report."""
    texts = {
        RECORD: "report.html\n",
        "report.html": "report",
        "seed0/training/DONE.json": "{}",
        "seed0/training/model/config.json": "{}",
        f"seed0/evaluation/{STARTED}": "{}",
        "seed0/evaluation/accuracy.parquet": "half",
        "seed0/data/b16-32/manifest.json": "{}",
    }
    for name, text in texts.items():
        path = tmp_path / "study" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "study"


KEPT = {
    RECORD,
    "report.html",
    "seed0/training/DONE.json",
    "seed0/training/model/config.json",
}


def test_scenes_and_cells_at_work_stay_here(out):
    assert finished_files(out).keys() == KEPT


def test_what_is_sent_is_fetched_elsewhere_byte_for_byte(hub, out, tmp_path):
    first = send_study(out, REPO, say=str)
    assert HfApi(hub.url, token="local-relvit").repo_info(REPO, repo_type="dataset").private
    assert send_study(out, REPO, say=str) == first
    other = tmp_path / "elsewhere" / "study"
    fetch_study(REPO, other, say=str)
    fetched = {path.relative_to(other).as_posix() for path in other.rglob("*") if path.is_file()}
    assert fetched == KEPT
    assert all((other / name).read_bytes() == (out / name).read_bytes() for name in KEPT)


def test_a_folder_that_is_here_is_the_newer_one(hub, out):
    send_study(out, REPO, say=str)
    (out / "report.html").write_text("newer")
    lines: list[str] = []
    fetch_study(REPO, out, say=lines.append)
    assert (out / "report.html").read_text() == "newer"
    assert lines == [f"{out} is here already: going on with it"]


def test_a_new_repository_is_reserved_before_any_work(hub, tmp_path):
    fetch_study(REPO, tmp_path / "new", say=str)
    assert HfApi(hub.url, token="local-relvit").repo_info(REPO, repo_type="dataset").private
    assert not (tmp_path / "new").exists()


def test_a_broken_connection_leaves_no_half_of_a_study(hub, out, tmp_path):
    send_study(out, REPO, say=str)
    hub.fail("GET", "/resolve/", status=404, times=100)
    other = tmp_path / "elsewhere"
    with pytest.raises(RelViTError):
        fetch_study(REPO, other, say=str)
    assert not other.exists() and list(tmp_path.glob(".elsewhere*")) == []


@pytest.mark.parametrize(
    ("repo", "line"),
    [("other/kept", "cannot write to other"), ("kept", "no name of a repository")],
)
def test_a_wrong_owner_or_name_is_one_line(hub, tmp_path, repo, line):
    with pytest.raises(RelViTError, match=line) as caught:
        fetch_study(repo, tmp_path / "new", say=str)
    assert "\n" not in str(caught.value)


def test_another_projects_repository_is_left_alone(hub, out):
    api = HfApi(hub.url, token="local-relvit")
    api.create_repo(REPO, repo_type="dataset")
    api.upload_file(
        path_in_repo="a.txt", path_or_fileobj=b"mine", repo_id=REPO, repo_type="dataset"
    )
    with pytest.raises(RelViTError, match="another project's"):
        send_study(out, REPO, say=str)


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(RelViTError, match="is no folder"):
        finished_files(Path(tmp_path / "nothing"))
