"""The rule of docs/experiments/pipeline.md on made-up tables: each verdict, and none from too little."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

SCRIPT = Path(__file__).parents[1] / "examples" / "pipeline_verdict.py"
SCENES = 1024


def kept(folder: Path, means: dict[str, float], seeds: int = 10, spread: float = 0.01) -> Path:
    """Tables as keep_results.py writes them, of runs whose accuracies lie around the means of their conditions."""
    rng = np.random.default_rng(0)
    accuracy = []
    curves = []
    for condition, mean in means.items():
        for seed in range(seeds):
            run = f"disentanglement-{condition}-seed{seed}"
            share = float(np.clip(mean + spread * rng.standard_normal(), 0, 1))
            for split in ("validation", "test", "test_compositional"):
                row = {"run": run, "split": split, "condition": "all", "n": SCENES}
                accuracy.append({**row, "accuracy": share})
            for images, value in ((60_000, 0.5), (120_000, share)):
                curves.append(
                    {"run": run, "split": "validation", "images": images, "accuracy": value}
                )
    folder.mkdir(exist_ok=True)
    pd.DataFrame(accuracy).to_csv(folder / "accuracy.csv", index=False)
    pd.DataFrame(curves).to_csv(folder / "curves.csv", index=False)
    return folder


def said(folder: Path, capsys, monkeypatch) -> str:
    monkeypatch.setattr(sys, "argv", ["pipeline_verdict.py", str(folder)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("order", "reversed_", "random", "none", "verdict"),
    [
        (0.9, 0.7, 0.6, 0.5, "the order matters"),
        (0.8, 0.8, 0.6, 0.5, "the order does not matter, objects do"),
        (0.7, 0.85, 0.6, 0.5, "the order does not matter, objects do"),
        (0.8, 0.8, 0.8, 0.5, "objects do not matter, sharpness is enough"),
        (0.5, 0.5, 0.5, 0.5, "the loss does not help"),
    ],
)
def test_the_rule(tmp_path, capsys, monkeypatch, order, reversed_, random, none, verdict):
    means = {"order": order, "reversed": reversed_, "random_tokens": random, "none": none}
    assert f"**Verdict: {verdict}** (10 seeds)" in said(kept(tmp_path, means), capsys, monkeypatch)
    assert (tmp_path / "verdict.png").stat().st_size > 10_000


def test_seeds_that_differ_leave_it_undecided(tmp_path, capsys, monkeypatch):
    means = {"order": 0.72, "reversed": 0.7, "random_tokens": 0.66, "none": 0.52}
    told = said(kept(tmp_path, means, seeds=5, spread=0.12), capsys, monkeypatch)
    assert "**Verdict: undecided** (5 seeds)" in told


def test_missing_conditions_give_no_verdict(tmp_path, capsys, monkeypatch):
    told = said(kept(tmp_path, {"order": 0.9, "none": 0.5}), capsys, monkeypatch)
    assert "No verdict: no runs yet for order and reversed" in told


def test_a_difference_is_paired_over_seeds(tmp_path):
    """What seeds share cancels: the interval is narrower than that of unpaired seeds could be."""
    script = runpy.run_path(str(SCRIPT))
    shared = np.linspace(0.55, 0.95, 10)
    parts = [
        pd.DataFrame({"condition": name, "seed": range(10), "unseen": shared + more, "n": 10_000})
        for name, more in (("a", 0.02), ("b", 0.0))
    ]
    found = script["difference"](pd.concat(parts), "a", "b", 0.95)
    assert found.mean == pytest.approx(0.02)
    assert 0.01 < found.low < 0.02 < found.high < 0.03


def test_learners_are_counted_apart(tmp_path):
    script = runpy.run_path(str(SCRIPT))
    means = {"order": 0.9, "none": 0.5}
    runs = script["read"](kept(tmp_path, means))
    table = script["summary"](runs).set_index("condition")
    assert table.learned["order"] == 1 and table.learned["none"] == 0
    assert table.learned_low["order"] > 0.65 and np.isnan(table.unseen_of_learners["none"])
    assert table.images["order"] == 120_000
