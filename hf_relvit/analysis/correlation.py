"""Does a model with disentangled objects generalize? Disentanglement against accuracy over runs (paper, Fig. 6).

1. Per run one number (``disentanglement``): the swap accuracy of the best layer, averaged over shape and color.
2. Beside it the accuracy of the run on each split: points ``(runs, 2)`` per split.
3. Pearson's and Spearman's correlation of the points.
4. Intervals by a bootstrap over groups of runs, and the range when one group is left out: seeds of one kind of model
   are not independent evidence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from scipy import stats

from ..errors import RelViTError
from ..provenance import provenance
from ..statistics import cluster_bootstrap
from .result import Contents, TableResult

if TYPE_CHECKING:
    from jaxtyping import Float
    from matplotlib.figure import Figure

MINIMUM = 3
"""Independent runs without which nothing can be computed."""
ENOUGH = 8
"""Fewer independent runs get a warning. Our choice: with 8, only a correlation above 0.71 differs from none (95 %)."""


@dataclass(frozen=True)
class CorrelationConfig:
    """How a correlation is measured."""

    seed: int = 0
    """Of the bootstrap."""


def disentanglement(das: pd.DataFrame) -> float:
    """One number for a run: the mean over the properties of the best layer's DAS accuracy (paper, Fig. 6).

    The best of many layers lies a little above its true accuracy; it is the paper's measure, kept for comparison.

    Args:
        das: one row per property and layer, columns ``property, layer, accuracy``; one split, no controls.

    Raises:
        RelViTError: columns or a property missing, more than one row a property and layer.
    """
    _need(das, ("property", "layer", "accuracy"))
    if (lacking := {"shape", "color"} - set(das.property)) or das.duplicated(
        ["property", "layer"]
    ).any():
        fault = (
            f"no rows of property {min(lacking)!r}"
            if lacking
            else "several rows of one property and layer"
        )
        raise RelViTError(
            f"DAS table has {fault}: expected one row for shape and color at each layer, without controls"
        )
    return float(das.groupby("property")["accuracy"].max().mean())


@dataclass(frozen=True)
class Correlation(TableResult):
    """How disentanglement goes with accuracy.

    Attributes:
        frame: one row per split and measure ("pearson", "spearman"): ``split, measure, value, n, ci_low, ci_high``
            (bootstrap over groups), ``loo_low, loo_high`` (range when one group is left out), ``loo_group`` (the group
            whose absence changes the value most) and ``warning`` (empty if there is none).
        runs: the points: ``run, group, disentanglement, split, accuracy``.
        facts: provenance.
    """

    TITLE: ClassVar[str] = "correlation"
    STEM: ClassVar[str] = "correlation"
    TABLES: ClassVar[tuple[str, ...]] = ("correlation", "correlation_runs")
    EXAMPLE: ClassVar[str] = "tables"

    frame: pd.DataFrame
    runs: pd.DataFrame
    facts: dict[str, Any] = field(default_factory=dict)

    def figure(self) -> Figure:
        """A scatter per split."""
        from ..figures.causal import correlation_figure

        return correlation_figure(self.frame, self.runs)

    def contents(self) -> Contents:
        tables = {"correlation": self.frame, "correlation_runs": self.runs}
        return Contents({"facts": self.facts}, tables)

    @classmethod
    def restore(cls, contents: Contents) -> Correlation:
        tables = contents.tables
        return cls(tables["correlation"], tables["correlation_runs"], contents.values["facts"])


def correlate(
    runs: pd.DataFrame,
    config: CorrelationConfig | None = None,
) -> Correlation:
    """Pearson and Spearman correlation of disentanglement and accuracy, split by split (paper, Fig. 6: a plot only).

    Intervals come from a bootstrap over groups: seeds of one kind of model are not independent evidence. Leaving out
    one group at a time shows whether the correlation rests on a single kind of model. In the paper's data it does:
    with 6 models r is .95, without the one from scratch .27.

    Args:
        runs: one row per run and split: ``run, disentanglement, split, accuracy`` and, optionally, ``group`` (the
            kind of model that seeds repeat; each run is its own group by default).
        config: the seed of the bootstrap.

    Raises:
        RelViTError: columns missing, values missing, a run twice in a split, or fewer than 3 groups in a split.
    """
    config = config or CorrelationConfig()
    runs = _points(runs)
    rows = []
    for split, part in runs.groupby("split", sort=False):
        groups = part["group"].to_numpy()
        count = len(np.unique(groups))
        if count < MINIMUM:
            raise RelViTError(
                f"split {split!r} has {count} independent runs: a correlation needs at least {MINIMUM}, better 20"
            )
        values = part[["disentanglement", "accuracy"]].to_numpy(dtype=np.float64)
        for measure, statistic in (("pearson", pearson), ("spearman", spearman)):
            row = {
                "split": split,
                "measure": measure,
                **_measure(values, groups, statistic, count, config.seed),
            }
            rows.append(row)
    return Correlation(pd.DataFrame(rows), runs, {"provenance": provenance(seed=config.seed)})


def _points(runs: pd.DataFrame) -> pd.DataFrame:
    """The columns of ``Correlation.runs``, checked."""
    _need(runs, ("run", "disentanglement", "split", "accuracy"))
    if "group" not in runs:
        runs = runs.assign(group=runs["run"])
    columns = ["run", "group", "disentanglement", "split", "accuracy"]
    runs = pd.DataFrame(runs, columns=columns).reset_index(drop=True)
    if (missing := runs.isna().any(axis=1)).any():
        row = runs[missing].iloc[0]
        raise RelViTError(
            f"run {row['run']!r}, split {row['split']!r} lacks a value: fill it in or drop the row"
        )
    for column in ("disentanglement", "accuracy"):
        if not pd.api.types.is_numeric_dtype(runs[column]):
            raise RelViTError(f"column {column!r} holds text: expected a number in each row")
    if (again := runs.duplicated(["run", "split"])).any():
        row = runs[again].iloc[0]
        raise RelViTError(
            f"run {row['run']!r} is there twice for split {row['split']!r}: expected one row per run and split"
        )
    return runs


def pearson(points: Float[np.ndarray, "points 2"]) -> float:
    """Pearson correlation of points ``(n, 2)``; 0 where one coordinate never changes, as nothing can be seen there."""
    centered = points - points.mean(0)
    spread = np.sqrt((centered**2).sum(0))
    if (spread <= 1e-12 * np.abs(points).max()).any():
        return 0.0
    return float(np.clip((centered / spread).prod(1).sum(), -1, 1))


def spearman(points: Float[np.ndarray, "points 2"]) -> float:
    """Spearman correlation: Pearson's, of ranks (ties share their mean rank)."""
    return pearson(stats.rankdata(points, axis=0))


def _measure(
    values: np.ndarray, groups: np.ndarray, statistic: Callable, count: int, seed: int
) -> dict:
    value = statistic(values)
    low, high = cluster_bootstrap(values, groups, statistic, seed=seed)
    names = np.unique(groups)
    without = np.array([statistic(values[groups != name]) for name in names])
    most = int(np.argmax(np.abs(without - value)))
    warning = ""
    if count < ENOUGH:
        warning = (
            f"{count} independent runs are too few to tell: leaving out {names[most]} alone makes {value:.2f} "
            f"{without[most]:.2f}; add runs of other kinds of model"
        )
    return {
        "value": value,
        "n": len(values),
        "groups": count,
        "ci_low": float(low),
        "ci_high": float(high),
        "loo_low": float(without.min()),
        "loo_high": float(without.max()),
        "loo_group": str(names[most]),
        "warning": warning,
    }


def _need(
    frame: pd.DataFrame,
    columns: tuple[str, ...],
) -> None:
    if missing := [column for column in columns if column not in frame]:
        raise RelViTError(
            f"column {missing[0]!r} is missing: expected a table with {', '.join(columns)}"
        )
