"""The main job in miniature, through the real command line."""

import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from tiny import SMALL_CAUSAL, TINY

from hf_relvit import cli

ROOT = Path(__file__).parents[2]
SETTINGS = TINY | dict(causal=SMALL_CAUSAL, images=256, evaluations=8, combinations=32)


@pytest.fixture
def settings(tmp_path):
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(SETTINGS))
    return str(file)


def keep(folder, out):
    """As ``python examples/keep_results.py`` does."""
    keep_results = runpy.run_path(str(ROOT / "examples" / "keep_results.py"))
    keep_results["keep"](folder, out)


def study(settings, out):
    return ["study", "run", settings, "--out", str(out)]


def run(arguments):
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    return end.value.code


def test_one_command_goes_from_scenes_to_a_report(settings, tmp_path, capsys):
    out = tmp_path / "run"
    assert run(study(settings, out)) == 0
    page = (out / "report.html").read_text()
    assert str(out / "report.html") in capsys.readouterr().out
    assert not re.findall(r'(?:src|href)="(?!data:)', page)  # self-contained
    assert page.count("<img") == page.count("data:image/png;base64,") == 10
    assert page.count("How to read it.") == 10
    table = pd.read_parquet(out / "seed0" / "evaluation" / "accuracy.parquet")
    for row in table[table.condition == "all"].itertuples():
        assert (
            f"{row.accuracy:.3f}</td><td>{row.ci_low:.3f}–{row.ci_high:.3f}</td><td>{row.n}</td>"
            in page
        )
    expected = {"figures/attention.svg", "attention/viewer.png", "training/model/model.safetensors"}
    expected |= {f"figures/{name}.svg" for name in ("alignment", "novel", "probes", "steering")}
    expected |= {"das_random/color-1/scores.parquet", "probes/judgement/probes.safetensors"}
    assert expected <= {str(p.relative_to(out / "seed0")) for p in (out / "seed0").rglob("*")}

    times = {
        p: p.stat().st_mtime_ns
        for p in out.rglob("*")
        if "figures" not in str(p) and p.name != "report.html"
    }
    assert run(study(settings, out)) == 0
    assert "training: finished before" in capsys.readouterr().out
    assert times == {p: p.stat().st_mtime_ns for p in times if p.is_file() or p.is_dir()}

    assert run([*study(settings, out), "--images", "512"]) == 2
    assert "was made with another images: name another folder" in capsys.readouterr().err


@pytest.mark.long
def test_runs_done_and_kept_one_by_one_are_the_whole_study(settings, tmp_path, capsys):
    """By name, into two folders, as on two machines: the kept tables grow to those of one study."""
    short = ["--no-causal", "--seeds", "2", "--images", "64", "--evaluations", "1"]
    whole = tmp_path / "whole"
    assert run([*study(settings, whole), *short]) == 0
    keep(whole, tmp_path / "kept")
    for name in ("seed1", "seed0", "seed1"):  # the last one again
        part = tmp_path / f"part-{name}"
        assert run([*study(settings, part), *short, "--only", name]) == 0
        assert [folder.name for folder in part.glob("seed*")] == [name]
        keep(part, tmp_path / "parts")
    assert f"{tmp_path / 'parts'}: 2 runs" in capsys.readouterr().out
    files = [file.name for file in (tmp_path / "kept").glob("*.csv")]
    assert {"accuracy.csv", "attention.csv", "curves.csv"} <= {*files}
    for name in files:
        text = (tmp_path / "parts" / name).read_text()
        assert text == (tmp_path / "kept" / name).read_text()
    runs = json.loads((tmp_path / "parts" / "provenance.json").read_text())["runs"]
    assert [*runs] == ["seed0", "seed1"]

    assert run([*study(settings, part), "--only", "seed7"]) == 2
    assert "is called 'seed7': expected a name such as seed0" in capsys.readouterr().err


