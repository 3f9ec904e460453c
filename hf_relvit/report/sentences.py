"""What the figures of a run show, in words."""

from __future__ import annotations

import pandas as pd

from ..analysis.attention import AttentionStages
from ..training.config import TrainConfig
from ..words import TARGET_NAMES, split_name


def summary(test: pd.Series, overall: pd.DataFrame, config: TrainConfig) -> str:
    """The first lines of a report: how well the model does, and where it fails."""
    if test.ci_low <= test.floor:
        return (
            f"After {config.images:,} images the model still guesses: {test.accuracy:.1%} on new scenes of known "
            f"objects (n = {test.n}), which guessing explains. Train longer, or add an auxiliary loss."
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


def alignment(scores: pd.DataFrame) -> str:
    iid = scores[(scores.split == "test") & (scores.score == "cause")].set_index("condition")
    parts = []
    for prop, rows in iid.groupby("property"):
        whole = rows.loc["all"]
        found = whole[(whole.control == "none") & (whole.weights == "trained")].set_index("layer")
        layer = found.accuracy.idxmax()
        best = found.loc[layer]
        here = rows[rows.layer == layer].set_index(["control", "weights"], append=True).accuracy
        parts.append(
            f"{prop} {best.accuracy:.0%} (layer {layer}; {_interval(best)}; pairs that were same "
            f"{here['same', 'none', 'trained']:.0%}, different {here['different', 'none', 'trained']:.0%}; wrong "
            f"object's {here['all', 'wrong_object', 'trained']:.0%}, no edit {best.floor:.0%})"
        )
    return f"Best in this model: {'; '.join(parts)}."


def novel(frame: pd.DataFrame) -> str:
    whole = frame[(frame.condition == "all") & (frame.baseline == "subspace")]
    parts = []
    for prop, rows in whole.groupby("property"):
        known = rows[rows.method == "known"].set_index("layer")
        layer = known.accuracy.idxmax()
        here = rows[rows.layer == layer].set_index("method").accuracy
        parts.append(
            f"{prop}, layer {layer}: another object's {here['known']:.0%}, two added {here['added']:.0%}, "
            f"two averaged {here['interpolated']:.0%}, sampled {here['sampled']:.0%}, random {here['random']:.0%}; "
            f"no edit {known.floor[layer]:.0%} (n = {known.n[layer]})"
        )
    return f"At the layer where known values work best: {'. '.join(parts)}."


def probes(frame: pd.DataFrame) -> str:
    parts = []
    for target, rows in frame.groupby("target", sort=False):
        trained = rows[rows.condition == "trained"].set_index("layer")
        layer = trained.accuracy.idxmax()
        best, control = (
            trained.loc[layer],
            rows[(rows.condition == "shuffled") & (rows.layer == layer)].iloc[0],
        )
        question = TARGET_NAMES[str(target)]
        parts.append(
            f"{question} {best.accuracy:.0%} (layer {layer}; {_interval(best)}; shuffled {control.accuracy:.0%})"
        )
    return f"Best in this model: {' '.join(parts)}."


def steering(frame: pd.DataFrame) -> str:
    flip = frame[frame.condition == "flip"]
    best = flip.loc[flip.accuracy.idxmax()]
    same = frame[
        (frame.layer == best.layer) & (frame.alpha == best.alpha) & (frame.pair == best.pair)
    ]
    control = same.set_index("condition").accuracy["shuffled"]
    return (
        f"At best, a push flips {best.accuracy:.0%} of the answers (layer {best.layer}, α = {best.alpha:g}, "
        f"{best.pair} pair; {_interval(best)}); one of the same length along a shuffled probe flips {control:.0%}, "
        f"none {best.floor:.0%}."
    )


def _interval(row: pd.Series) -> str:
    return f"95 % interval {row.ci_low:.0%} to {row.ci_high:.0%}, n = {row.n:.0f}"


CAUSAL = {
    "alignment": (
        "Does it hold shape and color apart?",
        "For each property and layer, a subspace of the object's tokens was learned whose swap from another picture "
        "should change that property alone (distributed alignment search). Blue: how often the model then gives the "
        "answer that the changed object calls for. Orange: the same with the wrong object of the other picture, which "
        "should fail. Green: how often the answer stays where the other property was changed in the source instead. "
        "Pink: the same search in this network with random weights, which gives one answer to all pictures, so read "
        "it against its own dots. Gray and black dots: doing nothing, judged by the picture's own answer and by the "
        "new one.",
        alignment,
    ),
    "novel": (
        "Is the comparison abstract?",
        "Both objects of a pair get a value of the property that no object has, in the learned subspace: two values "
        "added or averaged, a sampled or a random vector. The answer should change as it would with real objects. "
        "Second row: the whole state of the tokens is replaced; third row: the objects were erased from the picture "
        "first. Gray and dotted: no edit.",
        novel,
    ),
    "probes": (
        "What can be read, and where?",
        "A probe is fitted to the object tokens of each layer: to tell whether a pair is the same, which shape, color "
        "or object a token belongs to, whether two tokens are of one object. Orange: probes fitted to shuffled "
        "labels; dotted: always naming the commonest. What can be read need not be used: see the next figure.",
        probes,
    ),
    "steering": (
        "Is what can be read also used?",
        "The tokens of a pair are pushed along the probe's direction for the other relation, α times its length; the "
        "titles say how long that is beside the tokens. Blue: how often the answer flips. Orange: pushed to "
        "the relation that the pair has. Green: pushed as far along a shuffled probe. Gray and dotted: no push.",
        steering,
    ),
}
"""Heading, caption and reading of each causal analysis (``tables.CAUSAL``)."""
