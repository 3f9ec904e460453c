"""The scripts of examples/ that need no download run, and say what docs/replication.md quotes."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path

import pytest

import hf_relvit
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.modeling.processing import PixelProcessor, default_processor
from hf_relvit.training.run import build_model

ROOT = Path(__file__).parents[1]


def run(name: str, *arguments: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *arguments])
        runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")


def rounded(value):
    """Free of the last digits, which differ between machines."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items() if key != "provenance"}
    return [rounded(part) for part in value] if isinstance(value, list) else value


@pytest.mark.long
def test_published_doubts_prints_what_is_committed(tmp_path, capsys):
    run("published_doubts", "--out", str(tmp_path / "doubts.json"))
    result = json.loads((tmp_path / "doubts.json").read_text())
    assert rounded(result) == rounded(
        json.loads((ROOT / "docs/results/published_doubts.json").read_text())
    )
    assert "9.5: accuracy as the analysis saw it" in capsys.readouterr().out

    r = {(row["split"], row["models"]): row["r"] for row in result["figure_6"]}
    assert r["iid", "all"] == pytest.approx(0.948, abs=5e-4)
    assert r["iid", "without scratch"] == pytest.approx(0.27, abs=5e-3)
    assert r["ood_both", "without scratch, MAE"] == pytest.approx(0.67, abs=5e-3)
    ceiling = next(row for row in result["ceilings"] if row["train"] == 0.981)
    assert ceiling["sizes_batch_128"] == "6263"
    seen = next(row for row in result["shortfall"] if row["objects"].startswith("32"))
    assert seen["images_min"] < 6263 < seen["images_max"] < 6400
    lost = {row["model"] for row in result["analyzed"] if row["lost"] > 0.05}
    assert lost == {"DINO", "MAE"}


def test_processor_mismatch_on_a_checkpoint(tmp_path, tiny, capsys):
    model, _ = build_model(tiny)
    size = model.config.image_size
    halves = PixelProcessor(
        default_processor(size), size
    )  # mean = spread = 0.5, so the first mismatch is none
    Checkpoint(model, halves).save(tmp_path / "model")
    run(
        "processor_mismatch",
        str(tmp_path / "model"),
        "--n",
        "32",
        "--out",
        str(tmp_path / "mismatch.json"),
    )
    rows = json.loads((tmp_path / "mismatch.json").read_text())["rows"]
    assert [row["normalization"] for row in rows] == [
        "its own",
        "mean = spread = 0.5",
        "ImageNet's",
    ]
    assert [row["mean"] for row in rows] == [0.5, 0.5, 0.485]
    assert [row["agrees"] for row in rows[:2]] == [1.0, 1.0]
    assert rows[0]["accuracy"] == rows[1]["accuracy"]
    assert all(
        row["n"] == 32 and row["ci_low"] <= row["accuracy"] <= row["ci_high"] for row in rows
    )
    assert "ImageNet's" in capsys.readouterr().out


def test_processor_mismatch_trains_with_imagenets_constants(tmp_path, tiny):
    example = runpy.run_path(str(ROOT / "examples" / "processor_mismatch.py"))
    checkpoint = example["train_with_imagenets"](tiny, tmp_path)
    table = example["mismatch"](str(checkpoint), n=16).set_index("normalization")
    assert table.loc["its own", ["mean", "spread"]].tolist() == [0.485, 0.229]
    assert table.agrees["ImageNet's"] == 1
    assert table.accuracy["ImageNet's"] == table.accuracy["its own"]


def test_the_notebook_uses_every_public_name(tmp_path, capsys):
    """It runs from beginning to end, at a reduced size."""
    path = ROOT / "examples" / "notebook.py"
    used = set(re.findall(r"\bhf\.(\w+)", path.read_text()))
    assert used == set(hf_relvit.__all__)
    runpy.run_path(str(path), init_globals={"N": 16, "OUT": tmp_path})
    assert "do not fit a model of 64 px" in capsys.readouterr().out