@pytest.mark.long
def test_a_study_killed_in_training_ends_as_if_nothing_had_happened(settings, tmp_path):
    command = [sys.executable, "-c", "from hf_relvit.cli import main; main()"]
    process = subprocess.Popen(
        [*command, *study(settings, tmp_path / "killed")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not list((tmp_path / "killed").glob("seed0/training/checkpoints/*/trainer_state.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "seed0" / "training" / "DONE.json").exists()
    assert run(study(settings, tmp_path / "killed")) == 0
    assert run(study(settings, tmp_path / "whole")) == 0
    resumed, whole = (
        pd.read_parquet(tmp_path / name / "seed0" / "evaluation" / "accuracy.parquet")
        for name in ("killed", "whole")
    )
    assert resumed.equals(whole)
    weights = [
        (tmp_path / name / "seed0/training/model/model.safetensors").read_bytes()
        for name in ("killed", "whole")
    ]
    assert weights[0] == weights[1]


@pytest.mark.long
def test_seeds_are_compared_on_one_page(settings, tmp_path):
    out = tmp_path / "seeds"
    assert run([*study(settings, out), "--seeds", "2"]) == 0
    page = (out / "report.html").read_text()
    assert 'href="seed0/report.html"' in page
    tables = [pd.read_parquet(out / f"seed{seed}/evaluation/accuracy.parquet") for seed in (0, 1)]
    mean = (
        sum(table.set_index(["split", "condition"]).accuracy["test", "all"] for table in tables) / 2
    )
    assert re.search(rf"<td>IID test</td><td>{mean:.3f}</td>.*<td>2 × {TINY['n_eval']}</td>", page)
    assert page.count("data:image/png;base64,") == 6
    assert "Accuracy over training." in page
    assert "Accuracy of each setting." not in page  # there is one
    assert "needs at least 3 kinds of model; this study\nhas 1" in page
    steering = pd.read_parquet(out / "tables" / "steering.parquet")
    seeds = [pd.read_parquet(out / f"seed{seed}/steering/steering.parquet") for seed in (0, 1)]
    assert len(steering) == len(seeds[0])
    assert (steering.seeds == 2).all()
    assert steering.accuracy.tolist() == pytest.approx(
        ((seeds[0].accuracy + seeds[1].accuracy) / 2).tolist()
    )
    _pages_are_drawn_once(out, [*study(settings, out), "--seeds", "2"])


def _pages_are_drawn_once(out, command):
    """A study of a hundred runs drew all of its pages again at each call."""
    pages = [out / f"seed{seed}" / "report.html" for seed in (0, 1)]

    def drawn_again():
        before = [page.stat().st_mtime_ns for page in pages]
        assert run(command) == 0
        return [page.stat().st_mtime_ns != old for page, old in zip(pages, before)]

    assert drawn_again() == [False, False]
    figure = out / "seed1" / "figures" / "accuracy.png"
    figure.unlink()
    assert drawn_again() == [False, True]
    assert figure.is_file()
    pages[0].write_text(pages[0].read_text().replace('name="drawn-from" content="', "", 1))
    assert drawn_again() == [True, False]


@pytest.mark.long
def test_a_grid_correlates_disentanglement_with_accuracy(settings, tmp_path):
    grid = tmp_path / "grid.yaml"
    grid.write_text(
        (tmp_path / "tiny.yaml").read_text() + "grid: {learning_rate: [0.001, 0.002, 0.003]}\n"
    )
    out = tmp_path / "grid"
    assert run(study(str(grid), out)) == 0
    assert "Does disentanglement go with generalization?" in (out / "report.html").read_text()
    assert "Accuracy of each setting." in (out / "report.html").read_text()
    curves = pd.read_parquet(out / "tables" / "curves.parquet")
    log = json.loads((out / "0_001-seed0" / "training" / "history.json").read_text())["log"]
    logged = [row["eval_validation_accuracy"] for row in log if "eval_validation_accuracy" in row]
    own = curves[(curves.run == "0_001-seed0") & (curves.split == "validation")]
    assert own.accuracy.tolist() == logged[-len(own) :]
    points = pd.read_parquet(out / "tables" / "correlation_runs.parquet")
    scores = pd.read_parquet(out / "0_001-seed0" / "das" / "color-1" / "scores.parquet")
    color, shape = (
        pd.read_parquet(out / "0_001-seed0" / "das" / f"{prop}-1" / "scores.parquet")
        .query("condition == 'all' and split == 'test' and score == 'cause' and control == 'none'")
        .accuracy.item()
        for prop in ("color", "shape")
    )
    assert set(scores.weights) == {"trained"}
    assert set(points[points.run == "grid/0_001-seed0"].disentanglement) == {(color + shape) / 2}


@pytest.mark.long
def test_cells_one_by_one_make_the_same_study(settings, tmp_path, capsys):
    out = tmp_path / "cells"
    assert run(["study", "plan", settings, "--out", str(out)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert lines[2] == "   3 to do     seed0/evaluation  (after 1, 2)"
    assert run([*study(settings, out), "--cell", "3"]) == 2
    assert "cell 3 (seed0/evaluation) needs seed0/data: run cell 1 first" in capsys.readouterr().err
    assert run([*study(settings, out), "--cell", "99"]) == 2
    assert f"cell 99: expected 1 to {len(lines)}" in capsys.readouterr().err
    for number in range(1, len(lines) + 1):
        assert run([*study(settings, out), "--cell", str(number)]) == 0
    capsys.readouterr()
    assert run(["study", "plan", settings, "--out", str(out)]) == 0
    assert "to do" not in capsys.readouterr().out
    assert run(study(settings, tmp_path / "whole")) == 0
    for file in (
        "evaluation/accuracy.parquet",
        "das/color-1/scores.parquet",
        "steering/steering.parquet",
    ):
        one, other = (
            pd.read_parquet(tmp_path / name / "seed0" / file) for name in ("cells", "whole")
        )
        assert one.equals(other)


def test_a_study_takes_closed_forms_as_alignments(tmp_path):
    causal = SMALL_CAUSAL | {"method": "closed_form", "analyses": ["das", "das_random", "novel"]}
    file = tmp_path / "closed.yaml"
    file.write_text(yaml.safe_dump(SETTINGS | {"causal": causal}))
    out = tmp_path / "run"
    assert run(study(str(file), out)) == 0
    cells = [out / "seed0" / kind / "color-1" for kind in ("das", "das_random")]
    for cell in cells:
        scores = pd.read_parquet(cell / "scores.parquet")
        assert set(scores.method) == {"closed_form"}
        assert (cell / "alignment.safetensors").is_file()
    assert "shuffled_labels" in set(pd.read_parquet(cells[0] / "scores.parquet").control)
    assert (out / "seed0" / "novel" / "color" / "novel.parquet").is_file()
