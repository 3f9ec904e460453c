import json

import pytest

from hf_relvit.errors import RelViTError
from hf_relvit.study.cells import MANIFEST, run_cell


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


def test_results_of_other_settings_are_never_mixed(tmp_path):
    run_cell(tmp_path / "cell", {"seed": 1, "images": 2}, write("x"))
    with pytest.raises(RelViTError, match=r"another seed: name another folder"):
        run_cell(tmp_path / "cell", {"seed": 2, "images": 2}, write("y"))


@pytest.mark.parametrize("damage", [lambda file: file.write_text("other"), lambda file: file.unlink()])
def test_a_changed_or_missing_file_is_noticed(tmp_path, damage):
    run_cell(tmp_path / "cell", {}, write("x"))
    damage(tmp_path / "cell" / "result.txt")
    with pytest.raises(RelViTError, match=r"result\.txt changed since it was made: remove"):
        run_cell(tmp_path / "cell", {}, write("x"))


def test_the_manifest_names_every_file_with_its_checksum(tmp_path):
    run_cell(tmp_path / "cell", {}, lambda folder: [(folder / name).write_text(name) for name in "ab"])
    manifest = json.loads((tmp_path / "cell" / MANIFEST).read_text())
    assert sorted(manifest["files"]) == ["a", "b"]
    assert all(len(digest) == 64 for digest in manifest["files"].values())
