"""Tables as text: for the terminal and for the report."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..analysis.figures import SPLIT_NAMES
from ..analysis.statistics import cluster_bootstrap

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


def over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracies of several runs, those that differ only in the seed together.

    Args:
        table: the accuracy tables of the runs, with their names, which end in "seed" and a number, in ``run``.

    Returns:
        One row a setting and split: ``setting, split, accuracy`` (mean over seeds), ``lowest, highest`` (of a seed),
        ``ci_low, ci_high`` (bootstrap over seeds; NaN for one), ``seeds, n`` (scenes a seed), ``base_accuracy``,
        ``floor``.
    """
    whole = table[table.condition == "all"].assign(setting=table.run.str.replace(r"-?seed\d+$", "", regex=True))
    rows = []
    for key, group in whole.groupby(["setting", "split"], sort=False):
        setting, split = key  # pyright: ignore[reportGeneralTypeIssues]
        low = high = float("nan")
        if len(group) > 1:
            low, high = cluster_bootstrap(group.accuracy.to_numpy(), np.arange(len(group)))
        rows.append(
            {
                "setting": setting or "all",
                "split": split,
                "accuracy": group.accuracy.mean(),
                "lowest": group.accuracy.min(),
                "highest": group.accuracy.max(),
                "ci_low": low,
                "ci_high": high,
                "seeds": len(group),
                "n": int(group.n.iloc[0]),
                "base_accuracy": group.base_accuracy.mean(),
                "floor": group.floor.iloc[0],
            }
        )
    return pd.DataFrame(rows)


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
