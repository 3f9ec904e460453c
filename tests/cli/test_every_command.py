"""Promises that hold for every command, walked over the app, so that a new command cannot be forgotten."""

from __future__ import annotations

import contextlib
import io
import json
import os
import typing
from pathlib import Path

import pytest
import transformers
from walk import (
    COMMANDS,
    FILES,
    READING,
    SERVING,
    WRITING,
    prepare,
    run_quietly,
    snapshot,
    strangers,
)

from hf_relvit.files import lock_path
from hf_relvit.modeling import RelViTForImageClassification
from hf_relvit.owned import RECORD, is_partial, partial_path

NEVER_EXIST = 4_194_304 + 7  # beyond the largest process id
STRANGERS = ["notes.txt", "model/my_weights.bin", "figures/mine.png", "seed0/thesis.txt"]


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("inputs"))


def run(arguments, command, folder, *more):
    out = folder / FILES[command] if command in FILES else folder
    return run_quietly([*arguments[command], "--out", str(out), *more])


@pytest.fixture(scope="module")
def written(arguments, tmp_path_factory):
    """Command -> the names of the files that it writes, in the order of writing; each runs once."""
    names = {}

    def names_of(command):
        if command not in names:
            folder = tmp_path_factory.mktemp("clean")
            way = "--json" if prints_numbers(COMMANDS[command]) else "--quiet"
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                assert run(arguments, command, folder, way) == 0
            check_printed(printed.getvalue(), way)
            files = [path for path in folder.rglob("*") if path.is_file() and path.name != RECORD]
            ordered = sorted(files, key=lambda path: path.stat().st_mtime_ns)
            names[command] = [str(path.relative_to(folder)) for path in ordered]
        return names[command]

    return names_of


def prints_numbers(command) -> bool:
    return any("--json" in parameter.opts for parameter in command.params)


def check_printed(text: str, way: str) -> None:
    """With --json one document with numbers at full precision, with --quiet nothing."""
    if way == "--quiet":
        assert text == ""
        return
    for name, found in json.loads(text).items():
        rows = found if isinstance(found, list) else [found]
        assert rows and all(isinstance(row, dict) and row for row in rows), name


def test_each_command_is_known(arguments):
    assert set(arguments) == set(WRITING)
    for command in READING | SERVING:
        taken = {name for each in COMMANDS[command].params for name in each.opts}
        assert "--out" not in taken or command == ("study", "plan")


@pytest.mark.long
@pytest.mark.parametrize("taken", ["all", "the first", "the last", "others"])
@pytest.mark.parametrize("command", WRITING, ids=" ".join)
def test_files_of_strangers_stay_as_they_are(command, taken, arguments, written, tmp_path, capsys):
    names = written(command)
    chosen = {"all": names, "the first": names[:1], "the last": names[-1:], "others": STRANGERS}
    before = strangers(tmp_path, chosen[taken])
    code = run(arguments, command, tmp_path)
    assert snapshot(tmp_path).items() >= before.items()
    if taken != "others":
        lines = capsys.readouterr().err.splitlines()
        assert code == 2, "results that could not be written look finished"
        assert lines[-1].startswith("relvit: ")


def leave_half(whole: Path) -> None:
    """What a killed attempt at a file or folder leaves: a half one, and the lock of the folder around it."""
    name = partial_path(whole).name.replace(f"-{os.getpid()}", f"-{NEVER_EXIST}")
    (whole.parent / name).mkdir(parents=True, exist_ok=True)
    (whole.parent / name / "half").write_bytes(b"half")


@pytest.mark.long
@pytest.mark.parametrize("command", WRITING, ids=" ".join)
def test_what_killed_attempts_left_goes_at_the_next_run(command, arguments, written, tmp_path):
    names = [Path(name) for name in written(command)]
    datasets = {name.parent for name in names if name.name == "manifest.json"}
    for name in names:
        inside = datasets & {*name.parents}  # a dataset is made as a whole folder
        leave_half(tmp_path / (inside.pop() if inside else name))
    locked = {name.parent for name in names if name.name in ("DONE.json", "manifest.json")}
    locked |= {name.parent / "checkpoints" for name in names if name.name == "history.json"}
    if command == ("study", "compact"):  # its folders are no cells of their own
        locked = {folder for folder in locked if not locked & {*folder.parents}}
    for folder in locked:
        lock = lock_path(tmp_path / folder)
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.write_text(f"process {NEVER_EXIST} on here")
    assert run(arguments, command, tmp_path) == 0
    left = [path for path in tmp_path.rglob(".*") if is_partial(path) or path.suffix == ".lock"]
    assert left == []
    for manifest in tmp_path.rglob("DONE.json"):
        named = json.loads(manifest.read_text())["files"]
        assert not [name for name in named if any(is_partial(Path(s)) for s in Path(name).parts)]


WRONG = {int: "-1", float: "nan", str: "no such thing", Path: "/nowhere", dict: "{nonsense: 1}"}
"""A value for an option of each type that nothing can be done with."""


def kind_of(option) -> type:
    """The type of one value of an option."""
    annotation = option.type_descriptor.annotation
    inner = typing.get_args(annotation)
    if option.metavar == "YAML":
        return dict
    if typing.get_origin(annotation) is typing.Literal:
        return str
    return inner[0] if inner else annotation


OPTIONS = [
    (command, option.opts[0], WRONG[kind_of(option)])
    for command in WRITING
    for option in COMMANDS[command].params
    if option.param_type_name == "option"
    and not option.is_flag
    and option.opts[0] not in ("--out", "--help")
]

OPTIONS += [(command, "--layer", "99") for command, option, _ in OPTIONS if option == "--layer"]


@pytest.fixture
def no_work(monkeypatch):
    """Nothing is trained, drawn, captured or written: a refusal has to come before."""

    def began(*args, **kwargs):
        pytest.fail("work began before the settings were checked")

    monkeypatch.setattr(RelViTForImageClassification, "forward", began)
    monkeypatch.setattr(transformers.Trainer, "train", began)
    monkeypatch.setattr("hf_relvit.study.run.run_cell", began)
    monkeypatch.setattr("hf_relvit.files.put_in_place", began)


@pytest.mark.parametrize("command, option, value", OPTIONS)
def test_every_setting_is_checked_before_any_work(
    command, option, value, arguments, no_work, tmp_path, capsys
):
    name = FILES.get(command, "out")
    given = [*arguments[command], option, value, "--out", str(tmp_path / name)]
    code = run_quietly(given)
    error = capsys.readouterr().err
    assert code == 2, error
    assert error.splitlines()[-1].startswith("relvit: ")
    assert list(tmp_path.iterdir()) == [], "a place that would refuse the corrected command"
