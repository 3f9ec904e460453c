"""Bad inputs over the command line and the files it reads: each ends in one line and exit code 2."""

from __future__ import annotations

import itertools
import json
import shutil

import pytest
from tiny_checkpoints import saved_checkpoints

from hf_relvit.building.build import build
from hf_relvit.building.settings import BuildConfig
from hf_relvit.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

MODEL = "MODEL"
"""Stands for the folder of a real small checkpoint: commands get behind its opening to the checks of options."""
COMMANDS = {
    "train": (
        ["train", "quick"],
        ["images", "batch-size", "n-eval", "seed", "learning-rate", "evaluations"],
    ),
    "study": (["study", "plan", "quick"], ["seeds", "images", "n-eval", "seed"]),
    "das": (["analyze", "das", MODEL], ["pairs", "test-pairs", "epochs", "layer", "seed"]),
    "probe": (["analyze", "probe", MODEL], ["n-train", "epochs", "layer", "seed"]),
    "steer": (["analyze", "steer", MODEL], ["alpha", "n-train", "seed"]),
    "diagnose": (["diagnose", MODEL], ["pairs", "scenes", "epochs", "layer", "seed"]),
    "attention": (
        ["analyze", "attention", MODEL],
        ["scenes", "seed", "split", "task", "config", "batch-size"],
    ),
    "evaluate": (["evaluate", MODEL], ["scenes", "seed", "split", "task", "config", "batch-size"]),
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


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return saved_checkpoints(tmp_path_factory.mktemp("checkpoints"))


def of_a_model(words, folder) -> list[str]:
    return [str(folder) if word == MODEL else word for word in words]


@pytest.mark.parametrize("words, option, value", OPTIONS)
def test_an_option_of_a_command(words, option, value, folders, tmp_path, capsys):
    out = tmp_path / "out"
    command = of_a_model(words, folders / "ours")
    refused([*command, f"--{option}", value, "--out", str(out)], capsys)
    assert not out.exists()


OF_A_MODEL = [words for words, _ in COMMANDS.values() if MODEL in words]
EDITS = [
    ("config.json", "architectures", 3),
    ("config.json", "transformers_version", 3),
    ("config.json", "quantization_config", {}),
    ("config.json", "attn_implementation", "kernels-community/x"),
    ("config.json", "backbone_config", 3),
    ("config.json", "id2label", {"0": "same", "1": "different"}),
    ("config.json", "scenes", {"task": "rmts"}),
    ("config.json", "scenes", {"task": "sort", "geometry": "quick", "combinations": 32}),
    ("config.json", "scenes", {"task": "rmts", "geometry": "b16", "combinations": 32}),
    ("config.json", "model_type", ["relvit"]),
    ("config.json", "readout", "map"),
    ("preprocessor_config.json", "image_std", 0),
    ("preprocessor_config.json", "size", 10**9),
    ("preprocessor_config.json", "do_resize", "x"),
    ("adapter_config.json", "base_model_name_or_path", "someone/else"),
    ("model.safetensors.index.json", "weight_map", 3),
]


@pytest.mark.parametrize("words", OF_A_MODEL, ids=" ".join)
@pytest.mark.parametrize("file, name, value", EDITS)
def test_a_command_on_an_edited_checkpoint(words, file, name, value, folders, tmp_path, capsys):
    folder = shutil.copytree(folders / "ours", tmp_path / "model")
    if file == "model.safetensors.index.json":
        (folder / "model.safetensors").unlink()
    path = folder / file
    values = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**values, name: value}))
    out = tmp_path / "out"
    refused([*of_a_model(words, folder), "--out", str(out)], capsys)
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
