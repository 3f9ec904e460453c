"""Readings of accuracies and attention; those of the other analyses stand in their recipes.

Reports, cards, the leaderboard and the Space format what stands here and look nothing up themselves, so they cannot
disagree. What may be claimed is decided by ``measurements.exceeds_controls``.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ..measurements import Measurement
from ..tables import records
from ..words import split_name


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
