"""Readings of accuracies, attention, similarity and correlation; those of the other analyses stand in their recipes.

Reports, cards, the leaderboard and the Space format these readings and look nothing up themselves, so they cannot
disagree. Claims are decided by ``claims.exceeds_controls``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from ..measurements import Measurement
from ..tables import largest, records, select
from ..words import condition_name, split_name


@dataclass(frozen=True)
class AccuracyRow:
    """A row of a table of accuracies, as the terminal and all pages show it.

    Attributes:
        split: of the scenes.
        condition: "all", or the kind of scenes within the split.
        measured: the accuracy beside random weights and guessing; its name is the split's.
        auc: area under the ROC curve; None where it was not measured, or only one answer occurs.
        majority: accuracy of always giving the commoner answer; None where it was not measured.
    """

    split: str
    condition: str
    measured: Measurement
    auc: float | None
    majority: float | None

    @property
    def whole(self) -> bool:
        """Whether it is about all scenes of the split."""
        return self.condition == "all"

    @property
    def pairs(self) -> str:
        """The kind of scenes in words."""
        return condition_name(self.condition, self.split)


def accuracy_rows(table: pd.DataFrame) -> list[AccuracyRow]:
    """All rows of a table of accuracies, in its order."""
    rows = []
    for row in records(table):
        condition = row.get("condition", "all")
        measures = (row.get("auc"), row.get("majority"))
        rows.append(AccuracyRow(row["split"], condition, _measured(row), *measures))
    return rows


def _measured(row: Mapping[str, Any]) -> Measurement:
    """The accuracy of a row, under the name of its split."""
    measured = Measurement.from_row(row, split_name(row["split"]))
    return replace(measured, base=row["base_accuracy"])


def whole_splits(table: pd.DataFrame) -> dict[str, Measurement]:
    """The accuracy on each split as a whole, by its key."""
    return {row.split: row.measured for row in accuracy_rows(table) if row.whole}


@dataclass(frozen=True)
class SeedRow:
    """The accuracy of one setting on one split, over seeds.

    Attributes:
        setting: "" where only the seed differs.
        measured: the mean over seeds; its ``n`` is that of one seed.
        lowest, highest: of a seed.
        seeds: how many.
    """

    setting: str
    measured: Measurement
    lowest: float
    highest: float
    seeds: int

    @property
    def spread(self) -> str:
        """The lowest and the highest seed, such as "0.951–0.987"."""
        return f"{self.lowest:.3f}–{self.highest:.3f}"


def seed_rows(table: pd.DataFrame) -> list[SeedRow]:
    """All rows of ``tables.over_seeds``, in their order."""
    rows = []
    for row in records(table):
        spread = (row["lowest"], row["highest"])
        rows.append(SeedRow(row["setting"], _measured(row), *spread, int(row["seeds"])))
    return rows


def similarity(table: pd.DataFrame) -> dict[str, Measurement]:
    """Of each model the best layer's AUC of untrained likeness, on all pairs."""
    whole = select(table, level="all")
    best = {}
    for model, rows in whole.groupby("model", sort=False):
        top = largest(rows, "auc")
        best[str(model)] = Measurement(
            f"{model} (layer {top.layer})",
            float(top.auc),
            float(top.ci_low),
            float(top.ci_high),
            int(top.n),
            floor=float(top.floor),
        )
    return best


def correlation(table: pd.DataFrame) -> list[Measurement]:
    """Each coefficient of a table of ``correlate`` with its interval, -1 to 1."""
    return [
        Measurement(
            f"{split_name(row['split'])}, {row['measure']}",
            row["value"],
            row["ci_low"],
            row["ci_high"],
            int(row["n"]),
        )
        for row in records(table)
    ]


def accuracy(table: pd.DataFrame) -> list[Measurement]:
    """Of each split as a whole, beside random weights and guessing."""
    return list(whole_splits(table).values())


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
