import itertools
import json
import subprocess
import sys
import threading
from functools import partial

import pytest
from killing import killed_before

from hf_relvit.errors import RelViTError
from hf_relvit.manifest import MANIFEST
from hf_relvit.study.cell import run_cell


def write(text):
    def work(folder):
        (folder / "result.txt").write_text(text)

    return work


def test_a_finished_cell_is_not_done_again(tmp_path):
    assert run_cell(tmp_path / "cell", {"seed": 1}, write("first"))
    assert not run_cell(tmp_path / "cell", {"seed": 1}, write("second"))
    assert (tmp_path / "cell" / "result.txt").read_text() == "first"


def test_a_cell_killed_before_its_end_is_done_again(tmp_path):
    def killed(folder):
        (folder / "result.txt").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_cell(tmp_path / "cell", {}, killed)
    assert not (tmp_path / "cell" / MANIFEST).exists()
    assert run_cell(tmp_path / "cell", {}, write("whole"))
    assert (tmp_path / "cell" / "result.txt").read_text() == "whole"


def test_a_cell_killed_at_any_step_ends_as_if_nothing_had_happened(tmp_path):
    for step in itertools.count(1):
        cell = tmp_path / f"{step}" / "cell"
        again = partial(run_cell, cell, {}, write("whole"))
        killed = killed_before(step, again)
        again()
        assert {path.name for path in cell.iterdir()} == {MANIFEST, "result.txt"}
        assert list(cell.parent.iterdir()) == [cell]
        if not killed:
            break
    assert step > 8


def test_results_of_other_settings_are_never_mixed(tmp_path):
    run_cell(tmp_path / "cell", {"seed": 1, "images": 2}, write("x"))
    with pytest.raises(RelViTError, match=r"another seed: name another folder"):
        run_cell(tmp_path / "cell", {"seed": 2, "images": 2}, write("y"))


def test_a_half_written_cell_of_other_settings_is_not_gone_on_with(tmp_path):
    def killed(folder):
        (folder / "half").write_text("")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_cell(tmp_path / "cell", {"seed": 1, "images": 2}, killed)
    with pytest.raises(
        RelViTError, match=r"another images: name another folder with --out, or remove it"
    ):
        run_cell(tmp_path / "cell", {"seed": 1, "images": 3}, write("y"))
    assert run_cell(tmp_path / "cell", {"seed": 1, "images": 2}, write("y"))
    assert sorted(path.name for path in (tmp_path / "cell").iterdir()) == [
        MANIFEST,
        "half",
        "result.txt",
    ]


def test_two_processes_do_not_do_one_cell(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from hf_relvit.study.cell import run_cell\n"
        "run_cell(Path(sys.argv[1]), {}, lambda folder: (print('at it', flush=True), time.sleep(60)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "cell")]
    other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "at it\n"
        with pytest.raises(
            RelViTError, match=rf"cell is being made by process {other.pid} on .*: wait for it, or"
        ):
            run_cell(tmp_path / "cell", {}, write("x"))
        threading.Timer(0.5, other.kill).start()
        assert run_cell(tmp_path / "cell", {}, write("x"), patience=30)
    finally:
        other.kill()
        other.communicate()
    assert [path.name for path in tmp_path.iterdir()] == ["cell"]


@pytest.mark.parametrize(
    "damage", [lambda file: file.write_text("other"), lambda file: file.unlink()]
)
def test_a_changed_or_missing_file_is_noticed(tmp_path, damage):
    run_cell(tmp_path / "cell", {}, write("x"))
    damage(tmp_path / "cell" / "result.txt")
    with pytest.raises(RelViTError, match=r"result\.txt changed since it was made: remove"):
        run_cell(tmp_path / "cell", {}, write("x"))


def test_the_manifest_names_every_file_with_its_checksum(tmp_path):
    run_cell(
        tmp_path / "cell", {}, lambda folder: [(folder / name).write_text(name) for name in "ab"]
    )
    manifest = json.loads((tmp_path / "cell" / MANIFEST).read_text())
    assert sorted(manifest["files"]) == ["a", "b"]
    assert all(len(digest) == 64 for digest in manifest["files"].values())
