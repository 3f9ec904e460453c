"""Habits that all commands share: --quiet, --json, names of options, progress in logs, NO_COLOR, completion."""

import inspect
import io
import json
import re
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest
from typer.main import get_command
from walk import COMMANDS, run_quietly

from hf_relvit import cli, progress

FLAGS = {
    (name, tuple(parameter.opts), tuple(parameter.secondary_opts))
    for command in COMMANDS.values()
    for parameter in command.params
    for name in parameter.opts
    if name.startswith("-")
}


def options_of(command):
    return {name for parameter in command.params for name in parameter.opts}


@pytest.mark.parametrize("words", sorted(COMMANDS), ids=" ".join)
def test_every_command_is_quiet_when_told_and_shows_numbers_as_json(words):
    command = COMMANDS[words]
    own = inspect.unwrap(command.callback)
    source = inspect.getsource(own)
    if "_report(" in source:
        source += inspect.getsource(sys.modules[own.__module__]._report)
    assert {"--quiet", "-q"} <= options_of(command)
    assert ("--json" in options_of(command)) == ("show(" in source)
    assert "typer.echo" not in source and "print(" not in source


def test_an_option_has_the_same_forms_everywhere():
    forms = defaultdict(set)
    for name, options, secondary in FLAGS:
        forms[name].add((options, secondary))
    assert {name: found for name, found in forms.items() if len(found) > 1} == {}


MEANINGS = {
    "--config": r"GEOMETRY|b16-32",
    "--settings": "YAML",
    "--data": "Folder .*(relvit data build|own pictures)",
    "--seed": "",
    "--repo": "OWNER/NAME",
    "--scenes": "",
    "--out": "Folder|file",
}


@pytest.mark.parametrize("name", sorted(MEANINGS))
def test_an_option_means_the_same_everywhere(name):
    found = [p for c in COMMANDS.values() for p in c.params if name in p.opts]
    assert found
    for parameter in found:
        assert re.search(MEANINGS[name], parameter.help or ""), parameter.help


def test_a_study_is_planned_as_json(tmp_path, capsys):
    assert run_quietly(["study", "plan", "quick", "--out", str(tmp_path), "--json"]) == 0
    cells = json.loads(capsys.readouterr().out)["cells"]
    assert [cell["number"] for cell in cells] == list(range(1, len(cells) + 1))
    assert cells[2]["cell"] == "evaluation" and cells[2]["needs"] == [1, 2]


def test_env_is_one_block_without_secrets(monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 30)
    assert run_quietly(["env"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines]
    assert {"hf_relvit", "torch", "transformers", "python", "device", "threads"} <= set(names)
    assert not any("xxx" in line or str(Path.home()) in line for line in lines)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def loop(monkeypatch, stream, steps, seconds=10.0, **options):
    """What a loop of that many seconds writes."""
    clock = iter([0.0] + [seconds] * 10_000)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "time", type("Clock", (), {"monotonic": lambda: next(clock)}))
    for _ in progress.progress_bar(range(steps), desc="probes", mininterval=0, **options):
        pass
    return stream.getvalue()


@pytest.mark.parametrize(("steps", "lines"), [(100, 10), (1000, 10), (3, 3), (1, 1)])
def test_a_log_gets_at_most_one_line_per_tenth(monkeypatch, steps, lines):
    text = loop(monkeypatch, io.StringIO(), steps)
    assert text.count("\n") == len(text.splitlines()) == lines
    assert "\r" not in text
    assert text.splitlines()[-1] == f"probes: 100 % ({steps} of {steps}, 00:10)"


def test_short_loops_write_nothing_into_a_log(monkeypatch):
    assert loop(monkeypatch, io.StringIO(), 100, seconds=1.0) == ""


def test_a_terminal_gets_a_bar(monkeypatch):
    assert "\r" in loop(monkeypatch, Terminal(), 100)


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_silence_is_silent_and_ends(monkeypatch, stream):
    progress.silence(True)
    try:
        assert loop(monkeypatch, stream(), 100) == ""
    finally:
        progress.silence(False)
    assert loop(monkeypatch, stream(), 100) != ""


def test_no_bar_of_tqdm_is_drawn_but_by_progress():
    package = Path(progress.__file__).parent
    users = [
        p.name for p in package.rglob("*.py") if re.search(r"\btqdm\(|trange\(", p.read_text())
    ]
    assert users == []


@pytest.mark.parametrize("words", sorted({words[:n] for words in COMMANDS for n in (0, 1, 2)}))
def test_no_color_is_honored(words, monkeypatch, capsys):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert run_quietly([*words, "--help"]) == 0
    out = capsys.readouterr().out
    assert not re.search(r"\x1b\[[\d;]*(3\d|4\d|9\d)[\d;]*m", out), "a color"


def test_the_shell_completes_commands():
    program = "import sys; from hf_relvit.cli import main; sys.argv = ['relvit']; main()"
    words = {"_RELVIT_COMPLETE": "complete_bash", "COMP_WORDS": "relvit ana", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=words, capture_output=True, text=True
    )
    assert done.stdout.split() == ["analyze"], done.stderr
    names = {name for parameter in get_command(cli.app).params for name in parameter.opts}
    assert {"--install-completion", "--show-completion", "--version"} <= names


def test_a_bar_of_unknown_length_is_no_error(monkeypatch):
    start = time.monotonic()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert list(progress.progress_bar(iter("abc"))) == ["a", "b", "c"]
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("path", sorted(COMMANDS), ids=" ".join)
def test_help_breaks_lines_where_the_terminal_does(path):
    """The breaks of the source stood in the midst of sentences."""
    paragraphs = (COMMANDS[path].help or "").split("\n\n")
    assert paragraphs[0] and not any("\n" in each for each in paragraphs)


@pytest.mark.parametrize("columns", ["80", "129", "130", "160"])
@pytest.mark.parametrize("path", sorted(COMMANDS), ids=" ".join)
def test_help_cuts_no_name_and_shows_no_markup(path, columns, monkeypatch, capsys):
    """Boxes of 80 columns said `--gradient-check…`, and help from docstrings showed their double backticks."""
    monkeypatch.setenv("COLUMNS", columns)
    assert run_quietly([*path, "--help"]) == 0
    out = re.sub(
        r"\x1b\[[\d;]*m", "", capsys.readouterr().out
    )  # a terminal of an earlier test had colors
    names = {name for parameter in COMMANDS[path].params for name in parameter.opts}
    assert "…" not in out and "``" not in out
    assert all(name in out for name in names if name.startswith("--"))
