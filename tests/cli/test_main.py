"""The command line as a person meets it: exit codes, one-line errors, speed of --help (by what it loads)."""

import dataclasses
import os
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import load_dataset
from PIL import Image

from hf_relvit import cli
from hf_relvit.errors import RelViTWarning


def run(*arguments, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(list(arguments))
    captured = capsys.readouterr()
    return end.value.code, captured.out, captured.err


@pytest.mark.parametrize(
    "command", [[], ["data"], ["data", "build"], ["train"], ["evaluate"], ["analyze"], ["study"]]
)
def test_help_everywhere(command, capsys):
    code, out, _ = run(*command, "--help", capsys=capsys)
    assert code == 0
    assert "Usage" in out


@pytest.mark.parametrize(
    "command", [["data", "build"], ["data", "preview"], ["train"], ["evaluate"], ["study", "run"]]
)
def test_help_shows_an_example(command, capsys):
    assert "Example: relvit" in run(*command, "--help", capsys=capsys)[1]


@pytest.mark.parametrize(
    "code", ["import hf_relvit", "import hf_relvit.cli", "import hf_relvit.stimuli.rendering"]
)
def test_light_imports_load_no_heavy_package(code):
    heavy = "{'torch', 'transformers', 'datasets', 'matplotlib'}"
    program = f"import sys; {code}; print(sorted({heavy} & sys.modules.keys()))"
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert out.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "quik", "--out", "x"], "did you mean 'quick'"),
        (
            ["data", "preview", "rmts", "--config", "b16-33"],
            "combinations 33: expected a multiple of the 16 colors",
        ),
        (
            ["data", "preview", "rmts", "--config", "b16-32", "--split", "tset"],
            "unknown split 'tset'",
        ),
        (["data", "preview", "rmtz", "--config", "b16-32"], "unknown task 'rmtz'"),
        (["data", "preview", "rmts", "--config", "quick-²"], "config 'quick-²': expected"),
        (["data", "preview", "rmts", "--config", "quick-٣٢"], "config 'quick-٣٢': expected"),
        (["evaluate", "no/such/folder"], "no/such/folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(*arguments, capsys=capsys)
    assert code == 2
    assert err.startswith("relvit: ")
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


TRAIN = ["train", "quick", "--out", "x"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            [*TRAIN, "--imagess", "3"],
            "No such option: --imagess (Possible options: --images); see relvit train --help",
        ),
        (["trian"], "No such command 'trian'. Did you mean 'train'?"),
        (["train"], "Missing argument 'preset'"),
        ([*TRAIN, "--images", "1.5"], "--images '1.5': expected a valid integer"),
        ([*TRAIN, "--seed", "-1"], "--seed '-1': expected greater than or equal to 0"),
        ([*TRAIN, "--seed", "4294967296"], "--seed '4294967296': expected less than"),
        ([*TRAIN, "--learning-rate", "nan"], "--learning-rate nan: expected a finite number"),
        ([*TRAIN, "--pipeline", "{a"], "--pipeline '{a': expected a mapping"),
        (["evaluate", "x", "-n", "nan"], "-n 'nan': expected a valid integer"),
        (["evaluate", "x", "--seed", "-1"], "--seed '-1'"),
        (["analyze", "steer", "x", "--out", "x", "--seed", "-1"], "--seed '-1'"),
        (["analyze", "correlation", "x", "--out", "x", "--seed", "-1"], "--seed '-1'"),
        (["analyze", "das", "x", "--out", "x", "--layer", "y"], "--layer 'y'"),
        (
            ["analyze", "novel", "x", "--alignments", "x", "--out", "x", "--baseline", "blank"],
            "blank",
        ),
        (["diagnose", "x", "--out", "x", "--task", "rmst"], "did you mean 'rmts'?"),
        (
            ["study", "run", "quick", "--out", "x", "--executor", "loca"],
            "--executor 'loca': expected one of local, ray (did you mean 'local'?)",
        ),
    ],
)
def test_a_wrong_option_is_one_line_with_the_value(arguments, line, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments, capsys=capsys)
    assert code == 2
    assert out == ""
    assert err.startswith("relvit: ") and err.count("\n") == 1
    assert line in err
    assert list(tmp_path.iterdir()) == []


MANY = "1000000000000"


