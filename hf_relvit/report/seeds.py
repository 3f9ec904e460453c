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
from ..figures.style import accuracy_figure
from ..files import write_table
from .collect import collect
from .folder import CAUSAL_KEYS, RunFolder, StudyFolder
from .pages import save_figures
from .photorealistic_page import PhotoResults
from .tables import curves, over_seeds, setting_of

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
    study = StudyFolder(out)
    folders = [study.run(run) for run in runs]
    tables = _over_runs(folders)
    for name, table in tables.items():
        write_table(study.table_file(name), table)

    overview = {"curves": curves_figure(tables["curves"])}
    if tables["accuracy"].setting.nunique() > 1:
        settings = settings_figure(tables["accuracy"], tables["seeds"])
        overview = {"settings": settings, **overview}
    shown = {name: save_figures(figure, study.figures / name) for name, figure in overview.items()}
    figures = {}
    for setting in tables["accuracy"].setting.unique():
        own = {name: table[table.setting == setting] for name, table in tables.items()}
        figures[setting] = _setting_figures(own, study.figures / (setting or "seeds"))
    return Comparison(tables["accuracy"], shown, figures, _correlation(folders, study))


def _over_runs(folders: list[RunFolder]) -> dict[str, pd.DataFrame]:
    """The tables of all runs: "accuracy" and the causal ones over seeds, "seeds" and "curves" run by run."""
    seeds = _stacked({run.name: _accuracy(run) for run in folders})
    training = _stacked({run.name: curves(run.history) for run in folders})
    tables = {"accuracy": over_seeds(seeds), "seeds": seeds, "curves": training}
    causal = {run.name: run.causal_tables() for run in folders}
    for analysis, columns in CAUSAL_KEYS.items():
        parts = {run: table[analysis] for run, table in causal.items() if analysis in table}
        if parts:
            tables[analysis] = over_seeds(_stacked(parts), columns)
    return tables


def _setting_figures(tables: dict[str, pd.DataFrame], folder: Path) -> dict[str, Path]:
    """Draw the tables of one setting: analysis -> PNG file."""
    whole = tables["accuracy"].assign(condition="all")
    accuracy = save_figures(accuracy_figure(whole), folder / "accuracy")
    causal = {name: table for name, table in tables.items() if name in FIGURES and len(table)}
    return {"accuracy": accuracy, **save_causal(causal, folder)}


def save_causal(
    tables: Mapping[str, pd.DataFrame], folder: Path, reach: np.ndarray | None = None
) -> dict[str, Path]:
    """Draw the causal tables to ``folder / "<analysis>.png"`` and ".svg".

    Args:
        tables: by analysis.
        folder: for the figures.
        reach: see ``figures.tint``.

    Returns:
        Analysis -> PNG file.
    """
    return {
        analysis: save_figures(FIGURES[analysis](table, reach), folder / analysis)
        for analysis, table in tables.items()
    }


def _accuracy(run: RunFolder) -> pd.DataFrame:
    """Of whole splits, and of the photorealistic set where the run was tested on one."""
    table = run.table("accuracy").assign(shared=False)
    photos = PhotoResults.load(run)
    if photos is not None:
        table = pd.concat([table, photos.accuracy.assign(shared=True)], ignore_index=True)
    return pd.DataFrame(table[table.condition == "all"])


def _stacked(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The tables of several runs as one, with ``run`` and ``setting``."""
    parts = [table.assign(run=run, setting=setting_of(run)) for run, table in tables.items()]
    return pd.concat(parts, ignore_index=True)


def _correlation(folders: list[RunFolder], study: StudyFolder) -> Path | None:
    aligned = [run.path for run in folders if run.table_files("alignment")]
    if len({setting_of(path.name) for path in aligned}) < MINIMUM:
        return None
    result = correlate(collect(aligned))
    result.save(study.tables)
    for kind in ("svg", "png"):
        file = study.figures / f"correlation.{kind}"
        result.plot(file)
    return file
