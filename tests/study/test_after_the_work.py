"""What comes after the work does not cost it, and what was published comes out again."""

import dataclasses
import json

import pandas as pd
import pytest
from tiny import TINY

from hf_relvit import cli
from hf_relvit.errors import RelViTError
from hf_relvit.report import card
from hf_relvit.report.card import run_card, write_training_card
from hf_relvit.report.results import RunResults
from hf_relvit.report.run_folder import RunFolder
from hf_relvit.study.grid import Run, Study
from hf_relvit.study.run import run_study
from hf_relvit.training.config import TrainConfig
from hf_relvit.training.training_folder import TrainingFolder


@pytest.fixture
def no_report(monkeypatch):
    monkeypatch.setattr("hf_relvit.report.run_page.write_report", lambda *args, **options: args[2])


def run_tiny(out, **changes):
    config = dataclasses.replace(TrainConfig(**TINY, combinations=32), **changes)
    run_study(Study("tiny", (Run("seed0", config),), None), out, say=lambda line: None)
    return RunFolder(out / "seed0")


@pytest.mark.long
def test_evaluate_gives_the_published_numbers_in_the_precision_of_the_training(
    tmp_path, no_report, capsys
):
    run = run_tiny(tmp_path / "study", bf16=True)
    out = tmp_path / "again.parquet"
    command = ["evaluate", str(run.training.model), "-n", str(TINY["n_eval"]), "--out", str(out)]
    with pytest.raises(SystemExit) as end:
        cli.main(command)
    assert end.value.code == 0
    published = run.table("accuracy").set_index(["split", "condition"]).sort_index()
    again = pd.read_parquet(out).set_index(["split", "condition"]).sort_index()
    pd.testing.assert_frame_equal(published, again[published.columns])
    assert json.loads((run.training.model / "config.json").read_text())["trained_in"]


@pytest.mark.parametrize("left_out", ["num_hidden_layers", "num_attention_heads", "hidden_size"])
def test_the_card_reads_the_backbone_as_it_was_built(left_out):
    backbone = {key: value for key, value in TINY["backbone"].items() if key != left_out}
    config = TrainConfig(**(TINY | {"backbone": backbone})).to_dict()
    validation = {"accuracy": 0.5, "ci_low": 0.4, "ci_high": 0.6, "n": 32}
    text = run_card(RunResults(config, "0123", validation, {"hf_relvit": "0"})).text
    defaults = {"num_hidden_layers": "12 layers", "num_attention_heads": "12 heads"}
    assert defaults.get(left_out, "768 dimensions") in text


@pytest.mark.parametrize("fault", [KeyError("num_hidden_layers"), ValueError("a\nb"), OSError("x")])
def test_a_card_that_fails_is_a_warning_and_the_model_stays(tmp_path, monkeypatch, fault):
    def fails(folder):
        raise fault

    monkeypatch.setattr(card, "of_training", fails)
    with pytest.warns(UserWarning, match="the model is whole") as caught:
        write_training_card(TrainingFolder(tmp_path))
    assert "\n" not in str(caught[0].message)


def test_a_report_that_fails_is_one_line_and_the_cells_stay(tmp_path, monkeypatch):
    def fails(*args, **options):
        raise KeyError("column")

    monkeypatch.setattr("hf_relvit.report.run_page.write_report", fails)
    with pytest.raises(RelViTError, match="are finished and kept, but the report cannot be drawn"):
        run_tiny(tmp_path / "study")
    run = RunFolder(tmp_path / "study" / "seed0")
    assert all(run.finished(cell) for cell in ("data", "training", "evaluation", "attention"))
