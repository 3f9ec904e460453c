"""A Hub out of reach: one line at once, and what is in the cache all the same."""

from __future__ import annotations

import pytest
from huggingface_hub import constants

from hf_relvit.cli.connection import check_reachable
from hf_relvit.errors import RelViTError, RelViTWarning

CLOSED = "http://127.0.0.1:9"  # the port that discards, where nobody listens


@pytest.fixture
def unreachable(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", CLOSED)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_an_id_that_is_nowhere_is_one_line(unreachable):
    with pytest.raises(RelViTError, match=f"some/body is no folder, and the Hub at {CLOSED} is"):
        check_reachable("some/body")
    assert constants.HF_HUB_OFFLINE is False


def test_what_is_in_the_cache_is_taken_from_it_without_asking_again(unreachable):
    repo = unreachable / "models--some--body"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("abc")
    (repo / "snapshots" / "abc").mkdir(parents=True)
    (repo / "snapshots" / "abc" / "config.json").write_text("{}")
    with pytest.warns(RelViTWarning, match="some/body is taken from the cache"):
        check_reachable("some/body")
    assert constants.HF_HUB_OFFLINE is True


@pytest.mark.parametrize("what", ["folder", "no/such/folder/at/all"])
def test_nobody_is_asked_about_what_is_no_id(unreachable, what, monkeypatch):
    (unreachable / "folder").mkdir()
    monkeypatch.chdir(unreachable)
    monkeypatch.setattr(constants, "ENDPOINT", "not an address")
    check_reachable(what)


def test_a_hub_that_answers_is_left_to_the_client(hub):
    check_reachable("some/body")
