"""Nothing of others is removed, moved or overwritten, and no half-written file of a killed attempt stays."""

from __future__ import annotations

import ast
import json
import os
import signal
from pathlib import Path

import pandas as pd
import pytest
import torch
from tiny import TINY
from walk import snapshot, strangers

import hf_relvit
from hf_relvit.analysis.probes import Probes
from hf_relvit.building.build import build
from hf_relvit.building.settings import BuildConfig
from hf_relvit.errors import RelViTError
from hf_relvit.files import atomic_write, write_json
from hf_relvit.modeling import RelViTConfig, RelViTForImageClassification
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.modeling.processing import default_processor
from hf_relvit.owned import RECORD, partial_folder, remove_ours, replace_folder
from hf_relvit.study.cell import run_cell
from hf_relvit.training.config import TrainConfig, vit
from hf_relvit.training.run import train

ROOT = Path(hf_relvit.__file__).parent
REMOVES = {"rmtree", "unlink", "rmdir", "remove", "removedirs", "rename", "renames", "move"}
NEVER_EXIST = 4_194_304 + 7  # beyond the largest process id


def tiny_model() -> RelViTForImageClassification:
    backbone = {**vit(2, 32, 2), "image_size": 64, "patch_size": 8}
    return RelViTForImageClassification(RelViTConfig(backbone_config=backbone))


def test_only_one_module_removes_and_renames():
    found = []
    for path in ROOT.rglob("*.py"):
        if path.name == "owned.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            base = ast.unparse(node.func.value)
            name = node.func.attr
            of_os = base in ("os", "shutil") and name in (*REMOVES, "replace")
            of_path = name in {"unlink", "rmdir", "rmtree"} or (
                name == "rename" and not node.keywords
            )
            if of_os or of_path:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(node)[:60]}")
    assert not found


TAKEN = [
    "model/weights_of_my_thesis.bin",
    "checkpoints/checkpoint-9/epoch.ckpt",
    "history.json",
    "config.json",
]


@pytest.mark.parametrize("name", [*TAKEN, "model/config.json", "model/errors.py", "notes.txt"])
def test_training_spares_a_project_folder(tmp_path, name):
    before = strangers(tmp_path, [name])
    try:
        train(TrainConfig(**{**TINY, "images": 32, "evaluations": 1}), tmp_path, progress=False)
    except RelViTError:
        assert snapshot(tmp_path) == before
    assert snapshot(tmp_path).items() >= before.items()


@pytest.mark.parametrize(
    "name", ["weights.bin", "sub/notes.txt", "README.md", "config.json", "losses.py"]
)
def test_saving_a_checkpoint_spares_what_is_there(tmp_path, name):
    folder = tmp_path / "model"
    before = strangers(folder, [name])
    checkpoint = Checkpoint(tiny_model(), default_processor(64))
    for _ in range(2):
        try:
            checkpoint.save(folder)
        except RelViTError as error:
            assert "not written by hf_relvit" in str(error) or "not ours" in str(error)
            assert snapshot(folder) == before
        assert snapshot(folder).items() >= before.items()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_checkpoint_replaces_its_own(tmp_path):
    Checkpoint(tiny_model(), default_processor(64)).save(tmp_path / "model")
    strangers(tmp_path / "model", ["notes.txt"])
    changed = tiny_model()
    torch.nn.init.constant_(changed.classifier.weight, 3)
    Checkpoint(changed, default_processor(64)).save(tmp_path / "model")
    opened = Checkpoint.open(tmp_path / "model")
    assert (opened.model.classifier.weight == 3).all()
    assert (tmp_path / "model" / "notes.txt").read_text() == "mine: notes.txt"


@pytest.mark.parametrize(
    "name", ["README.md", "columns.png", "quick-32/test.parquet", "quick-32.shards/mine", "x"]
)
def test_a_build_spares_what_is_there(tmp_path, name):
    before = strangers(tmp_path, [name])
    try:
        build(BuildConfig("rmts", "quick-32", n_train=16, n_eval=16), tmp_path, say=str)
    except RelViTError:
        assert snapshot(tmp_path) == before
    assert snapshot(tmp_path).items() >= before.items()


def test_a_build_made_again_spares_what_came_later(tmp_path):
    build(BuildConfig("rmts", "quick-32", n_train=16, n_eval=16), tmp_path, say=str)
    before = strangers(tmp_path / "quick-32", ["notes.txt"])
    manifest = tmp_path / "quick-32" / "manifest.json"
    values = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**values, "generator": "another"}))
    build(BuildConfig("rmts", "quick-32", n_train=16, n_eval=16), tmp_path, say=str)
    assert (tmp_path / "quick-32" / "notes.txt").read_bytes() == before["notes.txt"]
    assert json.loads(manifest.read_text()) == values


