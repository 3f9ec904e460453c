"""Whatever a file of ours was turned into, reading it ends in one line: every reader, every kind of damage."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from hf_relvit.analysis.correlation import Correlation
from hf_relvit.analysis.novel import Novel
from hf_relvit.analysis.steering import Steering
from hf_relvit.building.build import build
from hf_relvit.building.card import render_card
from hf_relvit.building.dataset_folder import check_folder
from hf_relvit.building.farm import Farm, Job, pair_file
from hf_relvit.building.settings import BuildConfig
from hf_relvit.errors import RelViTError
from hf_relvit.modeling.checkpoint_errors import check_weights
from hf_relvit.report.collect import collect
from hf_relvit.report.results import RunResults
from hf_relvit.report.run_folder import RunFolder
from hf_relvit.stimuli.objects import open_objects
from hf_relvit.stimuli.photorealistic.scenes import SceneOptions
from hf_relvit.tables import COLUMNS, TEXT, read_rows, read_table
from hf_relvit.training.trainer import last_complete_checkpoint

SHARES = dict.fromkeys(("ci_low", "ci_high", "base_accuracy", "floor"), 0.5)
ROW = {"split": "test", "condition": "all", "accuracy": 0.9, "n": 8, **SHARES}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("data")
    build(BuildConfig("rmts", "quick-32", n_train=8, n_eval=8), out, say=str)
    return out


def masks(folder):
    folder.mkdir(parents=True)
    from PIL import Image

    for number in (1, 2):
        drawn = Image.new("L", (20, 20), 255)
        drawn.paste(0, (2, 2, 6 * number, 18))
        drawn.save(folder / f"{number}.png")
    return folder


def palette(tmp_path, built):
    file = tmp_path / "palette.json"
    file.write_text(json.dumps({"colors": [[200, 0, 0], [0, 0, 200]], "ood_colors": []}))
    folder = masks(tmp_path / "masks")
    return file, lambda: open_objects(folder, file)


def manifest(tmp_path, built):
    return built / "quick-32" / "manifest.json", lambda: check_folder(built, "quick-32")


def facts(tmp_path, built):
    return built / "quick-32" / "dataset_info.json", lambda: render_card(built)


def weights_index(tmp_path, built):
    file = tmp_path / "model.safetensors.index.json"
    file.write_text(json.dumps({"metadata": {}, "weight_map": {"a": "model-1.safetensors"}}))
    return file, lambda: check_weights(tmp_path, None)


def published(tmp_path, built):
    file = tmp_path / "results.json"
    tables = {"accuracy": [ROW]}
    values = {"format": 1, "config": {"task": "rmts"}, "processor": "p", "tables": tables}
    file.write_text(json.dumps({**values, "validation": {}, "versions": {}}))

    def read():
        return RunResults.from_json(file.read_bytes().decode("utf-8", "replace"), "a/b")

    return file, read


JSON_FILES = [palette, manifest, facts, weights_index, published]


def damage_json(text, damage):
    values = json.loads(text)
    key = next(key for key in sorted(values) if key not in ("hf_relvit", "metadata", "ood_colors"))
    if damage == "missing key":
        required = {"colors", "splits", "features", "weight_map", "config"} & values.keys()
        del values[sorted(required)[0]]
    elif damage == "wrong type":
        values = {**values, key: 1.5}
        values |= {name: 3 for name in ("features", "splits", "files") if name in values}
    elif damage == "list":
        values = [values]
    elif damage == "null":
        values = None
    return json.dumps(values)


@pytest.mark.parametrize("damage", ["missing key", "wrong type", "list", "null"])
@pytest.mark.parametrize("source", JSON_FILES)
def test_json_of_another_shape(source, damage, tmp_path, built):
    file, read = source(tmp_path, built)
    _refused(file, read, damage_json(file.read_text(), damage).encode())


BYTES = {
    "cut off": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "binary": lambda content: bytes(range(256)) * 4,
    "text": lambda content: b"a,b\n1,2\n",
    "deep": lambda content: b"[" * 100_000,
}


@pytest.mark.parametrize("damage", BYTES)
@pytest.mark.parametrize("source", JSON_FILES)
def test_json_that_is_none(source, damage, tmp_path, built):
    file, read = source(tmp_path, built)
    _refused(file, read, BYTES[damage](file.read_bytes()))


def _refused(file, read, content):
    right = file.read_bytes()
    read()  # what is whole opens
    file.write_bytes(content)
    try:
        with pytest.raises(RelViTError) as caught:
            read()
    finally:
        file.write_bytes(right)
    assert "\n" not in str(caught.value)


ALIGNMENT = {"property": "color", "layer": 1, "score": "cause", "control": "none"}
TABLE = pd.DataFrame([{**ROW, **ALIGNMENT, "weights": "trained", "auc": np.nan}] * 3)
CELL = {"evaluation": "accuracy", "das/color-1": "scores", "novel/color": "novel"}


def in_run(name, stem, table):
    def source(tmp_path):
        file = tmp_path / stem
        file.parent.mkdir(parents=True)
        return file, lambda: RunFolder(tmp_path).table(name)

    return source


def of_result(kind):
    def source(tmp_path):
        values = {"facts": {}}
        (tmp_path / f"{kind.STEM}.json").write_text(json.dumps(values))
        for name in kind.TABLES[1:]:
            TABLE.to_parquet(tmp_path / f"{name}.parquet")
        return tmp_path / f"{kind.TABLES[0]}.parquet", lambda: kind.read_contents(tmp_path)

    return source


def own_table(ending):
    return lambda tmp_path: (
        tmp_path / f"own{ending}",
        lambda: collect([tmp_path / f"own{ending}"]),
    )


def rows_of_a_dataset(tmp_path):
    return tmp_path / "test.parquet", lambda: read_rows(tmp_path / "test.parquet")


TABLES = {
    "accuracy": in_run("accuracy", "evaluation/accuracy.parquet", TABLE),
    "alignment": in_run("alignment", "das/color-1/scores.parquet", TABLE),
    "attention": in_run("attention", "attention/attention.parquet", TABLE),
    "novel": of_result(Novel),
    "steering": of_result(Steering),
    "correlation": of_result(Correlation),
    "own parquet": own_table(".parquet"),
    "own csv": own_table(".csv"),
    "rows": rows_of_a_dataset,
}


@pytest.mark.parametrize("damage", ["cut off", "empty", "binary"])
@pytest.mark.parametrize("source", TABLES)
def test_tables_that_are_none(source, damage, tmp_path):
    file, read = TABLES[source](tmp_path)
    if file.suffix == ".csv":
        TABLE.to_csv(file)
        if damage == "cut off":
            pytest.skip("half a CSV is a smaller table")
    else:
        TABLE.to_parquet(file)
    _refused(file, read, BYTES[damage](file.read_bytes()))


WRONG = {
    "list": [[1, 2]] * 3,
    "text": ["much"] * 3,
    "text of a number": ["0.5"] * 3,
    "truth": [True] * 3,
    "beyond": [0.5, 1.5, 0.5],
    "negative": [0.5, -1.5, 0.5],
    "infinite": [0.5, np.inf, 0.5],
    "nothing": [None] * 3,
}


@pytest.mark.parametrize("damage", WRONG)
@pytest.mark.parametrize("column", ["accuracy", "floor", "base_accuracy", "ci_low"])
@pytest.mark.parametrize("source", [name for name in TABLES if name not in ("rows", "correlation")])
def test_columns_that_cannot_be(source, column, damage, tmp_path):
    file, read = TABLES[source](tmp_path)
    if file.suffix == ".csv" and damage in ("text of a number", "nothing"):
        pytest.skip("is a number in CSV, or none")
    table = TABLE.assign(**{column: WRONG[damage]})
    table.to_csv(file) if file.suffix == ".csv" else table.to_parquet(file)
    with pytest.raises(RelViTError, match=rf"holds {column} .*: expected numbers") as caught:
        read()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("column", "value"), [("layer", 0.5), ("n", -1), ("n", 1.5), ("split", 3), ("condition", None)]
)
def test_whole_numbers_and_texts(column, value, tmp_path):
    TABLE.assign(**{column: value}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(RelViTError, match=f"holds {column} "):
        read_table(tmp_path / "a.parquet")


@pytest.mark.parametrize("column", ["split", "condition", "base_accuracy"])
def test_columns_of_an_older_version(column, tmp_path):
    TABLE.drop(columns=column).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(RelViTError, match=f"has no column {column}: it is of an older version"):
        read_table(tmp_path / "a.parquet", ("split", "condition", "base_accuracy"))


def test_what_was_not_measured_is_read(tmp_path):
    numbers = [name for name, kind in COLUMNS.items() if kind != TEXT]
    pd.DataFrame({name: [np.nan] for name in numbers}).to_parquet(tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet").isna().all(axis=None)


@pytest.mark.parametrize("damage", BYTES)
def test_a_broken_state_of_a_training_is_passed_over(damage, tmp_path):
    for step in (5, 10):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    assert last_complete_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    state = tmp_path / "checkpoint-10" / "trainer_state.json"
    state.write_bytes(BYTES[damage](state.read_bytes()))
    assert last_complete_checkpoint(tmp_path) == tmp_path / "checkpoint-5"


@pytest.mark.parametrize("damage", BYTES)
def test_a_broken_rendered_pair(damage, tmp_path):
    file = pair_file(tmp_path, 0)
    np.savez_compressed(file, scenes=np.array("[]"), images=np.zeros(3), masks=np.zeros(3))
    farm = Farm(Job(SceneOptions(n=4)), tmp_path)
    assert farm.pair(0).scenes == ()
    file.write_bytes(BYTES[damage](file.read_bytes()))
    with pytest.raises(
        RelViTError, match=r"pair-000000.npz is no rendered pair of ours .*: remove it"
    ):
        farm.pair(0)
