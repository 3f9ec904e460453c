"""Several runs side by side: means over seeds, and disentanglement against accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..analysis.correlation import MINIMUM, correlate
from ..figures.causal import alignment_figure, novel_figure, probe_figure, steering_figure
from ..figures.comparison import curves_figure, settings_figure
from ..figures.style import accuracy_figure, save_figure
from ..files import atomic_write, read_json
from .collect import collect
from .photorealistic_page import PhotoResults
from .tables import CAUSAL, causal_tables, curves, over_seeds, setting_of

FIGURES = {
    "alignment": alignment_figure,
    "novel": novel_figure,
    "probes": probe_figure,
    "steering": steering_figure,
}


@dataclass(frozen=True)
class Comparison:
    """What was written for a study of several runs.

    Attributes:
        accuracy: ``tables.over_seeds`` of the accuracies on whole splits.
        overview: PNG files: "settings", the accuracies, where there are several settings, and "curves", over training.
        figures: for each setting, "" where only the seed differs: analysis -> PNG file.
        correlation: PNG file; None with fewer than 3 settings, or without alignments.
    """

    accuracy: pd.DataFrame
    overview: dict[str, Path]
    figures: dict[str, dict[str, Path]]
    correlation: Path | None


def compare(runs: list[str], out: Path) -> Comparison:
    """Average the finished runs of a study over seeds; write ``out / "tables"`` and, from these, ``out / "figures"``.

    Args:
        runs: their names, which end in "seed" and a number.
        out: folder of the study, with a folder for each.
    """
    accuracy = _stacked({run: _accuracy(out / run) for run in runs})
    accuracy = accuracy.assign(setting=accuracy.run.map(setting_of))
    training = _stacked(
        {run: curves(read_json(out / run / "training" / "history.json")) for run in runs}
    )
    training = training.assign(setting=training.run.map(setting_of))
    tables = {"accuracy": over_seeds(accuracy), "seeds": accuracy, "curves": training}
    of_runs = {run: causal_tables(out / run) for run in runs}
    for analysis, (_, by) in CAUSAL.items():
        if found := {
            run: tables_[analysis] for run, tables_ in of_runs.items() if analysis in tables_
        }:
            tables[analysis] = over_seeds(_stacked(found), by)
    for name, table in tables.items():
        with atomic_write(out / "tables" / f"{name}.parquet") as temporary:
            table.to_parquet(temporary)

    overview = {"curves": curves_figure(training)}
    if tables["accuracy"].setting.nunique() > 1:
        overview = {"settings": settings_figure(tables["accuracy"], accuracy), **overview}
    for name, figure in overview.items():
        for kind in ("png", "svg"):
            save_figure(figure, out / "figures" / f"{name}.{kind}")

    figures: dict[str, dict[str, Path]] = {}
    for setting in tables["accuracy"].setting.unique():
        folder = out / "figures" / (setting or "seeds")
        own = {name: table[table.setting == setting] for name, table in tables.items()}
        for kind in ("png", "svg"):
            save_figure(
                accuracy_figure(own["accuracy"].assign(condition="all")),
                folder / f"accuracy.{kind}",
            )
        causal = {name: table for name, table in own.items() if name in FIGURES and len(table)}
        save_causal(causal, folder)
        figures[setting] = {name: folder / f"{name}.png" for name in ("accuracy", *causal)}
    shown = {name: out / "figures" / f"{name}.png" for name in overview}
    return Comparison(tables["accuracy"], shown, figures, _correlation(runs, out))


def save_causal(
    tables: Mapping[str, pd.DataFrame], folder: Path, reach: np.ndarray | None = None
) -> None:
    """Draw the causal tables to ``folder / "<analysis>.png"`` and ".svg"; ``reach`` as in ``figures.tint``."""
    for analysis, table in tables.items():
        for kind in ("png", "svg"):
            save_figure(FIGURES[analysis](table, reach), folder / f"{analysis}.{kind}")


def _accuracy(run: Path) -> pd.DataFrame:
    """Of whole splits, and of the photorealistic set where the run was tested on one."""
    table = pd.read_parquet(run / "evaluation" / "accuracy.parquet").assign(shared=False)
    if photos := PhotoResults.load(run):
        table = pd.concat([table, photos.accuracy.assign(shared=True)], ignore_index=True)
    return pd.DataFrame(table[table.condition == "all"])


def _stacked(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    return pd.concat([table.assign(run=run) for run, table in tables.items()], ignore_index=True)


def _correlation(runs: list[str], out: Path) -> Path | None:
    aligned = [out / run for run in runs if "alignment" in causal_tables(out / run)]
    if len({setting_of(run.name) for run in aligned}) < MINIMUM:
        return None
    result = correlate(collect(aligned))
    result.save(out / "tables")
    for kind in ("png", "svg"):
        result.plot(out / "figures" / f"correlation.{kind}")
    return out / "figures" / "correlation.png"
