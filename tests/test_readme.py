"""The commands of the README run in their order, at sizes that a test can afford; its length: tests/browser."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from walk import run_quietly

README = Path(__file__).parents[1] / "README.md"
CHECKPOINT = "runs/quick/seed0/training/model"
TRAINING = "--images 32 --batch-size 16 --n-eval 32 --evaluations 1 --warmup-steps 1"
PAIRS = "--pairs 8 --test-pairs 8 --epochs 1 --layer 1"
SCENES = "--train-scenes 32 --scenes 16 --epochs 1 --layer 1"
SIZES = {
    "study run quick": f"{TRAINING} --no-causal",
    "evaluate": "-n 16",
    "analyze attention": "--scenes 8",
    "analyze das": PAIRS,
    "analyze probe": SCENES,
    "diagnose": f"{SCENES} --pairs 8 --test-pairs 8",
    "push": "--dry-run",
}
"""Command -> options that make it small."""
ELSEWHERE = {
    "measure": "needs the Hub: tests/study/test_measure.py",
}


def commands() -> list[str]:
    """Those of the table of questions, without `relvit`."""
    return re.findall(r"^\| [^|]+\| `relvit ([^`]+)` \|$", README.read_text(), re.MULTILINE)


def named(line: str, names: dict[str, str]) -> list[str]:
    return [name for name in names if line.startswith(name)]


def test_each_command_of_the_table_is_run_here_or_elsewhere():
    assert len(commands()) == 8
    for line in commands():
        assert len(named(line, SIZES | ELSEWHERE)) == 1, line


def test_the_commands_run_in_their_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for line in commands():
        if name := named(line, SIZES):
            small = f"{line.replace('CHECKPOINT', CHECKPOINT)} {SIZES[name[0]]}"
            assert run_quietly(shlex.split(small)) == 0, small
    reports = ["runs/quick/report.html", "runs/d/diagnosis.html", "runs/a/attention.png"]
    assert all((tmp_path / name).exists() for name in reports)


def test_it_says_all_that_a_stranger_asks_first():
    text = README.read_text()
    wanted = [
        "2204.11167",
        "2406.15955",
        "CITATION.cff",
        "pip install -e '.[demo]'",
        "Status and limits",
    ]
    wanted += ["make quickstart", "docs/images/pipeline.svg", "docs/images/clip.png"]
    assert [words for words in wanted if words not in text] == []
    extras = re.findall(
        r"^(\w+) = \[", README.with_name("pyproject.toml").read_text(), re.MULTILINE
    )
    for extra in {"render", "cluster", "track", "lora", "docs", "demo"} & set(extras):
        assert f"pip install -e '.[{extra}]'" in text
