"""A run as a small folder: it opens as the run does, its model answers alike, and what cannot be is one line."""

import json
import shutil

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny import SMALL_CAUSAL, TINY

from hf_relvit import cli
from hf_relvit.analysis.scores import score_alignment
from hf_relvit.errors import RelViTError
from hf_relvit.manifest import check_manifest
from hf_relvit.modeling.adapters import WEIGHTS_FILE
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.recipes.alignment import alignment_cell
from hf_relvit.report.run_folder import RunFolder
from hf_relvit.study.compact import FACTS, _check_moved, compact
from hf_relvit.study.grid import plan
from hf_relvit.study.run import run_study
from hf_relvit.training.config import TrainConfig
from hf_relvit.training.run import build_model, train


@pytest.mark.parametrize("moved", [0.2, float("inf"), float("nan")])
def test_logits_that_move_too_far_are_refused(moved):
    with pytest.raises(RelViTError, match=f"move by {moved}"):
        _check_moved(moved)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    published = build_model(TrainConfig(**TINY, combinations=32))
    published.model.to_plain().save_pretrained(folder)
    published.processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def runs(base, tmp_path_factory):
    """One run per kind: an adapter with analyses, a model fine-tuned as a whole, a small one from scratch."""
    settings = {**TINY, "combinations": 32, "images": 32, "evaluations": 1}
    whole = {**settings, "backbone": str(base), "learning_rate": 1e-3}
    folder = tmp_path_factory.mktemp("runs")
    grid = {"preset": "quick", **whole, "lora": 2}
    grid["causal"] = {**SMALL_CAUSAL, "analyses": ["das", "probes"]}
    (folder / "grid.yaml").write_text(yaml.safe_dump(grid))
    run_study(plan(str(folder / "grid.yaml")), folder / "study", say=str)
    train(TrainConfig(**whole), folder / "whole", progress=False)
    train(TrainConfig(**settings), folder / "scratch", progress=False)
    return {
        "adapter": folder / "study" / "seed0",
        "whole": folder / "whole",
        "scratch": folder / "scratch",
    }


@pytest.fixture(scope="module")
def small(runs, tmp_path_factory):
    return RunFolder.open(
        compact(runs["adapter"], tmp_path_factory.mktemp("small") / "adapter", say=str)
    )


def logits(checkpoint, run):
    scenes = run.training.settings().distribution().sample("test", 16)
    with torch.no_grad():
        return checkpoint.model(pixel_values=checkpoint.pixel_values(scenes)).logits


def stored(folder):
    return sum(file.stat().st_size for file in folder.rglob("*.safetensors"))


def test_a_small_run_is_a_run(runs, small):
    run = RunFolder.open(runs["adapter"])
    for name in ("attention", "alignment", "probes"):
        assert small.table(name).equals(run.table(name)), name
    for cell in small.finished_cells():
        check_manifest(cell)
    apart = logits(small.checkpoint(), run) - logits(run.checkpoint(), run)
    assert apart.abs().max() < 0.05
    text = (small.path / "README.md").read_text()
    assert "answers changed" in text and "interval" in text
    assert stored(small.path) < 0.6 * stored(run.path)
    assert compact(run.path, small.path, say=str) == small.path


def test_its_accuracy_is_that_of_the_rounded_weights(runs, small, tmp_path, capsys):
    """The command that the card names gives the numbers that it names."""
    out = tmp_path / "again.parquet"
    command = ["evaluate", str(small.training.model), "-n", str(TINY["n_eval"]), "--out", str(out)]
    with pytest.raises(SystemExit) as end:
        cli.main(command)
    assert end.value.code == 0, capsys.readouterr().err
    published = small.table("accuracy")
    again = pd.read_parquet(out)
    pd.testing.assert_frame_equal(published, again[published.columns])
    keys = ["split", "condition", "n", "base_accuracy"]
    assert published[keys].equals(RunFolder.open(runs["adapter"]).table("accuracy")[keys])


