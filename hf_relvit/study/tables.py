"""Tables as text: for the terminal and for the report."""

from __future__ import annotations

import pandas as pd

from ..analysis.figures import SPLIT_NAMES

CONDITION_NAMES = {
    "all": "all",
    "difference_none": "same",
    "difference_both": "differ in shape and color",
    "difference_shape": "differ in shape only",
    "difference_color": "differ in color only",
}


def name(split: str) -> str:
    return SPLIT_NAMES.get(split, split).replace("\n", " ")


def condition_name(condition: str) -> str:
    return CONDITION_NAMES.get(condition, condition.replace("_", " "))


def accuracy_text(table: pd.DataFrame) -> str:
    """The accuracies over whole splits, a line each."""
    lines = [
        f"{'split':24} {'accuracy':>8}  {'95 % interval':>15} {'n':>6} {'AUC':>6}  "
        f"{'random weights':>14} {'guessing':>8}"
    ]
    for row in table[table.condition == "all"].itertuples():
        interval = f"{row.ci_low:.3f} to {row.ci_high:.3f}"
        lines.append(
            f"{name(row.split):24} {row.accuracy:8.3f}  {interval:>15} {row.n:6d} {row.auc:6.3f}  "
            f"{row.base_accuracy:14.3f} {row.floor:8.2f}"
        )
    return "\n".join(lines)
