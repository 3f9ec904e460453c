"""The grids for a GPU: planned whole, and one run of them done here, by the same code, on a tiny model."""

import dataclasses
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from tiny import TINY

from hf_relvit.analysis.align import SCORED_CONTROLS
from hf_relvit.study.grid import Study, plan
from hf_relvit.study.run import run_study
from hf_relvit.training.config import vit
from hf_relvit.training.run import build_model

EXAMPLES = Path(__file__).parents[2] / "examples"
CLIP = Path(__file__).parents[2] / "build" / "clip-vit-b16"
REDUCED = TINY | dict(
    geometry="quick", backbone=vit(12, 48, 12), images=32, n_train=32, evaluations=1, warmup_steps=0
)


def grid(name: str, **overrides) -> Study:
    return plan(str(EXAMPLES / f"{name}.yaml"), **overrides)


def test_the_grid_of_the_paper_is_what_it_says():
    study = grid("replicate_paper_gpu")
    settings = {(run.config.task, run.config.combinations, run.config.seed) for run in study.runs}
    assert settings == {
        (t, c, s) for t in ("discrimination", "rmts") for c in (256, 32) for s in (0, 1)
    }
    for run in study.runs:
        config = run.config
        assert (config.batch_size, config.fresh, config.n_train, config.geometry) == (
            128,
            False,
            6400,
            "b16",
        )
        assert config.images * config.learning_rate == pytest.approx(
            200 * 6400 * 1e-6
        )  # the paper's product
    assert study.causal.layers is None


@pytest.mark.parametrize("task", ["discrimination", "rmts"])
def test_the_grids_of_table_1_are_what_they_say(task):
    study = grid(f"table1_gpu_{task}")
    losses = {
        (c.disentanglement is not None, c.pipeline is not None)
        for c in (run.config for run in study.runs)
    }
    assert losses == {(False, False), (False, True), (True, False), (True, True)}
    assert len(study.runs) == 12
    assert study.causal is None
    for run in study.runs:
        assert (run.config.task, run.config.combinations) == (task, 32)
        assert (run.config.images, run.config.learning_rate) == (200 * 6400, 1e-6)
    with torch.device("meta"):  # layers and heads that a B/16 has
        model, _ = build_model(study.runs[-1].config)
    assert model.config.backbone_config.initializer_range == 0.02


@pytest.fixture
def quick_compiler(monkeypatch):
    monkeypatch.setattr(
        torch, "compile", partial(torch.compile, backend="aot_eager")
    )  # needs no C++ compiler


@pytest.mark.long
@pytest.mark.filterwarnings(
    "ignore:The .grad attribute:UserWarning"
)  # torch's compiler looks at it
def test_a_run_of_the_paper_goes_to_its_report(tmp_path, quick_compiler):
    study = grid("replicate_paper_gpu", **REDUCED)
    small = dict(pairs=8, test_pairs=8, epochs=1, scenes=32, test_scenes=8, layers=[11])
    causal = dataclasses.replace(study.causal, **small)
    run = next(run for run in study.runs if run.name == "rmts-32-seed1")
    assert run_study(
        dataclasses.replace(study, runs=(run,), causal=causal), tmp_path, say=lambda text: None
    ).exists()
    scores = pd.concat(
        pd.read_parquet(path) for path in (tmp_path / run.name).glob("das*/*/scores.parquet")
    )
    assert set(scores.layer) == {11}
    assert set(scores.control) == {"none", *SCORED_CONTROLS}
    assert set(scores.weights) == {"trained", "random"}
    expected = [
        "novel/color/novel.parquet",
        "probes/judgement/probes.parquet",
        "steering/steering.parquet",
    ]
    assert all((tmp_path / run.name / name).exists() for name in expected)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
def test_a_run_of_table_1_trains_with_both_losses(tmp_path, quick_compiler):
    study = grid("table1_gpu_rmts", **REDUCED)
    run = next(run for run in study.runs if run.config.disentanglement and run.config.pipeline)
    run_study(dataclasses.replace(study, runs=(run,)), tmp_path, say=lambda text: None)
    assert (tmp_path / run.name / "evaluation" / "accuracy.parquet").exists()
    assert not (tmp_path / run.name / "das").exists()


@pytest.mark.skipif(
    not (CLIP / "model.safetensors").exists(), reason="no build/clip-vit-b16: `make replicate-clip`"
)
def test_the_real_clip_fits_the_grid():
    config = dataclasses.replace(grid("replicate_paper_gpu").runs[0].config, backbone=str(CLIP))
    model, processor = build_model(config)
    assert model.config.backbone_config.num_hidden_layers == 12
    assert processor.image_processor.image_mean[0] == pytest.approx(0.48145466)
    assert model.backbone.embeddings.patch_embedding.weight.std() > 0.005  # pretrained, not new
