"""The figures of a run in words: the readings of its tables, formatted."""

from __future__ import annotations

from collections.abc import Mapping

from ..analysis.attention import AttentionStages
from ..claims import exceeds_controls
from ..measurements import Measurement, random_weights
from ..tables import largest, select
from ..training.config import TrainConfig


def summary(splits: Mapping[str, Measurement], config: TrainConfig) -> str:
    """The first lines of a report: how well the model does, and where it fails.

    Args:
        splits: accuracy on each split as a whole, beside random weights; with "test".
        config: of the training.
    """
    test = splits["test"]
    controls = [random_weights(test.to_row())]
    if not exceeds_controls(test, controls):
        guesses = not exceeds_controls(test, ())
        reason = "guessing" if guesses else "the same network with random weights"
        return (
            f"After {config.images:,} images the model still guesses: {test.value:.1%} on new scenes of known "
            f"objects (n = {test.n}), which {reason} explains. Train longer, or add an auxiliary loss."
        )
    worst = hardest(splits)
    return (
        f"A vision transformer that saw {config.images:,} images answers right on {test.value:.1%} of new scenes "
        f"with known objects (n = {test.n}; guessing gives {test.floor:.0%}, the same network with random weights "
        f"{test.base:.0%}) and on {worst.value:.1%} of its hardest test, {worst.name}."
    )


def hardest(splits: Mapping[str, Measurement]) -> Measurement:
    """The split with the lowest accuracy."""
    return min(splits.values(), key=lambda measured: measured.value)


def attention(stages: AttentionStages) -> str:
    """The strongest heads; that no head is local is said only where no head's interval reaches a half."""
    peaks = []
    for kind, words in (
        ("within_object", "inside its object"),
        ("within_pair", "on the other object of the pair"),
    ):
        top = largest(select(stages.frame, kind=kind), "mean")
        peaks.append(f"{top['mean']:.0%} {words} (layer {top.layer}, head {top['head']})")
    within = select(stages.frame, kind="within_object")
    local = ""
    if within.ci_high.max() < 0.5:
        local = "Here no head keeps most of an object's attention inside it. "
    return (
        f"{local}In this model an object's tokens spend at most {peaks[0]} and at most {peaks[1]}."
    )
