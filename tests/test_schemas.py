"""Files of another shape, and settings of another type or size, end in one line before any work."""

from __future__ import annotations

import json

import pytest

from hf_relvit.building.build import build
from hf_relvit.building.dataset_folder import check_folder
from hf_relvit.building.settings import BuildConfig
from hf_relvit.errors import RelViTError
from hf_relvit.limits import check_count, check_disk, check_finite, check_memory, check_seed
from hf_relvit.manifest import check_manifest, manifest_settings
from hf_relvit.schemas import RESULTS, FinishedCell, History, SpaceFacts, read_as
from hf_relvit.study.cell import run_cell
from hf_relvit.study.grid import plan
from hf_relvit.training.training_folder import TrainingFolder

SHAPES = [
    "[]",
    "{}",
    "null",
    "5",
    '"text"',
    "{",
    "",
    '{"files": []}',
    '{"settings": 1, "files": {}}',
    "[" * 100_000,
]


@pytest.mark.parametrize("text", SHAPES)
@pytest.mark.parametrize("shape", [FinishedCell, History, SpaceFacts, *RESULTS.values()])
def test_a_file_of_another_shape(shape, text, tmp_path):
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(RelViTError, match=r"file\.json") as caught:
        read_as(path, shape)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", SHAPES)
def test_a_cell_with_a_broken_manifest(text, tmp_path):
    run_cell(tmp_path / "cell", {}, lambda folder: (folder / "a.txt").write_text("a"))
    (tmp_path / "cell" / "DONE.json").write_text(text)
    for read in (check_manifest, manifest_settings):
        with pytest.raises(RelViTError, match=r"DONE\.json"):
            read(tmp_path / "cell")
    with pytest.raises(RelViTError, match=r"DONE\.json"):
        run_cell(tmp_path / "cell", {}, lambda folder: None)


@pytest.mark.parametrize("text", SHAPES)
@pytest.mark.parametrize("name", ["history", "config_file"])
def test_a_training_with_a_broken_file(name, text, tmp_path):
    folder = TrainingFolder(tmp_path)
    folder.history_file.write_text(text)
    folder.config_file.write_text(text)
    if name == "history" or text not in ("{}", *SHAPES[-3:-1]):
        with pytest.raises(RelViTError):
            folder.history if name == "history" else folder.config  # noqa: B018


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    out = tmp_path_factory.mktemp("data")
    build(BuildConfig("rmts", "quick-32", n_train=8, n_eval=8), out, say=str)
    return out


WRONG = [None, -1, "many", [], {}, 1.5]
KEYS = ["task", "n_train", "seed", "splits", "files", "generator"]


@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize("key", KEYS)
def test_a_dataset_with_a_broken_manifest(key, value, dataset):
    path = dataset / "quick-32" / "manifest.json"
    text = path.read_text()
    right = json.loads(text)
    try:
        if type(value) is type(right[key]):
            del right[key]
        else:
            right[key] = value
        path.write_text(json.dumps(right))
        with pytest.raises(RelViTError, match=r"manifest\.json"):
            check_folder(dataset, "quick-32")
    finally:
        path.write_text(text)


SETTINGS = """causal: true|causal: null|causal: 3|causal: das|causal: {pairs: many}|causal: {pairs: null}
causal: {pairs: .nan}|causal: {pairs: 16.5}|causal: {layers: two}|causal: {layers: 1}|causal: {layers: [1.0]}
causal: {layers: [1, 1]}|causal: {layers: [99]}|causal: {analyses: null}|causal: {analyses: das}|causal: {cache_gb: -1}
causal: {cache_gb: big}|causal: {cache_gb: .nan}|causal: {scenes: 33}|causal: {pairs: 1000000000000}|n_eval: 33
preset: [quick]|preset: null|seeds: true|seeds: 1000000|seeds: 0|seed: -1
seed: 4294967296|grid: 5""".replace("\n", "|")


@pytest.mark.parametrize("line", SETTINGS.split("|"))
def test_a_study_of_impossible_settings_is_not_planned(line, tmp_path):
    file = tmp_path / "grid.yaml"
    file.write_text(f"{line}\n")
    with pytest.raises(RelViTError) as caught:
        plan(str(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "ask",
    [
        lambda path: check_seed(-1),
        lambda path: check_seed(2**32),
        lambda path: check_seed(True),
        lambda path: check_finite("learning_rate", float("nan")),
        lambda path: check_finite("weight_decay", -1.0, 0),
        lambda path: check_count("-n", 10**12),
        lambda path: check_memory("-n", 10**12, 1000),
        lambda path: check_disk("--n-train", 10**15, 1000, path),
    ],
)
def test_sizes_that_no_machine_has(ask, tmp_path):
    with pytest.raises(RelViTError, match=r"expected|choose"):
        ask(tmp_path / "not" / "there")
