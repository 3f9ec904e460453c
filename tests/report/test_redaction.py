"""No path of the author's machine leaves it, and nothing else is touched."""

import json
from pathlib import Path

import pytest

from hf_relvit.errors import RelViTError
from hf_relvit.report.redaction import without_local, without_paths


@pytest.mark.parametrize(
    ("text", "published"),
    [
        ("made in /home/ann/runs/clip, today", "made in clip, today"),
        ("see ~/runs/clip", "see clip"),
        (r"C:\Users\ann\runs\clip", "clip"),
        (f"{Path.home()}/work", "work"),
        (f"{Path.cwd()}/runs/quick", "quick"),
    ],
)
def test_local_paths_are_cut_to_their_last_part(text, published):
    assert without_paths("card.md", text) == published


@pytest.mark.parametrize(
    "text",
    ["https://arxiv.org/abs/2406.15955", "attention/attention.png", "n = 1/2", "relvit/rmts"],
)
def test_addresses_names_and_shares_stay(text):
    assert without_paths("card.md", text) is None


def test_in_json_any_absolute_path_is_cut_also_in_keys():
    values = {"/opt/data/rmts": ["/opt/clip", 3, None], "task": "rmts"}
    assert without_local(values) == {"rmts": ["clip", 3, None], "task": "rmts"}
    cut = without_paths("config.json", json.dumps({"backbone": "/opt/clip"}))
    assert json.loads(cut) == {"backbone": "clip"}


def test_broken_json_is_one_line():
    with pytest.raises(RelViTError, match="is no JSON"):
        without_paths("config.json", "{")
