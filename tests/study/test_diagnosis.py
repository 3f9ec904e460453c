"""`relvit diagnose`, from a checkpoint to the page."""

import json
import re

import pytest

from hf_relvit import cli
from hf_relvit.analysis.diagnosis import Diagnosis
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.report.diagnosis_page import HEADLINES
from hf_relvit.report.readings import accuracy_rows
from hf_relvit.training.config import TrainConfig, vit
from hf_relvit.training.run import build_model

FEW = ["--scenes", "24", "--pairs", "16", "--epochs", "1"]


@pytest.fixture
def relvit(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return end.value.code, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def model():
    return build_model(
        TrainConfig(backbone=vit(2, 32, 2) | {"initializer_range": 0.3}, combinations=32)
    )


@pytest.mark.long
def test_one_page_with_everything_on_it(model, relvit, tmp_path):
    Checkpoint(*model).save(tmp_path / "model")
    out = tmp_path / "out"
    code, text, _ = relvit("diagnose", tmp_path / "model", "--out", out, *FEW)
    assert code == 0
    values = json.loads((out / "verdict.json").read_text())
    found = Diagnosis.load(out)
    assert values["verdict"] == found.verdict.verdict
    assert values["facts"]["combinations"] == 32 and values["facts"]["task"] == "discrimination"
    assert f"verdict: {values['verdict']}" in text and str(out / "diagnosis.html") in text
    for criterion in found.verdict.criteria:
        assert criterion.name in text

    page = (out / "diagnosis.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', page)  # self-contained
    assert page.count("<img") == page.count("How to read it.") == 6
    assert HEADLINES[values["verdict"]] in page
    for criterion in found.verdict.criteria:
        measured = criterion.measured
        assert f"{criterion.ci_low:.3f}–{criterion.ci_high:.3f}" == measured.interval
        assert f"<td>{measured.value:.3f}</td><td>{measured.interval}</td>" in page
        assert f"{measured.value:.3f}  {measured.interval:>14}" in text
    for row in accuracy_rows(found.tables["accuracy"]):
        assert f"<td>{row.measured.value:.3f}</td><td>{row.measured.interval}</td>" in page
    assert {path.suffix for path in (out / "figures").glob("[!.]*")} == {".png", ".svg"}


@pytest.mark.long
def test_an_ordinary_classifier_is_diagnosed_too(model, relvit, tmp_path):
    ours, processor = model
    ours.to_plain().save_pretrained(tmp_path / "plain")
    processor.save_pretrained(tmp_path / "plain")
    command = ["diagnose", tmp_path / "plain", "--out", tmp_path / "out", "--layer", "1", *FEW]
    code, _, err = relvit(*command)
    assert code == 2
    assert "name it with --task and --config" in err.splitlines()[-1]
    assert not (tmp_path / "out").exists()
    code, _, _ = relvit(*command, "--task", "rmts", "--config", "quick-256")
    assert code == 0
    found = Diagnosis.load(tmp_path / "out")
    assert found.facts["config"]["layers"] == [1] and set(found.verdict.by_split) == {"test"}


def test_bad_input_is_one_line(model, relvit, tmp_path):
    Checkpoint(*model).save(tmp_path / "model")
    for arguments, message in (
        (["--layer", "2"], "layer 2 of a model with blocks 0 to 1"),
        (["--pairs", "7"], "7 pairs of scenes cannot be balanced for discrimination"),
        (["--config", "b16-32"], "do not fit a model of 64 px"),
    ):
        code, _, err = relvit(
            "diagnose", tmp_path / "model", "--out", tmp_path / "out", *FEW, *arguments
        )
        assert code == 2
        assert message in err.splitlines()[-1] and "Traceback" not in err
        assert not (tmp_path / "out" / "verdict.json").exists()
