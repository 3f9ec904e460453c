"""What the figures of a run show, in words: the readings of its tables, formatted."""

from __future__ import annotations

import pandas as pd

from ..analysis.attention import AttentionStages
from ..measurements import Measurement, Reading, exceeds_controls, random_weights
from ..training.config import TrainConfig
from ..words import TARGET_NAMES, split_name
from . import readings


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


def alignment(table: pd.DataFrame) -> str:
    parts = []
    for reading in readings.alignment(table):
        if reading.split != "test":
            continue
        effect = reading.effect
        answers = [
            f"pairs that were same {reading.value('same'):.0%}",
            f"different {reading.value('different'):.0%}",
        ]
        controls = [
            f"wrong object's {reading.value('wrong_object'):.0%}",
            f"no edit {effect.floor:.0%}",
        ]
        numbers = "; ".join([_where(reading), ", ".join(answers), ", ".join(controls)])
        claim = "the answer follows the swap more often than in all controls"
        parts.append(
            f"{reading.subject} {effect.value:.0%} ({numbers}): {reading.conclusion(claim)}"
        )
    return f"Best in this model: {'; '.join(parts)}."


def novel(table: pd.DataFrame) -> str:
    parts = []
    for reading in readings.novel(table):
        values = [
            f"another object's {reading.effect.value:.0%}",
            f"two added {reading.value('added'):.0%}",
            f"two averaged {reading.value('interpolated'):.0%}",
            f"sampled {reading.value('sampled'):.0%}",
            f"random {reading.value('random'):.0%}",
        ]
        place = f"{reading.subject}, layer {reading.layer}"
        effect = reading.effect
        parts.append(
            f"{place}: {', '.join(values)}; no edit {effect.floor:.0%} (n = {effect.n}); {_abstract(reading)}"
        )
    return f"At the layer where known values work best: {'. '.join(parts)}."


def _abstract(reading: Reading) -> str:
    """Which of the values that no object has work better than random vectors."""
    methods = {"added": "added", "interpolated": "averaged", "sampled": "sampled"}
    control = reading.parts["random"]
    working = [
        words
        for method, words in methods.items()
        if exceeds_controls(reading.parts[method], [control])
    ]
    if not working:
        return (
            "no kind of new values lies above random vectors and no edit, so no effect is claimed"
        )
    return f"above random vectors and no edit: {', '.join(working)}"


def probes(table: pd.DataFrame) -> str:
    parts = []
    for reading in readings.probes(table):
        question = TARGET_NAMES[reading.subject]
        control = f"shuffled {reading.value('shuffled'):.0%}"
        conclusion = reading.conclusion("it can be read")
        parts.append(
            f"{question} {reading.effect.value:.0%} ({_where(reading)}; {control}): {conclusion}."
        )
    return f"Best in this model: {' '.join(parts)}"


def steering(table: pd.DataFrame) -> str:
    (reading,) = readings.steering(table)
    effect = reading.effect
    place = f"layer {reading.layer}, α = {reading.strength:g}, {reading.subject} pair"
    conclusion = reading.conclusion("the push along the probe does more than its controls")
    return (
        f"At best, a push flips {effect.value:.0%} of the answers ({place}; {_interval(effect)}); one of the same "
        f"length along a shuffled probe flips {reading.value('shuffled'):.0%}, none {effect.floor:.0%}: {conclusion}."
    )


SENTENCES = {"alignment": alignment, "novel": novel, "probes": probes, "steering": steering}
"""Causal analysis -> its reading in words."""


def _where(reading: Reading) -> str:
    return f"layer {reading.layer}; {_interval(reading.effect)}"


def _interval(measured: Measurement) -> str:
    return f"95 % interval {measured.low:.0%} to {measured.high:.0%}, n = {measured.n}"
