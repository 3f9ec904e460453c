"""Bad inputs over the command line and the files it reads: each ends in one line and exit code 2."""

from __future__ import annotations

import itertools
import json
import shutil

import pytest

from hf_relvit.building.build import build
from hf_relvit.building.settings import BuildConfig
from hf_relvit.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

NOWHERE = "/nowhere/model"
COMMANDS = {
    "train": (
        ["train", "quick"],
        ["images", "batch-size", "n-eval", "seed", "learning-rate", "evaluations"],
    ),
    "study": (["study", "plan", "quick"], ["seeds", "images", "n-eval", "seed"]),
    "das": (["analyze", "das", NOWHERE], ["pairs", "test-pairs", "epochs", "layer", "seed"]),
    "probe": (["analyze", "probe", NOWHERE], ["n-train", "epochs", "layer", "seed"]),
    "steer": (["analyze", "steer", NOWHERE], ["alpha", "n-train", "seed"]),
    "diagnose": (["diagnose", NOWHERE], ["pairs", "scenes", "epochs", "layer", "seed"]),
    "build": (
        ["data", "build", "rmts", "--config", "quick-32"],
        ["n-train", "n-eval", "seed", "processes"],
    ),
}
VALUES = ["-1", "1.5", "nan", "many", "", "1e400", "[1]", "-999999999999", "0x10"]
FITTING = {
    ("train", "learning-rate", "1.5"),
    ("steer", "alpha", "1.5"),
    ("steer", "alpha", "-1"),
    ("steer", "alpha", "-999999999999"),
}
OPTIONS = [
    (words, option, value)
    for name, (words, options) in COMMANDS.items()
    for option, value in itertools.product(options, VALUES)
    if (name, option, value) not in FITTING
]


def refused(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    error = capsys.readouterr().err
    assert end.value.code == 2, error
    assert "Traceback" not in error
    lines = [line for line in error.splitlines() if line.strip()]
    assert len(lines) == 1, error


@pytest.mark.parametrize("words, option, value", OPTIONS)
def test_an_option_of_a_command(words, option, value, tmp_path, capsys):
    out = tmp_path / "out"
    refused([*words, f"--{option}", value, "--out", str(out)], capsys)
    assert not out.exists()


KEYS = [
    "images",
    "n_eval",
    "batch_size",
    "seed",
    "learning_rate",
    "evaluations",
    "combinations",
    "task",
    "geometry",
]
KEYS += [
    "backbone",
    "disentanglement",
    "pipeline",
    "eval_splits",
    "causal",
    "seeds",
    "preset",
    "grid",
    "nonsense",
]
KEYS += [
    f"causal: {{{name}"
    for name in ("pairs", "test_pairs", "epochs", "scenes", "layers", "analyses", "cache_gb")
]
YAML = [
    "-1",
    ".nan",
    "nope",
    "[[]]",
    "{a: {b: 1}}",
    "[1, x]",
    "2020-01-01",
    "'1'",
    "-1.5",
    "!!binary aGk=",
    "true",
]
ALLOWED = {("seeds", "'1'")}


@pytest.mark.parametrize("value", YAML)
@pytest.mark.parametrize("key", KEYS)
def test_a_setting_of_a_study(key, value, tmp_path, capsys):
    file = tmp_path / "grid.yaml"
    file.write_text(f"{key}: {value}{'}' if '{' in key else ''}\n")
    refused(["study", "plan", str(file), "--out", str(tmp_path / "out")], capsys)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    out = tmp_path_factory.mktemp("data")
    build(BuildConfig("rmts", "quick-32", n_train=8, n_eval=8), out, say=str)
    return out


SHAPES = ["[]", "null", "5", '"x"', "{", "", "\x00", "[{}]", "true", "1e999"]
WRONG = [None, -1, "many", [], {}, 1.5, True, [None], {"a": 1}]
FIELDS = [
    "task",
    "n_train",
    "n_eval",
    "seed",
    "splits",
    "files",
    "generator",
    "version",
    "objects",
    "config",
]
SMALL = ["--config", "quick-32", "--n-train", "8", "--n-eval", "8"]
READERS = {
    "push": lambda data: ["data", "push", "rmts", "--data", data, "--repo", "a/b", "--dry-run"],
    "build": lambda data: ["data", "build", "rmts", *SMALL, "--out", data],
}


@pytest.mark.parametrize("text", SHAPES)
@pytest.mark.parametrize("name", ["manifest.json", "dataset_info.json"])
def test_a_file_of_a_dataset(name, text, dataset, tmp_path, capsys):
    copy = shutil.copytree(dataset, tmp_path / "data")
    (copy / "quick-32" / name).write_text(text)
    refused(READERS["push"](str(copy)), capsys)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize("field", FIELDS)
def test_a_field_of_a_manifest(field, value, reader, dataset, tmp_path, capsys):
    copy = shutil.copytree(dataset, tmp_path / "data")
    path = copy / "quick-32" / "manifest.json"
    values = json.loads(path.read_text())
    if type(values[field]) is type(value):
        del values[field]
    else:
        values[field] = value
    path.write_text(json.dumps(values))
    refused(READERS[reader](str(copy)), capsys)
