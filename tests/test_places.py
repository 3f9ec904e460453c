"""Every command asks for a place to write before it works, and leaves nothing there when it is refused."""

from __future__ import annotations

import pytest

from hf_relvit.cli import main
from hf_relvit.errors import RelViTError
from hf_relvit.places import check_out

NOWHERE = "/nowhere/model"
COMMANDS = {
    "train": ["train", "quick"],
    "study run": ["study", "run", "quick"],
    "diagnose": ["diagnose", NOWHERE],
    "attention": ["analyze", "attention", NOWHERE],
    "das": ["analyze", "das", NOWHERE],
    "novel": ["analyze", "novel", NOWHERE, "--alignments", NOWHERE],
    "probe": ["analyze", "probe", NOWHERE],
    "steer": ["analyze", "steer", NOWHERE],
    "correlation": ["analyze", "correlation", NOWHERE],
    "build": ["data", "build", "rmts", "--config", "quick-32"],
    "compare": ["hub", "compare", NOWHERE],
}
FILES = {
    "evaluate": ["evaluate", NOWHERE],
    "preview": ["data", "preview", "rmts", "--config", "quick-32"],
}


def bad_places(folder):
    (folder / "file").write_text("text")
    return {
        "below a file": str(folder / "file" / "x"),
        "deep below a file": str(folder / "file" / "x" / "y"),
        "in /proc": "/proc/x",
        "a name too long": str(folder / ("x" * 300)),
    }


@pytest.mark.parametrize(
    "place", ["below a file", "deep below a file", "in /proc", "a name too long"]
)
@pytest.mark.parametrize("command", [*COMMANDS, *FILES])
def test_every_command_refuses_a_place_before_any_work(command, place, tmp_path, capsys):
    words = {**COMMANDS, **FILES}[command]
    with pytest.raises(SystemExit) as end:
        main([*words, "--out", bad_places(tmp_path)[place]])
    assert end.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert "--out" in lines[0]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("command", FILES)
def test_a_folder_is_in_the_way_of_a_file(command, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main([*FILES[command], "--out", str(tmp_path)])
    assert end.value.code == 2
    assert "is a folder: expected the name of a file" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_is_in_the_way_of_a_folder(command, tmp_path, capsys):
    (tmp_path / "file").write_text("text")
    with pytest.raises(SystemExit) as end:
        main([*COMMANDS[command], "--out", str(tmp_path / "file")])
    assert end.value.code == 2
    assert "is a file: expected a folder" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_no_names(name):
    with pytest.raises(RelViTError, match="expected the name of a folder"):
        check_out(name)


def test_a_good_place_is_left_as_it_was(tmp_path):
    assert check_out(tmp_path / "new" / "folder") == tmp_path / "new" / "folder"
    assert check_out(tmp_path / "table.parquet", file=True) == tmp_path / "table.parquet"
    assert list(tmp_path.iterdir()) == []
