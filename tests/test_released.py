"""The released runs: small, whole, free of paths of the machine that made them, and opened as any run is."""

import json
from pathlib import Path

import pytest
import torch

from hf_relvit.cli.tour import CONTRAST, RELEASED
from hf_relvit.cli.tour import RUN as MAIN
from hf_relvit.manifest import check_manifest
from hf_relvit.modeling.adapters import WEIGHTS_FILE
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.report.run_folder import RunFolder

ROOT = Path(__file__).parents[1]
RUNS = sorted(path for path in RELEASED.iterdir() if path.is_dir())
LIMIT = 12_000_000
"""Bytes of all runs of CLIP together; the small network from scratch comes on top."""


def test_they_are_small_and_those_that_the_tour_takes():
    assert (
        sum(file.stat().st_size for file in RELEASED.glob("clip-*/**/*") if file.is_file()) < LIMIT
    )
    assert {MAIN, CONTRAST} <= {path.name for path in RUNS}


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_a_released_run_is_a_run_with_a_card(path):
    run = RunFolder.open(path)
    assert run.finished_cells()
    for cell in (run.path, *run.finished_cells()):
        check_manifest(cell)
    card = (path / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\n") and "answers changed" in card
    for file in path.rglob("*.json"):
        assert not any(place in file.read_text("utf-8") for place in ('"/work', '"/home', '"/tmp'))
    for folder in run.alignment_folders():
        prop, _, layer = folder.name.rpartition("-")
        assert run.alignment(prop, int(layer)).property == prop
    if run.table_files("steering"):
        best = run.table("steering").layer.iloc[0]
        assert run.probes().at(best).steering_vectors(best)["flip"].isfinite().all()


def opened(path: Path) -> Checkpoint:
    """Its model; skipped where the base of an adapter was not built."""
    model = RunFolder.open(path).training.model
    if not (model / WEIGHTS_FILE).is_file():
        return Checkpoint.open(model)
    base = ROOT / json.loads((model / "config.json").read_text())["adapter"]["id"]
    if not base.is_dir():
        pytest.skip(f"{base.name} is not built: make {base.relative_to(ROOT)}/model.safetensors")
    return Checkpoint.open(model, base=base)


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_its_model_answers_and_its_alignments_are_of_it(path):
    checkpoint = opened(path)
    run = RunFolder.open(path)
    scenes = checkpoint.distribution(seed=1).sample("test", 8)
    with torch.no_grad():
        logits = checkpoint.model(pixel_values=checkpoint.pixel_values(scenes)).logits
    right = logits.argmax(-1).numpy() == scenes.label
    assert right.sum() >= 7, "it solves the task"
    for folder in run.alignment_folders():
        prop, _, layer = folder.name.rpartition("-")
        run.alignment(prop, int(layer)).check(checkpoint.model)
