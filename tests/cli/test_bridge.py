"""Dataclasses as options: what is read from a source equals what Python makes of it, and every field is reachable."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
import typing
from importlib import import_module
from pathlib import Path
from typing import Literal

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from hf_relvit import cli
from hf_relvit.cli import source as sources
from hf_relvit.cli.bridge import option_name, options, receives
from hf_relvit.cli.source import read_fields

SOURCES = sorted(
    set(re.findall(r'@options\(\s*"\w+",\s*"([\w.:]+)"', "".join(
        file.read_text() for file in Path(cli.__file__).parent.glob("*.py")
    )))
)  # fmt: skip


def commands(group, path=()):
    """(words of the command, the command) of all commands below a group."""
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))
    if not hasattr(group, "commands"):
        yield path, group


COMMANDS = dict(commands(get_command(cli.app)))


def test_the_commands_take_their_options_from_dataclasses():
    assert {"training.config:TrainConfig", "analysis.align:AlignConfig"} <= set(SOURCES)


@pytest.mark.parametrize("source", SOURCES)
def test_the_source_says_what_the_dataclass_is(source):
    module, name = source.split(":")
    made = getattr(import_module(f"hf_relvit.{module}"), name)
    types = typing.get_type_hints(made)
    read = read_fields(source)
    assert [field.name for field in read] == [field.name for field in dataclasses.fields(made)]
    for field, real in zip(read, dataclasses.fields(made)):
        assert field.type == types[field.name], field.name
        missing = real.default is dataclasses.MISSING
        assert field.default == (None if missing else real.default), field.name


@pytest.mark.parametrize(
    ("command", "source", "decided"),
    [
        (("train",), "training.config:TrainConfig", set()),
        (("study", "run"), "training.config:TrainConfig", set()),
        (("study", "plan"), "training.config:TrainConfig", set()),
        (("diagnose",), "analysis.diagnosis:DiagnosisConfig", set()),
        (("analyze", "attention"), "analysis.attention:AttentionConfig", set()),
        (("analyze", "das"), "analysis.align:AlignConfig", {"bf16"}),
        (("analyze", "novel"), "analysis.novel:NovelConfig", set()),
        (("analyze", "probe"), "analysis.probes:ProbeConfig", set()),
        (("analyze", "steer"), "analysis.steering:SteeringConfig", set()),
    ],
)
def test_every_field_is_an_option(command, source, decided):
    taken = {name for each in COMMANDS[command].params for name in each.opts}
    wanted = {option_name(field) for field in read_fields(source) if field.name not in decided}
    assert wanted <= taken


@pytest.mark.parametrize("command", [("study", "run"), ("study", "plan")])
def test_every_field_of_the_analyses_of_a_study_is_an_option(command):
    taken = {name: each for each in COMMANDS[command].params for name in each.opts}
    for field in read_fields("study.grid:CausalConfig"):
        option = taken[option_name(field, "causal")]
        assert field.help and option.help == field.help


MODULE = """
from typing import Literal
from .words import Shape as Form, SIZES
Method = Literal["das", "identity"]
class Base:
    seed: int = 0
class Config(Base):
    method: Method = "das"
    '''How it is
    found.'''
    forms: tuple[Form, ...] = ("round",)
    sizes: list[int] | None = None
    analyses: list[str] = field(default_factory=list)
    rate: float = 1 / 200
    quick: bool | None = None
    extra: str | dict | None = None
"""


@pytest.fixture
def relvit(tmp_path, monkeypatch):
    """Run a command with the options of MODULE's dataclass; what it was given, or the line of its error."""
    (tmp_path / "words.py").write_text(
        'from typing import Literal\nShape = Literal["round", "square"]\nSIZES = (1, 2)\n'
    )
    (tmp_path / "made.py").write_text(MODULE)
    monkeypatch.setattr(sources, "PACKAGE", tmp_path)
    sources._tree.cache_clear()
    received = []

    def command(settings, seed: int = 7):
        received.append({**settings, "own seed": seed})

    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(options("settings", "made:Config", make=dict)(command))

    def run(*arguments):
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == 0, result.output
        return received.pop()

    yield run
    sources._tree.cache_clear()


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        ([], {}),
        (["--method", "identity"], {"method": "identity"}),
        (["--form", "square", "--form", "round"], {"forms": ("square", "round")}),
        (["--size", "3", "--size", "0"], {"sizes": [3, 0]}),
        (["--analysis", "das"], {"analyses": ["das"]}),
        (["--rate", "0"], {"rate": 0.0}),
        (["--no-quick"], {"quick": False}),
        (["--extra", "{layer: 2, heads: [0, 1]}"], {"extra": {"layer": 2, "heads": [0, 1]}}),
        (["--extra", "some/id"], {"extra": "some/id"}),
    ],
)
def test_only_what_is_given_is_passed_on_in_the_declared_type(relvit, arguments, settings):
    received = relvit(*arguments)
    assert received == {**settings, "seed": 7, "own seed": 7}
    assert type(received.get("forms", ())) is tuple


def test_an_option_of_both_goes_to_both(relvit):
    assert relvit("--seed", "5") == {"seed": 5, "own seed": 5}


def test_help_has_the_docstrings_choices_and_defaults(relvit, monkeypatch):
    fields = {field.name: field for field in read_fields("made:Config")}
    assert fields["method"].help == "How it is found."
    assert fields["method"].type == Literal["das", "identity"]
    assert fields["forms"].type == tuple[Literal["round", "square"], ...]
    assert fields["rate"].default == 1 / 200
    assert option_name(fields["sizes"]) == "--size"


def test_a_provider_is_called_before_the_command():
    calls = []

    def provider(name: str = "x"):
        calls.append("provider")
        return name

    @receives("given", provider)
    def command(given):
        calls.append(given)

    command(name="y")
    assert calls == ["provider", "y"]


HELP_AND_TYPOS = """
import contextlib, io, json, sys
from hf_relvit import cli
HEAVY = {"torch", "transformers", "datasets", "matplotlib", "pandas"}
answers = {}
for command in json.loads(sys.argv[1]):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        for last in ("--help", "--no-such-option"):
            try:
                cli.main([*command, last])
            except SystemExit:
                pass
    answers[" ".join(command)] = {"said": said.getvalue(), "heavy": sorted(HEAVY & sys.modules.keys())}
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers():
    """What each command says to --help and to a typo, and which heavy modules are loaded then: in one process, as
    none of them may load any."""
    arguments = [sys.executable, "-c", HELP_AND_TYPOS, json.dumps(sorted(COMMANDS))]
    result = subprocess.run(arguments, capture_output=True, text=True, check=True)
    return json.loads(result.stdout)


@pytest.mark.parametrize("command", sorted(COMMANDS), ids=" ".join)
def test_help_and_typos_load_nothing_heavy(command, answers):
    answer = answers[" ".join(command)]
    assert answer["heavy"] == []
    assert "No such option: --no-such-option" in answer["said"]
