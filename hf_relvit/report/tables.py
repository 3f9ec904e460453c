"""Tables as text: for the terminal and for the report."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from ..statistics import wilson
from ..words import split_name

MEANS = ("base_accuracy", "floor", "divergence", "relative_norm")


def curves(history: dict) -> pd.DataFrame:
    """Accuracy over training, from ``history.json`` of a run.

    Returns:
        A row an evaluation and split: ``split, images`` (seen so far), ``accuracy``.
    """
    batch = history["provenance"]["config"]["batch_size"]
    rows = {}
    for entry in history["log"]:
        for key, value in entry.items():
            if key.startswith("eval_") and key.endswith("_accuracy"):
                split = key.removeprefix("eval_").removesuffix("_accuracy")
                rows[split, entry["step"] * batch] = value
    return pd.DataFrame(
        [(*key, value) for key, value in rows.items()], columns=["split", "images", "accuracy"]
    )


def setting_of(run: str) -> str:
    """What a run's name says beside its seed; "" in a study of seeds only."""
    return re.sub(r"-?seed\d+$", "", run)


def over_seeds(table: pd.DataFrame, by: tuple[str, ...] = ("split",)) -> pd.DataFrame:
    """Accuracies of several runs, those that differ only in the seed together.

    Args:
        table: rows of the runs, with their names in ``run``; ``shared`` tells those of scenes that all runs share.
        by: columns that tell the rows of one run apart.

    Returns:
        One row a setting and ``by``: ``setting, *by, accuracy`` (mean over seeds), ``lowest, highest`` (of a seed),
        ``ci_low, ci_high`` (Student's t over seeds, never narrower than Wilson's over all scenes, as when all seeds
        agree; of shared scenes, than a seed's own on average; of a single seed its own interval), ``seeds, n`` (of one
        seed), and the means of ``MEANS`` where the table has them.
    """
    rows = []
    keys = ["setting", *by]
    for values, group in table.assign(setting=table.run.map(setting_of)).groupby(keys, sort=False):
        accuracy, seeds = group.accuracy, len(group)
        low, high = group.ci_low.iloc[0], group.ci_high.iloc[0]
        if seeds > 1:
            half = stdtrit(seeds - 1, 0.975) * accuracy.std() / np.sqrt(seeds)
            pooled = wilson((accuracy * group.n).sum(), group.n.sum())
            if "shared" in group and group.shared.all():  # more seeds are no more scenes
                pooled = group.ci_low.mean(), group.ci_high.mean()
            low = max(min(accuracy.mean() - half, float(pooled[0])), 0.0)
            high = min(max(accuracy.mean() + half, float(pooled[1])), 1.0)
        row = dict(zip(keys, values)) | {"accuracy": accuracy.mean(), "lowest": accuracy.min()}
        row |= {
            "highest": accuracy.max(),
            "ci_low": low,
            "ci_high": high,
            "seeds": seeds,
            "n": int(group.n.iloc[0]),
        }
        rows.append(row | {name: group[name].mean() for name in MEANS if name in group})
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
            f"{split_name(row.split):24} {row.accuracy:8.3f}  {interval:>15} {row.n:6d} {row.auc:6.3f}  "
            f"{row.base_accuracy:14.3f} {row.floor:8.2f}"
        )
    return "\n".join(lines)
