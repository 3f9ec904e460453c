"""Several runs side by side: means over seeds, and disentanglement against accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..analysis.correlation import MINIMUM, correlate
from ..figures.comparison import curves_figure, settings_figure
from ..figures.training import accuracy_figure
from ..files import write_table
from ..recipes.recipes import SECTIONS
from .collect import collect
from .pages import save_figures
from .photorealistic_page import PhotoResults
from .run_folder import RunFolder, StudyFolder
from .tables import curves, over_seeds, setting_of


@dataclass(frozen=True)
class Comparison:
    """Files written for a study of several runs.

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
    folders = list(map(study.run, runs))
    tables = _over_runs(folders)
    for name, table in tables.items():
        write_table(study.table_file(name), table)

    accuracy = tables["accuracy"]
    settings = list(accuracy.setting.unique())
    overview = {}
    if len(settings) > 1:
        figure = settings_figure(accuracy, tables["seeds"])
        overview["settings"] = save_figures(figure, study.figures / "settings")
    figure = curves_figure(tables["curves"])
    overview["curves"] = save_figures(figure, study.figures / "curves")
    figures = {}
    for setting in settings:
        parts = {}
        for name, table in tables.items():
            parts[name] = table[table.setting == setting]
        folder = study.figures / (setting or "seeds")
        figures[setting] = _setting_figures(parts, folder)
    correlation = _correlation(folders, study)
    return Comparison(accuracy, overview, figures, correlation)


def _over_runs(folders: list[RunFolder]) -> dict[str, pd.DataFrame]:
    """The tables of all runs: "accuracy" and the causal ones over seeds, "seeds" and "curves" run by run."""
    measured = {}
    logged = {}
    causal = {}
    for run in folders:
        measured[run.name] = _accuracy(run)
        logged[run.name] = curves(run.history)
        causal[run.name] = run.causal_tables()
    seeds = _stacked(measured)
    tables = {
        "accuracy": over_seeds(seeds),
        "seeds": seeds,
        "curves": _stacked(logged),
    }
    for analysis, section in SECTIONS.items():
        parts = {}
        for run, found in causal.items():
            if analysis in found:
                parts[run] = found[analysis]
        if parts:
            keys = (*section.keys, "task")
            tables[analysis] = over_seeds(_stacked(parts), keys)
    return tables


def _setting_figures(tables: dict[str, pd.DataFrame], folder: Path) -> dict[str, Path]:
    """Draw the tables of one setting: analysis -> PNG file."""
    whole = tables["accuracy"].assign(condition="all")
    figure = accuracy_figure(whole)
    accuracy = save_figures(figure, folder / "accuracy")
    causal = {name: table for name, table in tables.items() if name in SECTIONS and len(table)}
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
    saved = {}
    for analysis, table in tables.items():
        figure = SECTIONS[analysis].figure(table, reach)
        saved[analysis] = save_figures(figure, folder / analysis)
    return saved


def _accuracy(run: RunFolder) -> pd.DataFrame:
    """Of whole splits, and of the photorealistic set where the run was tested on one."""
    table = run.table("accuracy").assign(shared=False)
    photos = PhotoResults.load(run)
    if photos is not None:
        table = pd.concat([table, photos.accuracy.assign(shared=True)], ignore_index=True)
    return pd.DataFrame(table[table.condition == "all"])


def _stacked(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The tables of several runs as one, with ``run`` and ``setting``."""
    parts = []
    for run, table in tables.items():
        named = table.assign(run=run, setting=setting_of(run))
        parts.append(named)
    return pd.concat(parts, ignore_index=True)


def _correlation(folders: list[RunFolder], study: StudyFolder) -> Path | None:
    aligned = [run.path for run in folders if run.table_files("alignment")]
    if len({setting_of(path.name) for path in aligned}) < MINIMUM:
        return None
    result = correlate(collect(aligned))
    result.save(study.tables)
    figure = study.figures / "correlation"
    result.plot(figure)
    return figure.with_suffix(".png")