@pytest.mark.parametrize(
    "arguments",
    [
        ["data", "build", "rmts", "--config", "quick-32", "--out", "x", "--n-train", MANY],
        ["data", "build", "rmts", "--config", "quick-32", "--out", "x", "--n-eval", MANY],
        ["data", "preview", "rmts", "--config", "quick-32", "-n", MANY],
        ["data", "preview", "rmts", "--config", "quick-32", "-n", "100000000"],
        ["study", "run", "quick", "--out", "x", "--seeds", "1000000"],
        ["study", "plan", "quick", "--out", "x", "--seeds", "1000000"],
        ["train", "quick", "--out", "x", "--images", MANY],
        ["evaluate", "x", "-n", MANY],
        ["diagnose", "x", "--out", "x", "--pairs", MANY],
        ["analyze", "das", "x", "--out", "x", "--pairs", MANY],
        ["analyze", "das", "x", "--out", "x", "--test-pairs", MANY],
        ["analyze", "probe", "x", "--out", "x", "--train-scenes", MANY],
        ["analyze", "steer", "x", "--out", "x", "--scenes", MANY],
        ["analyze", "attention", "x", "--out", "x", "--scenes", MANY],
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_absurd_sizes_are_one_line(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(*arguments, capsys=capsys)
    assert code == 2
    assert err.startswith("relvit: ") and err.count("\n") == 1
    assert arguments[-1] in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [
        ["train", "quick"],
        ["study", "run", "quick"],
        ["diagnose", "x"],
        ["evaluate", "x"],
        ["analyze", "das", "x"],
        ["analyze", "correlation", "x"],
        ["hub", "compare", "x"],
        ["data", "build", "rmts", "--config", "quick-32"],
        ["data", "preview", "rmts", "--config", "quick-32"],
    ],
    ids=" ".join,
)
def test_an_empty_out_is_refused(command, capsys, tmp_path, monkeypatch):
    """An unset variable of a shell would write into the current folder."""
    monkeypatch.chdir(tmp_path)
    code, _, err = run(*command, "--out", "", capsys=capsys)
    assert code == 2
    assert "--out '': expected a name" in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "a/b/c", "ü/x", "x", ""])
