"""A tiny study with every analysis, made once for all tests of publishing; tests that change it take a copy."""

from __future__ import annotations

import shutil

import pytest
from PIL import Image
from tiny import TINY

from hf_relvit.study.grid import CausalConfig, Run, Study
from hf_relvit.study.run import run_study
from hf_relvit.training.config import TrainConfig


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """The folder of a finished study with one run, seed0. Its figures and its report stand for the real ones."""
    config = TrainConfig(**TINY, combinations=32)
    causal = CausalConfig(pairs=16, test_pairs=8, epochs=1, scenes=64, test_scenes=16, layers=[0])
    out = tmp_path_factory.mktemp("study") / "tiny"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            "hf_relvit.report.run_page.write_report", lambda study, runs, out, **_: out
        )  # drawing takes longest
        run_study(Study("tiny", (Run("seed0", config),), causal), out, say=lambda line: None)
    (out / "seed0" / "figures").mkdir()
    for figure in ("accuracy", "attention", "history"):
        Image.new("RGB", (8, 8)).save(out / "seed0" / "figures" / f"{figure}.png")
    (out / "report.html").write_text("<!doctype html><p>report</p>")
    return out


@pytest.fixture
def run(study, tmp_path):
    """A copy of its run, to change."""
    return shutil.copytree(study / "seed0", tmp_path / "seed0")
