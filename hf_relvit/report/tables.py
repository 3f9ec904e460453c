"""Tables as text: for the terminal and for the report."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from ..measurements import Measurement
from ..recipes.recipe import Section
from ..statistics import wilson
from .readings import accuracy_rows

_STAGE = re.compile(r"eval_validation_(within_object|within_pair|between_pair)_(\d+)")
MEANS = ("base_accuracy", "floor", "divergence", "relative_norm")


def curves(history: dict) -> pd.DataFrame:
    """Accuracy over training, from ``history.json`` of a run.

    Returns:
        One row per evaluation and split: ``split, images`` (seen so far), ``accuracy``.
    """
    batch = history["provenance"]["config"]["batch_size"]
    rows = {}
    for entry in history["log"]:
        for key, value in entry.items():
            split = _evaluated_split(key)
            if split:
                images = entry["step"] * batch
                rows[split, images] = value  # the last one of a step
    columns = ["split", "images", "accuracy"]
    return pd.DataFrame([(*key, value) for key, value in rows.items()], columns=columns)


def training_stages(history: dict) -> pd.DataFrame:
    """Attention stages over training, from ``history.json`` of a run; no rows where they were not recorded.

    Returns:
        One row per evaluation, kind and layer: ``kind, layer, images`` (seen so far), ``share`` (of the strongest
        head).
    """
    batch = history["provenance"]["config"]["batch_size"]
    rows = {}
    for entry in history["log"]:
        for key, share in entry.items():
            match = _STAGE.fullmatch(key)
            if match:
                kind, layer = match.groups()
                rows[kind, int(layer), entry["step"] * batch] = share  # the last one of a step
    columns = ["kind", "layer", "images", "share"]
    return pd.DataFrame([(*key, share) for key, share in rows.items()], columns=columns)


def _evaluated_split(key: str) -> str:
    """The split whose accuracy the Trainer logs under this key; "" if it is another value."""
    match = re.fullmatch(r"eval_(.+)_accuracy", key)
    return match.group(1) if match else ""


def setting_of(run: str) -> str:
    """A run's name without its seed; "" in a study of seeds only."""
    return re.sub(r"-?seed\d+$", "", run)


def over_seeds(table: pd.DataFrame, by: tuple[str, ...] = ("split",)) -> pd.DataFrame:
    """Accuracies of several runs, those that differ only in the seed together.

    Args:
        table: rows of the runs, with their names in ``run``; ``shared`` tells those of scenes that all runs share.
        by: columns that tell the rows of one run apart.

    Returns:
        One row per setting and ``by``: ``setting, *by, accuracy`` (mean over seeds), ``lowest, highest`` (of a seed),
        ``ci_low, ci_high`` (Student's t over seeds, never narrower than Wilson's over all scenes, as when all seeds
        agree; of shared scenes, than a seed's own on average; of a single seed its own interval), ``seeds, n`` (of one
        seed), and the means of ``MEANS`` where the table has them.
    """
    keys = ["setting", *by]
    named = table.assign(setting=table.run.map(setting_of))
    rows = []
    for values, group in named.groupby(keys, sort=False):
        row = dict(zip(keys, values))
        accuracy = group.accuracy
        low, high = _interval(group)
        row["accuracy"] = accuracy.mean()
        row["lowest"] = accuracy.min()
        row["highest"] = accuracy.max()
        row["ci_low"] = low
        row["ci_high"] = high
        row["seeds"] = len(group)
        row["n"] = int(group.n.iloc[0])
        for name in MEANS:
            if name in group:
                row[name] = group[name].mean()
        rows.append(row)
    return pd.DataFrame(rows)


def _interval(group: pd.DataFrame) -> tuple[float, float]:
    """The interval of the mean over the seeds of a group; see ``over_seeds``."""
    accuracy = group.accuracy
    seeds = len(group)
    if seeds == 1:
        return group.ci_low.iloc[0], group.ci_high.iloc[0]
    half = stdtrit(seeds - 1, 0.975) * accuracy.std() / np.sqrt(seeds)
    if "shared" in group and group.shared.all():  # more seeds are no more scenes
        low = group.ci_low.mean()
        high = group.ci_high.mean()
    else:
        right = (accuracy * group.n).sum()
        low, high = wilson(right, group.n.sum())
    mean = accuracy.mean()
    widest_low = min(mean - half, float(low))
    widest_high = max(mean + half, float(high))
    return max(widest_low, 0.0), min(widest_high, 1.0)


def accuracy_text(table: pd.DataFrame) -> str:
    """The accuracies over whole splits, one line each."""
    lines = [
        f"{'split':24} {'accuracy':>8}  {'95 % interval':>15} {'n':>6} {'AUC':>6}  "
        f"{'random weights':>14} {'guessing':>8}"
    ]
    for row in accuracy_rows(table):
        if row.whole:
            measured = row.measured
            lines.append(
                f"{measured.name:24} {measured.value:8.3f}  {measured.interval:>15} {measured.n:6d} {row.auc:6.3f}  "
                f"{measured.base:14.3f} {measured.floor:8.2f}"
            )
    return "\n".join(lines)


def measured_text(rows: Iterable[Measurement]) -> str:
    """Measurements for the terminal, one line each, under the words of all pages."""
    measured = list(rows)
    width = max([len(each.name) for each in measured], default=0)
    head = ["value", "95 % interval", "n", "random weights", "floor"]
    lines = [_line(width, "", head)]
    for each in measured:
        base = "" if each.base is None else f"{each.base:.3f}"
        floor = "" if each.floor is None else f"{each.floor:.3f}"
        numbers = [f"{each.value:.3f}", each.interval, str(each.n), base, floor]
        lines.append(_line(width, each.name, numbers))
    return "\n".join(line.rstrip() for line in lines)


def _line(width: int, name: str, cells: Sequence[str]) -> str:
    value, interval, n, base, floor = cells
    return f"{name:{width}} {value:>7}  {interval:>15} {n:>6}  {base:>14} {floor:>6}"


def section_text(section: Section, table: pd.DataFrame) -> str:
    """The readings of an analysis for the terminal, and their conclusion: as its section of a report."""
    rows = [part for reading in section.read(table) for part in reading.parts.values()]
    if not rows:
        return "Nothing was measured that the rest could be read against."
    return f"{measured_text(rows)}\n{section.tell(table)}"