@pytest.mark.parametrize(
    "command",
    [
        ["push", "x", "--dry-run"],
        ["data", "push", "rmts", "--data", "x", "--dry-run"],
        ["space", "push", "--dry-run"],
        ["train", "quick", "--out", "x", "--push-to-hub"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_a_name_that_the_hub_refuses_is_refused_here(command, name, capsys):
    code, _, err = run(*command, "--repo", name, capsys=capsys)
    assert code == 2
    assert (
        err
        == f"relvit: {name!r} is no name of a repository: write OWNER/NAME, such as relvit/rmts\n"
    )


@pytest.mark.parametrize(
    "given",
    [["--task", "rmts"], ["--scenes", "4"], ["--seed", "3"], ["--split", "test"]],
    ids=lambda given: given[0],
)
def test_options_that_a_built_dataset_decides_are_refused(given, capsys):
    code, _, err = run("evaluate", "x", "--data", "data", *given, capsys=capsys)
    assert code == 2
    assert err.startswith(f"relvit: {given[0].strip('-')}")
    assert "with --data data: its scenes are drawn already" in err


@pytest.mark.parametrize(
    "arguments", [["train", "qick"], ["train", "quick", "--combinations", "17"]]
)
def test_a_typo_of_training_is_refused_before_torch_is_loaded(arguments, tmp_path):
    program = (
        "import sys\nfrom hf_relvit import cli\n"
        f"try: cli.main([*{arguments}, '--out', 'x'])\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path
    )
    assert result.stdout == "2 False\n"
    assert list(tmp_path.iterdir()) == []


def test_preview_draws_four_scenes_a_row_and_leaves_out_those_nobody_asked_for(capsys, tmp_path):
    sheets = {}
    for n in ("3", "4", "8"):
        file = tmp_path / f"{n}.png"
        arguments = ["rmts", "--config", "quick-32", "-n", n, "--out", str(file)]
        code, out, _ = run("data", "preview", *arguments, capsys=capsys)
        assert code == 0 and out == f"{file}\n"
        sheets[n] = np.asarray(Image.open(file))
    assert sheets["3"].shape[0] == sheets["4"].shape[0] < sheets["8"].shape[0]
    assert sheets["3"].shape[1] < sheets["4"].shape[1] == sheets["8"].shape[1]


def test_control_c_is_exit_code_130(capsys, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("hf_relvit.study.run.run_study", interrupted)
    code, _, err = run("study", "run", "quick", "--out", "x", capsys=capsys)
    assert code == 130
    assert "run the same command to go on" in err


def test_a_warning_of_ours_is_one_line(capsys):
    run("env", capsys=capsys)
    assert (
        warnings.formatwarning(RelViTWarning("mind this"), RelViTWarning, "file.py", 3)
        == "relvit: mind this\n"
    )
    assert "file.py:3: UserWarning: mind this" in warnings.formatwarning(
        "mind this", UserWarning, "file.py", 3
    )


@pytest.mark.long
@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense"])
def test_figures_are_drawn_whatever_backend_the_environment_names(backend, tmp_path):
    """`!relvit` in a notebook inherits a backend that only the notebook's own environment has."""
    rows = [f"{run},{run / 10},test,{run / 9}" for run in range(4)]
    (tmp_path / "runs.csv").write_text("\n".join(["run,disentanglement,split,accuracy", *rows]))
    command = ["analyze", "correlation", str(tmp_path / "runs.csv"), "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", f"from hf_relvit.cli import main; main({command})"],
        capture_output=True,
        text=True,
        env={**os.environ, "MPLBACKEND": backend},
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "correlation.png").stat().st_size > 1000


def test_env_names_versions(capsys):
    code, out, _ = run("env", capsys=capsys)
    assert code == 0
    named = {line.split()[0] for line in out.splitlines()}
    assert {"torch", "accelerate", "huggingface_hub", "machine", "device"} <= named
    lines = [line for line in out.splitlines() if line.startswith("accelerator ")]
    assert len(lines) == 1
    assert lines[0].endswith("none (CPU only)") == (not torch.accelerator.is_available())


def test_env_names_the_accelerator_that_is_there(capsys, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    _, out, _ = run("env", capsys=capsys)
    assert ["accelerator", "2 x NVIDIA H200"] in [line.split(None, 1) for line in out.splitlines()]


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "opens"), [("plain", True), ("ds[1]", False), ("a*", False), ('q"', True)]
)
def test_the_printed_way_to_open_a_dataset_works_or_is_not_claimed(name, opens, tmp_path):
    out = tmp_path / name
    sizes = ["--n-train", "4", "--n-eval", "4", "--processes", "1"]
    command = ["data", "build", "rmts", "--config", "quick-32", "--out", str(out), *sizes]
    program = f"from hf_relvit.cli import main; main({command})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0
    assert "examples/s" not in done.stderr, "bars in a log"
    told = done.stdout.splitlines()[-1]
    assert told.startswith("open it with: load_dataset(") == opens
    if opens:
        printed = told.removeprefix("open it with: ").removesuffix(")")
        cache = str(tmp_path / "cache")
        assert len(eval(f"{printed}, cache_dir={cache!r})", {"load_dataset": load_dataset})) == 4


def test_evaluation_takes_the_scenes_of_the_training(tiny, capsys, tmp_path):
    from hf_relvit.training.run import train

    checkpoint = str(
        train(
            dataclasses.replace(tiny, images=16, combinations=32), tmp_path / "run", progress=False
        ).model
    )
    code, out, _ = run(
        "evaluate", checkpoint, "-n", "16", "--out", str(tmp_path / "table.parquet"), capsys=capsys
    )
    assert code == 0
    assert "compositional" in out
    table = pd.read_parquet(tmp_path / "table.parquet")
    assert set(table.n[table.condition == "all"]) == {16}
    das = ["analyze", "das", checkpoint, "--pairs", "8", "--test-pairs", "4", "--epochs", "1"]
    code, out, _ = run(*das, "--out", str(tmp_path / "das"), capsys=capsys)
    assert code == 0
    assert "control, the other object" in out
    scores = pd.read_parquet(tmp_path / "das" / "scores.parquet")
    assert set(scores.layer) == {0, 1}
    assert {"alignment.svg", "color-0", "color-1"} <= {
        path.name for path in (tmp_path / "das").iterdir()
    }
    code, out, _ = run(
        "analyze",
        "attention",
        checkpoint,
        "--scenes",
        "4",
        "--out",
        str(tmp_path / "a"),
        capsys=capsys,
    )
    assert code == 0
    assert (tmp_path / "a" / "viewer.png").exists()


def test_a_checkpoint_that_does_not_know_its_scenes_asks_for_them(tiny, capsys, tmp_path):
    from hf_relvit.modeling.checkpoints import Checkpoint
    from hf_relvit.training.run import build_model

    model, processor = build_model(tiny)
    model.config.scenes = None
    Checkpoint(model, processor).save(tmp_path / "model")
    code, _, err = run("evaluate", str(tmp_path / "model"), capsys=capsys)
    assert code == 2
    assert "name it with --task and --config" in err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--device", "gpu"], "device 'gpu' cannot be used here: expected auto, cpu or a GPU"),
        (["--device", "cuda:99"], "device 'cuda:99' cannot be used here"),
        (["--device", ""], "device '' cannot be used here"),
        (["--revision", "main"], "expected a Hub id, or leave it out"),
    ],
)
def test_a_device_or_a_revision_that_is_not_there_is_one_line(options, told, capsys, tmp_path):
    code, _, err = run("evaluate", str(tmp_path), *options, capsys=capsys)
    assert code == 2
    assert told in err and err.count("\n") == 1
