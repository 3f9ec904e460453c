"""The commands of `relvit analyze` beyond attention and das, on a model of two blocks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from hf_relvit import cli
from hf_relvit.analysis.correlation import Correlation
from hf_relvit.analysis.novel import Novel
from hf_relvit.analysis.probes import Probes
from hf_relvit.analysis.steering import Steering
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.training.config import TrainConfig, vit
from hf_relvit.training.run import build_model


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "model"
    model, processor = build_model(
        TrainConfig(backbone=vit(2, 32, 2) | {"initializer_range": 0.3}, combinations=32)
    )
    Checkpoint(model, processor).save(folder)
    return str(folder)


@pytest.fixture
def relvit(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return end.value.code, captured.out, captured.err

    return run


def has_figures(folder, name):
    return (folder / f"{name}.png").stat().st_size > 1000 and "</svg>" in (
        folder / f"{name}.svg"
    ).read_text()


@pytest.fixture(scope="module")
def alignments(checkpoint, tmp_path_factory):
    """One alignment a property, at different layers, as two runs of `relvit analyze das` make them."""
    folder = tmp_path_factory.mktemp("das")
    for prop, layer in (("shape", "0"), ("color", "1")):
        arguments = [
            "analyze",
            "das",
            checkpoint,
            "--property",
            prop,
            "--layer",
            layer,
            "--pairs",
            "8",
        ]
        arguments += ["--test-pairs", "4", "--epochs", "1", "--out", str(folder)]
        with pytest.raises(SystemExit) as end:
            cli.main(arguments)
        assert end.value.code == 0
    return folder


@pytest.mark.long
def test_novel_takes_a_folder_of_alignments_or_a_single_one(
    checkpoint, alignments, relvit, tmp_path
):
    common = ["analyze", "novel", checkpoint, "--pairs", "8", "--bank", "16", "--out"]
    code, out, _ = relvit(*common, tmp_path / "both", "--alignments", alignments)
    assert code == 0
    result = Novel.load(tmp_path / "both")
    assert set(zip(result.frame.property, result.frame.layer)) == {("shape", 0), ("color", 1)}
    assert set(result.facts) == {"shape", "color"}
    assert (result.frame[result.frame.condition == "all"].n == 8).all()
    assert has_figures(tmp_path / "both", "novel")
    assert "interpolated values" in out and "two averaged" in out and "no edit" in out
    code, _, _ = relvit(*common, tmp_path / "one", "--alignments", alignments / "color-1")
    assert code == 0
    one = Novel.load(tmp_path / "one").frame
    pd.testing.assert_frame_equal(
        one, result.frame[result.frame.property == "color"].reset_index(drop=True), check_like=True
    )


def test_probe_saves_each_target_and_one_figure_of_all(checkpoint, relvit, tmp_path):
    command = [
        "analyze",
        "probe",
        checkpoint,
        "--train-scenes",
        "32",
        "--scenes",
        "16",
        "--epochs",
        "1",
        "--out",
    ]
    code, out, _ = relvit(
        *command, tmp_path, "--target", "color", "--target", "judgement", "--layer", "1"
    )
    assert code == 0
    for target in ("color", "judgement"):
        probes = Probes.load(tmp_path / target)
        assert probes.layers == [1] and probes.facts["config"]["target"] == target
        assert f"{probes.frame.accuracy[0]:.3f}" in out
    assert has_figures(tmp_path, "probes")
    assert "shuffled" in out
    code, _, _ = relvit(*command, tmp_path / "q", "--form", "quadratic")
    assert code == 0
    assert [path.name for path in (tmp_path / "q").iterdir() if path.is_dir()] == ["judgement"]


def test_steer_takes_saved_probes_or_fits_them(checkpoint, relvit, tmp_path):
    common = [
        "analyze",
        "steer",
        checkpoint,
        "--train-scenes",
        "32",
        "--scenes",
        "16",
        "--alpha",
        "1",
        "--alpha",
        "50",
    ]
    code, out, _ = relvit(*common, "--out", tmp_path / "a")
    assert code == 0
    first = Steering.load(tmp_path / "a")
    assert set(first.frame.alpha) == {1, 50} and set(first.frame.layer) == {0, 1}
    assert has_figures(tmp_path / "a", "steering")
    assert "At best, steering flips" in out
    code, _, _ = relvit(*common, "--out", tmp_path / "b", "--probes", tmp_path / "a" / "judgement")
    assert code == 0
    pd.testing.assert_frame_equal(Steering.load(tmp_path / "b").frame, first.frame)
    assert not (tmp_path / "b" / "judgement").exists()


def a_run(folder, shape, color, accuracy):
    """What of a finished run counts."""
    controls = [("none", "cause"), ("wrong_object", "cause"), ("none", "isolate")]
    for prop, value in (("shape", shape), ("color", color)):
        for layer in (0, 1):
            cell = folder / "das" / f"{prop}-{layer}"
            cell.mkdir(parents=True)
            rows = [
                {
                    "property": prop,
                    "layer": layer,
                    "split": split,
                    "score": score,
                    "control": control,
                }
                | {"weights": weights, "condition": condition}
                | {
                    "accuracy": value - 0.1 * layer
                    if (control, score, weights) == ("none", "cause", "trained")
                    else 1
                }
                for control, score in controls
                for weights in ("trained", "random")
                for split in ("test", "test_compositional")
                for condition in ("all", "same")
            ]
            pd.DataFrame(rows).to_parquet(cell / "scores.parquet")
            (cell / "alignment.json").write_text("{}")
    (folder / "evaluation").mkdir()
    splits = {"validation": 1.0, "test": accuracy, "test_ood_shape": accuracy / 2}
    frame = pd.DataFrame({"split": splits.keys(), "accuracy": splits.values()})
    frame = frame.assign(condition="all", base_accuracy=0.5)
    frame.to_parquet(folder / "evaluation" / "accuracy.parquet")


def test_correlation_collects_runs_of_studies(relvit, tmp_path):
    studies = {"weak": (0.2, 0.6), "middle": (0.5, 0.8), "strong": (0.9, 1.0)}
    for name, (value, accuracy) in studies.items():
        for seed in (0, 1):
            a_run(tmp_path / name / f"seed{seed}", value, value + 0.02 * seed, accuracy)
    sources = [tmp_path / "weak", tmp_path / "middle", *(tmp_path / "strong").iterdir()]
    code, out, _ = relvit("analyze", "correlation", *sources, "--out", tmp_path / "c")
    assert code == 0
    result = Correlation.load(tmp_path / "c")
    test = result.runs[result.runs.split == "test"].set_index("run")
    assert set(result.runs.split) == {"test", "test_ood_shape"}
    assert test.disentanglement["weak/seed1"] == pytest.approx(0.21)
    assert dict(zip(test.index, test.group))["strong/seed0"] == "strong"
    assert set(result.frame.groups) == {3}
    assert result.frame.value[0] == pytest.approx(
        np.corrcoef(test.disentanglement, test.accuracy)[0, 1]
    )
    assert "warning: 3 independent runs are too few to tell" in out
    assert has_figures(tmp_path / "c", "correlation")

    test.reset_index().to_csv(tmp_path / "runs.csv", index=False)
    code, _, _ = relvit("analyze", "correlation", tmp_path / "runs.csv", "--out", tmp_path / "d")
    assert code == 0
    again = Correlation.load(tmp_path / "d").frame
    assert again.value[0] == pytest.approx(result.frame.value[0])


def test_bad_input_is_one_line(checkpoint, alignments, relvit, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.csv").write_text("")
    a_run(tmp_path / "half", 0.5, 0.5, 0.5)
    (tmp_path / "half" / "evaluation" / "accuracy.parquet").unlink()
    for arguments, message in (
        (["novel", checkpoint, "--alignments", tmp_path / "empty"], "no alignments in"),
        (["probe", checkpoint, "--target", "size"], "unknown target 'size'"),
        (
            ["probe", checkpoint, "--layer", 2, "--train-scenes", 8, "--scenes", 8],
            "the model has blocks 0 to 1",
        ),
        (["steer", checkpoint, "--alpha", "nan"], "--alpha nan: expected a finite number"),
        (["steer", checkpoint, "--probes", tmp_path / "empty"], "probes.json cannot be read"),
        (["correlation", tmp_path / "empty"], "no runs with alignments in"),
        (["correlation", tmp_path / "bad.csv"], "cannot read the table"),
        (["correlation", tmp_path / "missing.parquet"], "cannot read the table"),
        (["correlation", tmp_path / "half"], "let relvit study run finish it"),
    ):
        code, _, err = relvit("analyze", *arguments, "--out", tmp_path / "out")
        assert code == 2, arguments
        last = err.splitlines()[-1]  # transformers' bar may stand before it
        assert last.startswith("relvit: ") and message in last
        assert "Traceback" not in err
        assert not (tmp_path / "out").exists()
