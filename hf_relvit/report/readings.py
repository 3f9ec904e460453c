"""Readings of accuracies and attention; those of the other analyses stand in their recipes.

Reports, cards, the leaderboard and the Space format what stands here and look nothing up themselves, so they cannot
disagree. What may be claimed is decided by ``measurements.exceeds_controls``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from ..measurements import Measurement
from ..tables import records
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
        return condition_name(self.condition)


def accuracy_rows(table: pd.DataFrame) -> list[AccuracyRow]:
    """All rows of a table of accuracies, in its order."""
    rows = []
    for row in records(table):
        measured = Measurement(
            split_name(row["split"]),
            row["accuracy"],
            row["ci_low"],
            row["ci_high"],
            int(row["n"]),
            base=row["base_accuracy"],
            floor=row["floor"],
        )
        condition = row.get("condition", "all")
        measures = (row.get("auc"), row.get("majority"))
        rows.append(AccuracyRow(row["split"], condition, measured, *measures))
    return rows


def accuracy(table: pd.DataFrame) -> list[Measurement]:
    """Of each split as a whole, beside random weights and guessing."""
    return [row.measured for row in accuracy_rows(table) if row.whole]


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
