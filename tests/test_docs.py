"""What the documents say runs: each command line is parsed as the command line would, each Python block is run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.main import get_command

from hf_relvit import cli
from hf_relvit.building.build import build
from hf_relvit.building.settings import BuildConfig
from hf_relvit.cli import options
from hf_relvit.report.run_folder import RunFolder
from hf_relvit.study.grid import CausalConfig, Run, Study
from hf_relvit.study.run import run_study

ROOT = Path(__file__).parents[1]
FILES = sorted(
    file
    for pattern in (
        "*.md",
        "docs/*.md",
        "docs/[a-z]*/*.md",
        "benchmarks/*.md",
        "dataset_builders/*/*.md",
        "spaces/*/*.md",
    )
    for file in ROOT.glob(pattern)
)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`([^`\n]+)`")
NETWORK = re.compile(
    r"\"\w+/[\w-]+\", (split|subfolder)|from_pretrained\(\"|Checkpoint\.open\(\"relvit/|pipeline\("
)
"""Of Python blocks that open something on the Hub."""


def in_blocks(text: str) -> list[str]:
    """Whole commands, of blocks to be copied."""
    blocks = [body for language, body in BLOCK.findall(text) if language in ("sh", "bash")]
    lines = [line.split("  #")[0] for body in blocks for line in body.splitlines()]
    return [piece.strip() for line in lines for piece in line.split("&&")]


def in_sentences(text: str) -> list[str]:
    """Commands in the midst of a sentence, which may leave out what it does not speak of."""
    return [piece.strip() for piece in INLINE.findall(BLOCK.sub("", text))]


def command_lines(find) -> set[str]:
    texts = [file.read_text().replace("$(which relvit)", "relvit") for file in FILES]
    launched = re.compile(r"^(?:torchrun .*?)?(relvit .*)")
    matches = [launched.match(piece) for text in texts for piece in find(text)]
    return {match[1] for match in matches if match}


def examples() -> list[str]:
    found = []

    def walk(command):
        found.extend(re.findall(r"Example: (relvit .*)", command.help or ""))
        for child in getattr(command, "commands", {}).values():
            walk(child)

    walk(get_command(cli.app))
    return found


WHOLE = command_lines(in_blocks) | set(examples())
FRAGMENTS = command_lines(in_sentences) - WHOLE


@pytest.mark.parametrize("line", sorted(WHOLE | FRAGMENTS))
def test_every_command_line_is_one(line, monkeypatch, tmp_path):
    monkeypatch.setattr(options, "check_out", lambda path, **_: path)  # places of other machines
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line)[1:]
    if line in FRAGMENTS:
        words = shlex.split(re.sub(r"[\[\]]|\.\.\.", "", line))[1:]
    command = get_command(cli.app)
    context = command.make_context("relvit", [], resilient_parsing=True)
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"there is no command {words[0]!r}"
        command = command.commands[words.pop(0)]
    if hasattr(command, "commands"):
        assert set(words) <= {"--help", *(name for each in command.params for name in each.opts)}
        return
    try:
        command.make_context("relvit", words, parent=context)
    except typer.Exit:
        assert line.endswith("--help")
    except typer.TyperException as error:
        assert line in FRAGMENTS and "Missing" in error.format_message(), error.format_message()


def python_blocks():
    for file in FILES:
        for number, (language, body) in enumerate(BLOCK.findall(file.read_text())):
            template = "{{" in body
            if language == "python" and not template and not NETWORK.search(body):
                yield pytest.param(body, id=f"{file.relative_to(ROOT)}:{number}")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with the run and the dataset that the documents name."""
    from tiny import SMALL_CAUSAL, TINY

    from hf_relvit.training.config import TrainConfig

    folder = tmp_path_factory.mktemp("docs")
    causal = CausalConfig(**{**SMALL_CAUSAL, "analyses": ["das", "probes"]})
    study = Study("quick", (Run("seed0", TrainConfig(**TINY)),), causal)
    run_study(study, folder / "runs" / "quick", say=lambda text: None)
    sizes = {"n_train": 8, "n_eval": 8}
    build(BuildConfig("rmts", "b16-32", **sizes), folder / "data" / "rmts", say=lambda text: None)
    return folder


def test_some_blocks_are_run():
    assert len(list(python_blocks())) >= 4


@pytest.mark.parametrize("block", list(python_blocks()))
def test_every_python_block_that_needs_no_network_runs(block, runs, monkeypatch, tmp_path):
    monkeypatch.chdir(runs)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    checkpoint = RunFolder(Path("runs/quick/seed0")).checkpoint()
    given = {
        "model": checkpoint.model,
        "checkpoint": checkpoint,
        "images_uint8": np.zeros((2, 64, 64, 3), np.uint8),
    }
    exec(compile(block, "block", "exec"), given)