def test_a_small_model_is_rounded_as_a_whole(runs, tmp_path):
    run = RunFolder.open(runs["scratch"])
    small = RunFolder.open(compact(run.path, tmp_path / "small", say=str))
    assert stored(small.path) < 0.6 * stored(run.path)
    assert (logits(small.checkpoint(), run) - logits(run.checkpoint(), run)).abs().max() < 0.05


def test_alignments_and_probes_fit_the_rounded_model(runs, small):
    run = RunFolder.open(runs["adapter"])
    checkpoint = small.checkpoint()
    alignment = small.alignment("color", 1)
    pairs = small.training.settings().distribution().pairs("color", "test", 16)
    scored = score_alignment(checkpoint, alignment, pairs)
    assert scored.n.max() == 16 and alignment.size == run.alignment("color", 1).size
    saved = load_file(small.cell(alignment_cell("color", 1)) / "alignment.safetensors")
    assert saved["rotation"].dtype == torch.bfloat16
    with pytest.raises(RelViTError, match="weights"):
        run.alignment("color", 1).check(checkpoint.model)
    probes = small.probes()
    assert probes.facts["blocks"].keys() == run.probes().facts["blocks"].keys()
    assert probes.steering_vectors(1)["flip"].dtype == torch.float32


def test_a_whole_model_becomes_the_nearest_adapter(runs, tmp_path):
    run = RunFolder.open(runs["whole"])
    original = run.checkpoint().model.state_dict()
    apart = {}
    for rank in (2, 32):  # 32 is the width: nothing of the layers' change is lost
        small = RunFolder.open(compact(run.path, tmp_path / str(rank), lora=rank, say=str))
        weights = small.checkpoint().model.state_dict()
        names = [name for name in weights if "attention" in name and name.endswith("weight")]
        changes = [(weights[name] - original[name]).norm().item() for name in names]
        apart[rank] = sum(changes)
        assert torch.allclose(
            weights["classifier.weight"], original["classifier.weight"], atol=1e-2
        )
        facts = json.loads((small.path / FACTS).read_text())
        assert facts["lora"] == rank and facts["extracted"]["scenes"] == 32
    assert apart[32] < 0.1 * apart[2]
    saved = load_file(small.training.model / WEIGHTS_FILE)
    assert {weight.dtype for weight in saved.values()} == {torch.bfloat16}


def test_the_base_may_lie_elsewhere_and_keeps_its_name(runs, base, tmp_path):
    moved = shutil.copytree(base, tmp_path / "moved")
    small = compact(runs["whole"], tmp_path / "small", lora=2, base=str(moved), say=str)
    saved = json.loads((small / "training" / "model" / "config.json").read_text())["adapter"]
    assert saved["id"] == str(base)
    assert Checkpoint.open(small / "training" / "model", base=moved).depth == 2


@pytest.mark.parametrize(
    "kind, options, words",
    [
        ("adapter", {"lora": 2}, "an adapter already"),
        ("scratch", {"lora": 2}, "from scratch"),
        ("whole", {"base": "somewhere"}, "holds no adapter"),
        ("whole", {"lora": 2, "base": "/nowhere"}, "/nowhere"),
    ],
)
def test_what_cannot_be_is_one_line(runs, tmp_path, kind, options, words):
    with pytest.raises(RelViTError, match=words) as caught:
        compact(runs[kind], tmp_path / "small", say=str, **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "small" / "README.md").exists()


def test_weights_that_rounding_changes_too_much_are_refused(runs, tmp_path, monkeypatch):
    monkeypatch.setattr("hf_relvit.study.compact.TOLERANCE", 0.0)
    with pytest.raises(RelViTError, match="keep the run"):
        compact(runs["scratch"], tmp_path / "small", say=str)
    assert not (tmp_path / "small" / "DONE.json").exists()
