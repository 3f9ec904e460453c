"""One reading of each table: the best layer, its value, its interval and its controls.

Reports, cards, the leaderboard and the Space format what stands here and look nothing up themselves, so they cannot
disagree. What may be claimed is decided by ``measurements.exceeds_controls``.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ..measurements import Measurement, Reading
from ..tables import records, select
from ..words import TARGET_NAMES, split_name


def accuracy(table: pd.DataFrame) -> list[Measurement]:
    """Of each split as a whole, beside random weights and guessing."""
    rows = records(table, condition="all")
    return [
        Measurement(
            split_name(row["split"]),
            row["accuracy"],
            row["ci_low"],
            row["ci_high"],
            int(row["n"]),
            base=row["base_accuracy"],
            floor=row["floor"],
        )
        for row in rows
    ]


def own_alignments(table: pd.DataFrame) -> pd.DataFrame:
    """The alignments themselves on the IID test: one row per property and layer, no controls."""
    return select(
        table, split="test", score="cause", control="none", weights="trained", condition="all"
    )


def best_layers(table: pd.DataFrame) -> dict[str, int]:
    """For each property the layer whose swap works best on the IID test."""
    scores = own_alignments(table)
    if not len(scores):
        return {}
    best = scores.loc[scores.groupby("property").accuracy.idxmax()]
    return {row.property: int(row.layer) for row in best.itertuples()}


_ALIGNMENT_PARTS = {
    "effect": ("answer follows the swap", {"score": "cause", "control": "none"}),
    "wrong_object": ("control, the other object", {"score": "cause", "control": "wrong_object"}),
    "random_tokens": ("control, random tokens", {"score": "cause", "control": "random_tokens"}),
    "shuffled_labels": (
        "control, shuffled labels",
        {"score": "cause", "control": "shuffled_labels"},
    ),
    "isolate": (
        "answer stays, other property changed",
        {"score": "isolate", "control": "none"},
    ),
}


def alignment(table: pd.DataFrame) -> list[Reading]:
    """Swaps of a property: one reading per property and split, the IID test first."""
    readings = []
    for prop, layer in best_layers(table).items():
        rows = select(table, property=prop, layer=layer)
        for split in dict.fromkeys(rows["split"]):
            place = f"{prop}, layer {layer}, {split_name(str(split))}"
            parts = _alignment_parts(select(rows, split=split), place)
            controls = ("wrong_object", "random_tokens", "random_weights", "shuffled_labels")
            readings.append(Reading(prop, str(split), layer, parts, controls))
    return readings


def _alignment_parts(rows: pd.DataFrame, place: str) -> dict[str, Measurement]:
    parts = {}
    for key, (words, columns) in _ALIGNMENT_PARTS.items():
        chosen = select(rows, condition="all", **columns)
        trained = records(chosen, weights="trained")
        random = next(iter(records(chosen, weights="random")), None)
        if trained:
            parts[key] = Measurement.from_row(trained[0], f"{place}: {words}", random)
        if random and key == "effect":
            parts["random_weights"] = Measurement.from_row(random, f"{place}: random weights")
    own = select(rows, score="cause", control="none", weights="trained")
    for answer in ("same", "different"):
        for row in records(own, condition=answer):
            words = f"{place}: answer follows the swap, pairs that were {answer}"
            parts[answer] = Measurement.from_row(row, words)
    return parts


def novel(table: pd.DataFrame) -> list[Reading]:
    """Values of a property that no object has, at the layer where values of other objects work best."""
    whole = select(table, condition="all", baseline="subspace")
    readings = []
    for prop, rows in whole.groupby("property"):
        known = select(rows, method="known").set_index("layer")
        layer = int(known.accuracy.idxmax())
        parts = {}
        for row in records(rows, layer=layer):
            key = "effect" if row["method"] == "known" else row["method"]
            parts[key] = Measurement.from_row(row, f"{prop}, layer {layer}: {row['method']} values")
        readings.append(Reading(str(prop), "test", layer, parts, ("random",)))
    return readings


def probes(table: pd.DataFrame) -> list[Reading]:
    """What can be read from the tokens, at the layer where it is read best."""
    readings = []
    for target, rows in table.groupby("target", sort=False):
        trained = select(rows, condition="trained").set_index("layer")
        layer = int(trained.accuracy.idxmax())
        question = TARGET_NAMES[str(target)]
        words = {"trained": question, "shuffled": "control, shuffled labels"}
        parts = {}
        for row in records(rows, layer=layer):
            key = "effect" if row["condition"] == "trained" else row["condition"]
            name = f"{words[row['condition']]} (layer {layer})"
            parts[key] = Measurement.from_row(row, name)
        readings.append(Reading(str(target), "test", layer, parts, ("shuffled",)))
    return readings


_STEERING_PARTS = {
    "flip": "answer flips",
    "agree": "control, towards the relation that it has",
    "shuffled": "control, shuffled probe",
}


def steering(table: pd.DataFrame) -> list[Reading]:
    """The push that flips most answers, beside pushes of the same length that should not."""
    flips = select(table, condition="flip")
    best = flips.loc[flips.accuracy.idxmax()]
    place = f"layer {best.layer}, α = {best.alpha:g}, {best.pair} pair"
    parts = {}
    for row in records(table, layer=best.layer, alpha=best.alpha, pair=best.pair):
        condition = row["condition"]
        if condition in _STEERING_PARTS:
            key = "effect" if condition == "flip" else condition
            parts[key] = Measurement.from_row(row, f"{place}: {_STEERING_PARTS[condition]}")
    controls = ("agree", "shuffled")
    return [Reading(str(best.pair), "test", int(best.layer), parts, controls, float(best.alpha))]


READERS = {"alignment": alignment, "novel": novel, "probes": probes, "steering": steering}
"""Causal analysis -> its reading."""


def attention(scores: Mapping[str, float]) -> list[Measurement]:
    """The scores of the attention stages; ``scores`` has their number of scenes as ``n``."""
    return [
        Measurement(
            kind.replace("_", " "),
            scores[kind],
            scores[f"{kind}_ci_low"],
            scores[f"{kind}_ci_high"],
            int(scores["n"]),
        )
        for kind in ("perceptual_score", "relational_score")
    ]
