"""Seconds, steps and images until swaps reach an accuracy: random start, closed-form start, and no search at all.

Every method runs at several lengths, each with its own schedule; validation pairs choose the learning rate, test
pairs are scored. Captures are shared and timed apart: a search needs states of its pairs, a closed form those of
labeled scenes. All sides run in one process, by default on the model of the tests whose color and shape are known
to lie in four dimensions each; `--checkpoint` and `--layer` name another one, such as a fine-tuned CLIP.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from pathlib import Path

import machine
import numpy as np

from hf_relvit.analysis.align import PairCaptures
from hf_relvit.analysis.das import DASConfig, fit_alignment
from hf_relvit.analysis.scores import score_alignment
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.stimuli.counterfactuals import PROPERTIES
from hf_relvit.stimuli.distribution import SceneDistribution

KNOWN = Path(__file__).parents[1] / "tests" / "analysis" / "conftest.py"
GOALS = (0.80, 0.85, 0.90)
AUTHORS = {"shape": 0.936, "color": 0.918}
"""Layer 2 of CLIP, the paper's result files."""
RATES = (1e-3, 1e-2)
METHODS = {
    "das, from random directions": {"method": "das"},
    "das, from the closed form": {"method": "das", "start": "closed_form"},
    "oblique, from the closed form": {"method": "oblique", "start": "closed_form"},
}


def accuracy(checkpoint: Checkpoint, alignment, pairs) -> float:
    return float(score_alignment(checkpoint, alignment, pairs).accuracy.iloc[0])


def wrong_object(checkpoint: Checkpoint, alignment, pairs) -> float:
    return float(score_alignment(checkpoint, alignment, pairs, "wrong_object").accuracy.iloc[0])


def known_model() -> tuple[Checkpoint, SceneDistribution]:
    """The model of the tests, and its scenes."""
    spec = importlib.util.spec_from_file_location("sign_model", KNOWN)
    known = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(known)
    checkpoint = Checkpoint(*known.make_sign_model("color", "shape"))
    scenes = SceneDistribution("discrimination", GEOMETRIES["quick"], 256, known.SIGN_OBJECTS)
    return checkpoint, scenes


def timed(work):
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def runs(checkpoint, captures, prop: str, layer: int, epochs: tuple[int, ...]) -> list[dict]:
    """One row per method and length."""
    train, capture = timed(lambda: captures.get(prop, "train"))
    objects, labeled = timed(lambda: captures.objects())
    validation = captures.get(prop, "validation")
    test = captures.get(prop, "test")
    pairs = len(train.pairs)
    closed, seconds = timed(
        lambda: fit_alignment(
            checkpoint, train.select(slice(0, 64)), layer, DASConfig("closed_form"), objects=objects
        )
    )
    rows = [
        {
            "what": f"{prop}: closed form",
            "steps": 0,
            "images": len(objects.scenes) + 128,
            "seconds": seconds,
            "seconds_of_capture": labeled,
            "accuracy": accuracy(checkpoint, closed, test),
            "wrong_object": score_alignment(checkpoint, closed, test, "wrong_object").accuracy.iloc[
                0
            ],
        }
    ]
    for name, settings in METHODS.items():
        for count in epochs:
            tried = []
            for rate in RATES:
                config = DASConfig(**settings, epochs=count, lr_rotation=rate, lr_mask=10 * rate)
                made, seconds = timed(
                    lambda config=config: fit_alignment(
                        checkpoint, train, layer, config, objects=objects
                    )
                )
                tried.append((accuracy(checkpoint, made, validation), rate, seconds, made))
            _, rate, seconds, made = max(tried, key=lambda each: each[0])
            warm = "start" in settings
            rows.append(
                {
                    "what": f"{prop}: {name}",
                    "steps": count * -(-pairs // 64),
                    "images": 2 * pairs + warm * len(objects.scenes),
                    "seconds": seconds,
                    "seconds_of_capture": capture + warm * labeled,
                    "lr_rotation": rate,
                    "accuracy": accuracy(checkpoint, made, test),
                    "wrong_object": wrong_object(checkpoint, made, test),
                }
            )
            print(f"  {rows[-1]}", flush=True)
    return rows


def times(rows: list[dict]) -> list[dict]:
    """For each method the shortest run that reaches a goal; none where no run does."""
    table = []
    for what in dict.fromkeys(row["what"] for row in rows):
        own = [row for row in rows if row["what"] == what]
        prop = what.partition(":")[0]
        for goal in (*GOALS, AUTHORS[prop]):
            reached = [row for row in own if row["accuracy"] >= goal]
            first = min(reached, key=lambda row: row["seconds"], default={})
            figures = {key: first.get(key, np.nan) for key in ("seconds", "steps", "images")}
            table.append({"what": f"{what}, until {goal}", **figures})
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--layer", type=int, default=0)
    parser.add_argument("--pairs", type=int, default=512)
    parser.add_argument("--test-pairs", type=int, default=512)
    parser.add_argument("--scenes", type=int, default=1024)
    parser.add_argument("--epochs", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--name", default="time_to_accuracy", help="of the file of results")
    options = parser.parse_args()
    if options.checkpoint is None:
        checkpoint, scenes = known_model()
    else:
        checkpoint = Checkpoint.open(options.checkpoint)
        scenes = checkpoint.distribution()
    captures = PairCaptures(
        checkpoint,
        scenes,
        [options.layer],
        pairs=options.pairs,
        test_pairs=options.test_pairs,
        scenes=options.scenes,
        kept=8,
    )
    rows = []
    for prop in PROPERTIES:
        rows += runs(checkpoint, captures, prop, options.layer, tuple(options.epochs))
    machine.write(options.name, [*rows, *times(rows)])
