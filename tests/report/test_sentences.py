"""Words are read before numbers: they must name the best layer, its own controls, the interval, and admit guessing."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from hf_relvit.measurements import Measurement
from hf_relvit.recipes.recipes import RECIPES, SECTIONS
from hf_relvit.report import run_page, sentences
from hf_relvit.stimuli.discrimination import DISCRIMINATION
from hf_relvit.stimuli.tasks import TASKS
from hf_relvit.training.config import TrainConfig

INTERVAL = {"ci_low": 0.1, "ci_high": 0.9, "n": 40, "floor": 0.5}


def table(columns, *rows):
    return pd.DataFrame([dict(zip(columns.split(), row)) | INTERVAL for row in rows])


@pytest.mark.parametrize(
    ("low", "words"),
    [
        (
            0.53,
            "answers right on 58.0% of new scenes with known objects (n = 1024; guessing gives 50%, the same ",
        ),
        (
            0.51,
            "still guesses: 58.0% on new scenes of known objects (n = 1024), which the same network with random "
            "weights explains",
        ),
        (
            0.50,
            "still guesses: 58.0% on new scenes of known objects (n = 1024), which guessing explains",
        ),
    ],
)
def test_the_summary_admits_guessing(low, words):
    test = Measurement("IID test", 0.58, low, 0.61, 1024, base=0.49, floor=0.5)
    splits = {"test": test}
    for name, value in {"new shapes": 0.51, "compositional": 0.55}.items():
        splits[name] = dataclasses.replace(test, name=name, value=value)
    text = sentences.summary(splits, TrainConfig(images=12_800))
    assert words in text and "12,800 images" in text
    assert ("51.0% of its hardest test, new shapes" in text) == (low > 0.52)


@pytest.mark.parametrize(
    ("shift", "reach", "local"), [(0, 0.05, False), (0, 0.15, True), (0.2, 0.05, True)]
)
def test_attention_names_the_strongest_heads(shift, reach, local):
    """That no head is local is said only where no head's interval reaches a half."""
    grids = {
        "within_object": np.array([[0.1, 0.2], [0.4, 0.3]]) + shift,
        "within_pair": np.array([[0.0, 0.7], [0.1, 0.1]]),
    }
    rows = [
        {"layer": layer, "head": head, "kind": kind, "mean": mean, "ci_high": mean + reach}
        for kind, grid in grids.items()
        for (layer, head), mean in np.ndenumerate(grid)
    ]
    text = sentences.attention(SimpleNamespace(frame=pd.DataFrame(rows)))
    peak = f"at most {0.4 + shift:.0%} inside its object (layer 1, head 0)"
    assert f"{peak} and at most 70% on the other object" in text
    assert "(layer 0, head 1)" in text
    assert ("no head keeps most of" in text) is not local


def test_alignment_takes_the_best_layer_and_its_own_controls():
    rows = [
        ("color", layer, condition, control, weights, accuracy + layer / 100, "test", "cause")
        for layer, accuracy in ((1, 0.60), (3, 0.80))
        for condition in ("all", "same", "different")
        for control, weights in (
            ("none", "trained"),
            ("wrong_object", "trained"),
            ("none", "random"),
        )
    ]
    frame = table("property layer condition control weights accuracy split score", *rows)
    other = frame.assign(accuracy=1.0)  # of what must not be looked at
    frame = pd.concat(
        [frame, other.assign(split="test_compositional"), other.assign(score="isolate")]
    )
    chance = (frame.weights == "random") & (frame.layer == 1)
    frame.loc[chance, "accuracy"] = 0.99
    text = SECTIONS["alignment"].tell(frame)
    assert (
        "color 83% (layer 3; 95 % interval 10% to 90%, n = 40; pairs that were same 83%, different 83%"
        in text
    )
    assert "wrong object's 83%, no edit 50%" in text


def test_novel_reads_all_methods_where_known_values_work_best():
    methods = {
        "known": (0.9, 0.7),
        "added": (0.5, 1.0),
        "interpolated": (0.4, 1.0),
        "sampled": (0.3, 1.0),
    }
    methods["random"] = (0.2, 1.0)
    rows = [
        ("shape", "all", "subspace", method, layer, values[layer])
        for method, values in methods.items()
        for layer in (0, 1)
    ]
    text = SECTIONS["novel"].tell(table("property condition baseline method layer accuracy", *rows))
    assert (
        "shape, layer 0: another object's 90%, two added 50%, two averaged 40%, sampled 30%, random 20%"
        in text
    )
    assert "no edit 50% (n = 40)" in text


def test_probes_and_steering_name_the_control_of_the_same_place():
    rows = [
        ("color", "trained", 0, 0.5),
        ("color", "trained", 2, 0.8),
        ("color", "shuffled", 0, 0.4),
    ]
    text = SECTIONS["probes"].tell(
        table("target condition layer accuracy", *rows, ("color", "shuffled", 2, 0.1))
    )
    assert "80% (layer 2; 95 % interval 10% to 90%, n = 40; shuffled 10%)" in text

    rows = [
        (condition, layer, alpha, "sample", accuracy)
        for condition, accuracies in {"flip": (0.2, 0.7), "shuffled": (0.6, 0.3)}.items()
        for (layer, alpha), accuracy in zip(((0, 1.0), (4, 0.5)), accuracies)
    ]
    text = SECTIONS["steering"].tell(table("condition layer alpha pair accuracy", *rows))
    assert "flips 70% of the answers (layer 4, α = 0.5, sample pair;" in text
    assert "shuffled probe flips 30%, none 50%" in text


def test_a_report_says_which_analyses_the_task_cannot_have(monkeypatch):
    task = dataclasses.replace(DISCRIMINATION, name="above", swaps=None)
    monkeypatch.setitem(TASKS, "above", task)
    line = run_page._left_out("above", list(RECIPES))
    assert line.startswith("Left out: “Does it hold shape and color apart?” “Is the comparison")
    assert line.endswith("and the task “above” has none.")
    assert run_page._left_out("above", ["probes", "steering"]) == ""
    assert run_page._left_out("rmts", list(RECIPES)) == ""
