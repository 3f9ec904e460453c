"""The numbers of a card: each with its interval and n, and beside it random weights and the floor."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from ..words import TARGET_NAMES, split_name
from .results import RunResults
from .sentences import CAUSAL


@dataclass(frozen=True)
class Number:
    """One measurement, 0 to 1.

    Attributes:
        what: in words.
        low, high: 95 % interval.
        n: scenes or pairs.
        base: the same in the network with random weights; None if that was not measured.
        floor: what guessing or doing nothing gives; None where there is no such thing.
    """

    what: str
    value: float
    low: float
    high: float
    n: int
    base: float | None = None
    floor: float | None = None


def sections(results: RunResults) -> list[tuple[str, str, str, list[Number]]]:
    """Analysis, heading, caption and numbers; those analyses that the run has."""
    found = []
    if "accuracy" in results.tables:
        caption = "Accuracy on scenes that training never showed; “new” shapes and colors were not in training at all."
        found.append(
            ("accuracy", "How well it generalizes", caption, accuracy(results.table("accuracy")))
        )
    if "photorealistic" in results.tables:
        caption = (
            "Rendered objects on a table, same or not; training showed flat silhouettes only. An interval counts a "
            "scene and its twin once."
        )
        numbers = accuracy(results.table("photorealistic"))
        found.append(("photorealistic", "Pictures of another kind", caption, numbers))
    if results.attention:
        caption = (
            "Our scores, 0 to 1. Perceptual: the share of attention that objects keep to themselves, in the strongest "
            "head of each layer of the first stage. Relational: the share that goes to other objects, in the second."
        )
        found.append(
            ("attention", "Where its objects look", caption, _attention(results.attention))
        )
    for analysis, rows in {
        "alignment": _alignment,
        "novel": _novel,
        "probes": _probes,
        "steering": _steering,
    }.items():
        if analysis in results.tables:
            heading, caption, _ = CAUSAL[analysis]
            found.append((analysis, heading, caption, rows(results.table(analysis))))
    return found


def accuracy(table: pd.DataFrame) -> list[Number]:
    """Of each split as a whole."""
    whole = table[table.condition == "all"]
    return [_of(row, split_name(row.split), row.base_accuracy) for row in whole.itertuples()]


def of_alignments(table: pd.DataFrame) -> pd.DataFrame:
    """The alignments themselves, on the IID test: a row a property and layer, no controls."""
    return _where(
        table, split="test", score="cause", control="none", weights="trained", condition="all"
    )


def best_alignments(table: pd.DataFrame) -> pd.DataFrame:
    """For each property the row of the layer whose swap works best on the IID test."""
    found = of_alignments(table)
    return found.loc[found.groupby("property").accuracy.idxmax()] if len(found) else found


def _alignment(table: pd.DataFrame) -> list[Number]:
    rows = []
    for best in best_alignments(table).itertuples():
        here = _where(table, property=best.property, layer=best.layer, condition="all")
        for split in dict.fromkeys(here.split):
            of = here[here.split == split]
            parts = {
                "answer follows the swap": dict(score="cause", control="none"),
                "control, the other object": dict(score="cause", control="wrong_object"),
                "control, random tokens": dict(score="cause", control="random_tokens"),
                "answer stays, other property changed": dict(score="isolate", control="none"),
            }
            for words, where in parts.items():
                trained, twin = (
                    _where(of, weights=weights, **where) for weights in ("trained", "random")
                )
                base = twin.accuracy.iloc[0] if len(twin) else None
                rows += [
                    _of(
                        row,
                        f"{best.property}, layer {best.layer}, {split_name(str(split))}: {words}",
                        base,
                    )
                    for row in trained.itertuples()
                ]
    return rows


def _novel(table: pd.DataFrame) -> list[Number]:
    rows = []
    whole = _where(table, condition="all", baseline="subspace")
    for prop, own in whole.groupby("property"):
        known = own[own.method == "known"].set_index("layer")
        layer = known.accuracy.idxmax()
        rows += [
            _of(row, f"{prop}, layer {layer}: {row.method} values")
            for row in own[own.layer == layer].itertuples()
        ]
    return rows


def _probes(table: pd.DataFrame) -> list[Number]:
    rows = []
    for target, own in table.groupby("target", sort=False):
        trained = own[own.condition == "trained"].set_index("layer")
        layer = trained.accuracy.idxmax()
        words = {"trained": TARGET_NAMES[str(target)], "shuffled": "control, shuffled labels"}
        rows += [
            _of(row, f"{words[row.condition]} (layer {layer})")
            for row in own[own.layer == layer].itertuples()
        ]
    return rows


def _steering(table: pd.DataFrame) -> list[Number]:
    flip = table[table.condition == "flip"]
    best = flip.loc[flip.accuracy.idxmax()]
    words = {
        "flip": "answer flips",
        "agree": "control, towards the relation that it has",
        "shuffled": "control, shuffled probe",
    }
    same = _where(table, layer=best.layer, alpha=best.alpha, pair=best.pair)
    where = f"layer {best.layer}, α = {best.alpha:g}, {best.pair} pair"
    return [
        _of(row, f"{where}: {words[row.condition]}")
        for row in same.itertuples()
        if row.condition in words
    ]


def _attention(scores: dict[str, float]) -> list[Number]:
    return [
        Number(
            kind.replace("_", " "),
            scores[kind],
            scores[f"{kind}_ci_low"],
            scores[f"{kind}_ci_high"],
            int(scores["n"]),
        )
        for kind in ("perceptual_score", "relational_score")
    ]


def _where(table: pd.DataFrame, **values) -> pd.DataFrame:
    for column, value in values.items():
        table = pd.DataFrame(table[table[column] == value])
    return table


def _of(row, what: str, base: float | None = None) -> Number:
    return Number(what, row.accuracy, row.ci_low, row.ci_high, int(row.n), base, row.floor)
