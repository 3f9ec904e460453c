"""Studies on the photorealistic set that ships, through the real command line."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from tiny import TINY
from transformers import ViTConfig, ViTModel

from hf_relvit import cli
from hf_relvit.analysis.similarity import measure_similarity
from hf_relvit.dataset_builders import photorealistic as shipped
from hf_relvit.errors import RelViTError
from hf_relvit.files import read_json
from hf_relvit.measurements import Measurement
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.modeling.processing import default_processor
from hf_relvit.report import photorealistic_page as page
from hf_relvit.report.photorealistic_page import ONE_PAIR, PhotoResults
from hf_relvit.report.run_folder import RunFolder
from hf_relvit.report.tables import over_seeds
from hf_relvit.study.grid import plan
from hf_relvit.study.photorealistic import open_set, photorealistic_cells
from hf_relvit.training.config import TrainConfig
from hf_relvit.training.evaluation import PHOTOREALISTIC, evaluate
from hf_relvit.training.run import build_model
from hf_relvit.words import PHOTOREALISTIC_NAMES

SHIPPED = Path(shipped.__path__[0])
SETTINGS = TINY | dict(
    causal=False,
    images=64,
    warmup_steps=1,
    evaluations=1,
    combinations=32,
    grid={"task": ["discrimination", "rmts"]},
    photorealistic=str(SHIPPED),
)


def run(*arguments):
    with pytest.raises(SystemExit) as end:
        cli.main(["study", "run", *map(str, arguments)])
    return end.value.code


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    file = tmp_path_factory.mktemp("settings") / "tasks.yaml"
    file.write_text(yaml.safe_dump(SETTINGS))
    return file


@pytest.fixture(scope="module")
def study(grid, tmp_path_factory):
    out = tmp_path_factory.mktemp("study")
    assert run(grid, "--out", out) == 0
    return out


@pytest.fixture
def moved(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return Path(shutil.copytree(SHIPPED / "tiny", folder / "tiny")).parent


def text_of(path):
    return re.sub(r"\s+", " ", path.read_text())


@pytest.mark.long
def test_the_page_of_a_run_says_how_it_does_on_realistic_pictures(study):
    results = PhotoResults.load(RunFolder(study / "discrimination-seed0"))
    text = text_of(study / "discrimination-seed0" / "report.html")
    assert "5. Does it survive realistic pictures?" in text
    assert "6. Go on from here" in text
    assert text.count("<img") == text.count("data:image/png;base64,") == 8
    for row in results.accuracy.itertuples():
        numbers = f"<td>{row.accuracy:.3f}</td><td>{row.ci_low:.3f}–{row.ci_high:.3f}</td><td>{row.n}</td>"
        assert f"<td>{PHOTOREALISTIC_NAMES[row.condition]}</td>{numbers}" in text
    whole = results.accuracy.set_index("condition").loc["all"]
    assert f"The model is right on {whole.accuracy:.1%} of 32 images" in text
    assert f"random weights on {whole.base_accuracy:.1%}, guessing on 50%" in text
    for value in (
        results.stages.scores["perceptual_score"],
        results.stages.scores["relational_score"],
    ):
        assert f"<td>{value:.3f}</td>" in text
    best = results.frozen[results.frozen.level == "all"].groupby("model").auc.max()
    assert f"checkpoint {best['checkpoint']:.2f} (layer" in text
    assert f"checksum {open_set(SHIPPED).checksum}." in text
    assert (study / "discrimination-seed0" / "figures" / "photorealistic_attention.svg").exists()


def test_a_run_of_another_task_says_why_it_was_not_tested(study):
    text = text_of(study / "rmts-seed0" / "report.html")
    assert ONE_PAIR in text
    assert "Does it survive realistic pictures?" in text
    assert not (study / "rmts-seed0" / "photorealistic").exists()


def test_the_comparison_has_the_accuracy_of_the_runs_that_have_one(study):
    table = pd.read_parquet(study / "tables" / "accuracy.parquet").query(
        "split == 'photorealistic'"
    )
    whole = (
        PhotoResults.load(RunFolder(study / "discrimination-seed0"))
        .accuracy.set_index("condition")
        .loc["all"]
    )
    assert table.setting.tolist() == ["discrimination"]
    assert (table.accuracy.item(), table.ci_low.item()) == (whole.accuracy, whole.ci_low)
    row = rf"<td>photorealistic</td><td>{whole.accuracy:.3f}</td>(<td>[\d.–]+</td>){{2}}<td>1 × {whole.n}</td>"
    assert re.search(row, text_of(study / "report.html"))


def test_the_cells_hold_what_the_functions_find(study):
    folder = study / "discrimination-seed0"
    model, processor = Checkpoint.open(str(folder / "training" / "model"))
    pairs = open_set(SHIPPED).pairs(model.config.geometry)
    results = PhotoResults.load(RunFolder(folder))
    pd.testing.assert_frame_equal(
        results.accuracy, evaluate(Checkpoint(model, processor), {PHOTOREALISTIC: pairs})
    )
    own = measure_similarity({"checkpoint": Checkpoint(model, processor)}, pairs).frame
    assert set(results.frozen.model) == {"checkpoint", "random weights"}
    pd.testing.assert_frame_equal(results.frozen[results.frozen.model == "checkpoint"], own)
    assert results.stages.facts["geometry"] == "photorealistic"


def test_cells_are_of_a_set_and_not_of_a_folder(study, grid, moved, capsys):
    cell = study / "discrimination-seed0" / "photorealistic" / "accuracy"
    assert (
        str(SHIPPED.parent)
        not in (cell / "DONE.json").read_text() + (cell / "provenance.json").read_text()
    )
    elsewhere = [grid, "--out", study, "--photorealistic", moved, "--cell", "5"]
    written = (cell / "accuracy.parquet").stat().st_mtime_ns
    assert run(*elsewhere) == 0
    assert str(cell) in capsys.readouterr().out
    assert (cell / "accuracy.parquet").stat().st_mtime_ns == written
    manifest = read_json(moved / "tiny" / "manifest.json")
    manifest["splits"][0]["checksum"] = "0" * 16
    (moved / "tiny" / "manifest.json").write_text(json.dumps(manifest))
    assert run(*elsewhere) == 2
    assert "photorealistic/accuracy was made with another photorealistic: name another folder" in (
        capsys.readouterr().err
    )


def test_results_are_shown_once_all_cells_are_finished(study, tmp_path):
    folder = Path(shutil.copytree(study / "discrimination-seed0", tmp_path / "run"))
    assert PhotoResults.load(RunFolder(folder)) is not None
    (folder / "photorealistic" / "frozen" / "DONE.json").unlink()
    assert PhotoResults.load(RunFolder(folder)) is None


def test_a_pretrained_backbone_is_measured_as_it_was_before_training(tmp_path):
    torch.manual_seed(0)
    plain = ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=64,
        patch_size=8,
    )
    ViTModel(plain, add_pooling_layer=False).save_pretrained(tmp_path / "base")
    default_processor(64).save_pretrained(tmp_path / "base")
    config = TrainConfig(backbone=str(tmp_path / "base"))
    base, processor = build_model(config)
    trained = build_model(config).model
    with torch.no_grad():
        for weights in trained.parameters():
            weights.add_(torch.randn_like(weights) * 0.3)
    Checkpoint(trained, processor).save(tmp_path / "run" / "training" / "model")
    cells = {
        cell.name: cell
        for cell in photorealistic_cells(config, open_set(SHIPPED), tmp_path / "run")
    }
    folder = tmp_path / "run" / "photorealistic" / "frozen"
    cells["photorealistic/frozen"].work(folder)
    frame = pd.read_parquet(folder / "frozen.parquet")
    assert list(dict.fromkeys(frame.model)) == ["checkpoint", "base", "random weights"]
    found = frame[frame.model == "base"].reset_index(drop=True)
    expected = measure_similarity(
        {"base": Checkpoint(base, processor)}, open_set(SHIPPED).pairs(base.config.geometry)
    ).frame
    pd.testing.assert_frame_equal(found, expected)
    assert not found.auc.equals(frame[frame.model == "checkpoint"].auc.reset_index(drop=True))


def test_seeds_that_share_their_scenes_are_not_more_scenes():
    rows = dict(
        split="photorealistic",
        accuracy=0.5,
        ci_low=0.4,
        ci_high=0.6,
        n=100,
        floor=0.5,
        base_accuracy=0.5,
    )
    table = pd.DataFrame([rows | {"run": f"seed{i}"} for i in range(9)])
    own, shared = (over_seeds(table.assign(shared=flag)).iloc[0] for flag in (False, True))
    assert own.ci_high - own.ci_low < 0.1
    assert (shared.ci_low, shared.ci_high) == (0.4, 0.6)


@pytest.mark.parametrize(
    ("low", "high", "base", "iid_low", "words"),
    [
        (
            0.46,
            0.55,
            0.5,
            0.98,
            "no better than guessing: its learning on flat shapes (99.0% on the IID test)",
        ),
        (0.30, 0.72, 0.5, 0.98, "too few images to tell"),
        (
            0.72,
            0.80,
            0.5,
            0.98,
            "carries over, at least in part",
        ),
        (0.55, 0.80, 0.6, 0.98, "random weights may do as well"),
        (0.30, 0.40, 0.5, 0.98, "worse than guessing: its learning"),
        (0.30, 0.40, 0.4, 0.98, "but random weights may do as badly"),
        (0.46, 0.55, 0.5, 0.45, "guesses on flat shapes too"),
    ],
)
def test_sentences_follow_the_interval(low, high, base, iid_low, words):
    row = dict(
        condition="all", accuracy=(low + high) / 2, ci_low=low, ci_high=high, n=1024, floor=0.5
    )
    test = Measurement("IID test", 0.99, iid_low, 1.0, 1024, floor=0.5)
    row |= {"base_accuracy": base, "split": "photorealistic"}
    sentence = page.accuracy(
        pd.DataFrame([row, row | {"condition": "difference_none", "n": 512}]), test
    )
    assert words in sentence
    assert "leans" not in sentence
    assert f"95 % interval {low:.1%} to {high:.1%}" in sentence
    assert f"random weights on {base:.1%}" in sentence


def test_a_model_that_gives_one_answer_is_found_out():
    row = dict(
        condition="all",
        accuracy=0.6,
        ci_low=0.56,
        ci_high=0.64,
        n=1024,
        floor=0.5,
        base_accuracy=0.5,
        auc=0.885,
    )
    row |= {"split": "photorealistic"}
    test = Measurement("IID test", 0.99, 0.98, 1.0, 1024, floor=0.5)
    for same, words in (
        (0.21, "“different”: right on 21.0% of same and 99.0%"),
        (0.9, "“same”: right on 90.0% of same"),
    ):
        rows = [row, row | {"condition": "difference_none", "n": 512, "accuracy": same}]
        sentence = page.accuracy(pd.DataFrame(rows), test)
        assert words in sentence and "has an AUC of 0.885" in sentence


@pytest.mark.parametrize(
    ("low", "words"),
    [(0.93, "the set can be solved"), (0.7, "in part only"), (0.45, "does not give the answer")],
)
def test_the_baseline_says_whether_the_set_can_be_solved(low, words):
    rows = [
        dict(
            model=model,
            level=level,
            layer=layer,
            auc=auc - layer / 10,
            ci_low=auc - 0.02,
            ci_high=auc + 0.02,
            n=64,
            floor=0.5,
        )
        for model, auc in (("random weights", low - 0.2), ("base", low + 0.02))
        for level in ("all", "color")
        for layer in (0, 1)
    ]
    sentence = page.frozen(pd.DataFrame(rows))
    assert words in sentence
    assert (
        f"base {low + 0.02:.2f} (layer 0, 95 % interval {low:.2f} to {low + 0.04:.2f})" in sentence
    )
    assert "no base model" not in sentence


def test_a_grid_names_the_set_and_the_option_another(grid, moved):
    assert plan(str(grid)).photorealistic == open_set(SHIPPED)
    assert plan(str(grid), photorealistic=moved).photorealistic.folder == moved
    assert plan("quick").photorealistic is None
    moved_set = dataclasses.replace(open_set(SHIPPED), folder=moved)
    assert plan("quick", photorealistic=moved).photorealistic == moved_set


def test_what_is_no_set_is_told_before_anything_is_done(grid, moved, tmp_path, capsys):
    assert run(grid, "--out", tmp_path / "out", "--photorealistic", tmp_path / "nowhere") == 2
    assert re.search(
        r"no photorealistic scenes in .*nowhere: make them with `relvit data build",
        capsys.readouterr().err,
    )
    with pytest.raises(
        RelViTError, match=r"no photorealistic scenes 'default' in .*: expected one of tiny"
    ):
        open_set(moved, "default")
    other = tmp_path / "grid.yaml"
    other.write_text(yaml.safe_dump(SETTINGS | {"photorealistic": 3}))
    assert run(other, "--out", tmp_path / "out") == 2
    assert "photorealistic 3: expected the --out of" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