def test_a_cell_starts_in_an_empty_folder(tmp_path):
    before = strangers(tmp_path / "cell", ["table.parquet"])
    with pytest.raises(RelViTError, match=r"table\.parquet is there already"):
        run_cell(tmp_path / "cell", {}, lambda folder: (folder / "table.parquet").write_text("x"))
    assert snapshot(tmp_path / "cell") == before


RESULTS = {
    "json": ("facts.json", lambda folder: write_json(folder / "facts.json", {})),
    "probes": (
        "probes.parquet",
        lambda folder: Probes(pd.DataFrame({"layer": [0]}), {}, {}).save(folder),
    ),
}


@pytest.mark.parametrize("kind", RESULTS)
def test_results_replace_only_their_own(tmp_path, kind):
    name, write = RESULTS[kind]
    write(tmp_path / "ours")
    write(tmp_path / "ours")
    assert name in (tmp_path / "ours" / RECORD).read_text().splitlines()
    before = strangers(tmp_path / "theirs", [name])
    with pytest.raises(RelViTError, match="was not written by hf_relvit"):
        write(tmp_path / "theirs")
    assert snapshot(tmp_path / "theirs") == before


def test_a_lock_of_others_is_no_lock(tmp_path):
    before = strangers(tmp_path, [".cell.lock"])
    with pytest.raises(RelViTError, match="no lock of ours"):
        run_cell(tmp_path / "cell", {}, lambda folder: None)
    assert snapshot(tmp_path) == before


def _die_writing(cell: Path) -> None:
    def die(folder: Path) -> None:
        with atomic_write(folder / "table.parquet") as temporary:
            temporary.write_bytes(b"half")
            (folder / f".older.json.{NEVER_EXIST}.tmp").write_text("half")
            (folder / f".model.partial-{NEVER_EXIST}").mkdir()
            os.kill(os.getpid(), signal.SIGKILL)

    run_cell(cell, {}, die)


def test_a_killed_attempt_leaves_nothing(tmp_path):
    cell = tmp_path / "cell"
    child = os.fork()
    if child == 0:
        _die_writing(cell)
    os.waitpid(child, 0)
    assert len(list(cell.glob(".*"))) == 3
    run_cell(cell, {}, lambda folder: (folder / "other.txt").write_text("whole"))
    assert sorted(path.name for path in cell.iterdir()) == ["DONE.json", "other.txt"]
    assert list(json.loads((cell / "DONE.json").read_text())["files"]) == ["other.txt"]
    assert list(tmp_path.iterdir()) == [cell]


def test_partials_of_the_living_stay(tmp_path):
    living = tmp_path / f".a.json.{os.getppid()}.tmp"
    dead = tmp_path / f".a.json.{NEVER_EXIST}.tmp"
    elsewhere = tmp_path / ".a.json.partial-00000000-1"
    for path in (living, dead, elsewhere):
        path.write_text("half")
    write_json(tmp_path / "a.json", {})
    assert (living.exists(), dead.exists(), elsewhere.exists()) == (True, False, True)


@pytest.mark.parametrize(
    "name", [".DS_Store", "._table.parquet", ".nfs000000000012ab", "Thumbs.db"]
)
def test_junk_is_no_result(tmp_path, name):
    def work(folder: Path) -> None:
        (folder / "table.parquet").write_text("result")
        (folder / name).write_text("one")

    run_cell(tmp_path / "cell", {}, work)
    (tmp_path / "cell" / name).unlink()
    assert not run_cell(tmp_path / "cell", {}, work)
    (tmp_path / "cell" / "table.parquet").write_text("changed")
    with pytest.raises(RelViTError, match="changed since"):
        run_cell(tmp_path / "cell", {}, work)


def test_files_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        Checkpoint(tiny_model(), default_processor(64)).save(tmp_path / "model")
        Probes(pd.DataFrame({"layer": [0]}), {"w": torch.zeros(2)}, {}).save(tmp_path / "probes")
    finally:
        os.umask(before)
    modes = {
        path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()
    }
    assert set(modes.values()) == {0o640}, modes


def test_removal_follows_no_link_and_keeps_what_is_not_named(tmp_path):
    outside = strangers(tmp_path / "outside", ["a.txt"])
    folder = tmp_path / "folder"
    strangers(folder, ["ours/a.txt", "theirs/a.txt"])
    (folder / "ours" / "link").symlink_to(tmp_path / "outside")
    remove_ours(folder, ["ours/*"])
    assert snapshot(folder) == {"theirs/a.txt": b"mine: theirs/a.txt"}
    assert snapshot(tmp_path / "outside") == outside


def test_a_replaced_folder_is_whole(tmp_path):
    with partial_folder(tmp_path / "x") as partial:
        strangers(partial, ["a", "last"])
        replace_folder(partial, tmp_path / "x", last="last")
    with pytest.raises(RelViTError), partial_folder(tmp_path / "x") as partial:
        strangers(partial, ["a"])
        replace_folder(partial, tmp_path / "x", last="last")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
