"""What the figures of a run show, in words: the readings of its tables, formatted."""

from __future__ import annotations

import pandas as pd

from ..analysis.attention import AttentionStages
from ..measurements import Measurement, exceeds_controls, random_weights
from ..training.config import TrainConfig
from ..words import split_name


def summary(test: pd.Series, overall: pd.DataFrame, config: TrainConfig) -> str:
    """The first lines of a report: how well the model does, and where it fails."""
    measured = Measurement.from_row(test, "IID test")
    guesses = not exceeds_controls(measured, ())
    if guesses or not exceeds_controls(measured, [random_weights(test)]):
        reason = "guessing" if guesses else "the same network with random weights"
        return (
            f"After {config.images:,} images the model still guesses: {test.accuracy:.1%} on new scenes of known "
            f"objects (n = {test.n}), which {reason} explains. Train longer, or add an auxiliary loss."
        )
    worst = str(overall.accuracy.idxmin())
    return (
        f"A vision transformer that saw {config.images:,} images answers right on {test.accuracy:.1%} of new scenes "
        f"with known objects (n = {test.n}; guessing gives {test.floor:.0%}, the same network with random weights "
        f"{test.base_accuracy:.0%}) and on {overall.accuracy[worst]:.1%} of its hardest test, {split_name(worst)}."
    )


def attention(stages: AttentionStages) -> str:
    peaks = []
    for kind, words in (
        ("within_object", "inside its object"),
        ("within_pair", "on the other object of the pair"),
    ):
        grid = stages.grid(kind)
        layer, head = divmod(int(grid.argmax()), grid.shape[1])
        peaks.append((grid.max(), f"{grid.max():.0%} {words} (layer {layer}, head {head})"))
    local = (
        "Here no head keeps most of an object's attention inside it. " if peaks[0][0] < 0.5 else ""
    )
    return f"{local}In this model an object's tokens spend at most {peaks[0][1]} and at most {peaks[1][1]}."
