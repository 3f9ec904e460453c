"""Settings of a study side by side, each over its seeds."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..tables import select
from ..words import split_name
from .style import (
    BLUE,
    GRAY,
    GREEN,
    ORANGE,
    PURPLE,
    QUARTERS,
    SKY,
    VERMILION,
    chart,
    grid_of,
    guessing,
    legend_below,
    panels,
    show_splits,
    styled,
    whiskers,
)

_SHADES = (GRAY, BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE, "#000000")


@styled()
def settings_figure(means: pd.DataFrame, seeds: pd.DataFrame) -> Figure:
    """Accuracy of each setting on each split (the paper's Table 1 as a picture).

    Args:
        means: of ``study.tables.over_seeds``; the mean is a bar with its interval.
        seeds: a row per run and split: ``setting, split, accuracy``; each is a dot.
    """
    settings = list(means.setting.unique())
    splits = list(means.split.unique())
    count = len(settings)
    bars = count * len(splits)
    figure, axis = chart((max(5.4, 0.32 * bars + 2.2), 4))
    width = 0.8 / count
    for i, setting in enumerate(settings):
        rows = select(means, setting=setting).set_index("split")
        runs = select(seeds, setting=setting)
        offset = (i - (count - 1) / 2) * width
        color = _color(i)
        _bars(axis, rows.reindex(splits), offset, width, color, setting or "all")
        for place, split in enumerate(splits):
            accuracy = select(runs, split=split).accuracy.to_numpy()
            _dots(axis, accuracy, place + offset, width, color)
    guessing(axis, means.floor.iloc[0], label="guessing")
    axis.set(ylim=(0, 1.05), ylabel="accuracy", yticks=QUARTERS)
    show_splits(axis, splits)
    _legend(figure, axis)
    return figure


def _bars(
    axis: Axes,
    rows: pd.DataFrame,
    offset: float,
    width: float,
    color: str,
    label: str,
) -> None:
    """A bar with its interval for each split."""
    places = np.arange(len(rows)) + offset
    axis.bar(
        places,
        rows.accuracy,
        0.86 * width,
        color=color,
        alpha=0.55,
        label=label,
    )
    whiskers(axis, places, rows, cap=3, width=1.1)


def _dots(
    axis: Axes,
    accuracy: np.ndarray,
    place: float,
    width: float,
    color: str,
) -> None:
    """One dot per seed, side by side over the bar."""
    offsets = np.zeros(len(accuracy))
    if len(accuracy) > 1:
        offsets = np.linspace(-0.22, 0.22, len(accuracy)) * width
    axis.plot(
        place + offsets,
        accuracy,
        "o",
        color=color,
        mec="white",
        mew=0.6,
        ms=4.5,
    )


@styled()
def curves_figure(curves: pd.DataFrame, floor: float = 0.5) -> Figure:
    """Accuracy over training: a thin line per seed, a thick one for their mean, a panel per split.

    Args:
        curves: of ``study.tables.curves``, with ``setting``.
        floor: accuracy of guessing.
    """
    splits = list(curves.split.unique())
    settings = list(curves.setting.unique())
    rows, columns = grid_of(len(splits))
    width = max(5.4, 4.2 * columns)
    height = 3.1 * rows + 0.5
    figure, axes = panels((width, height), rows, columns, sharey=True)
    for axis, split in zip(axes.flat, splits):
        shown = select(curves, split=split)
        for i, setting in enumerate(settings):
            runs = select(shown, setting=setting)
            _lines(axis, runs, _color(i), setting or "all")
        guessing(axis, floor)
        axis.set(title=split_name(split), ylim=(0.4, 1.02))
        axis.set(xlabel="training images (thousands)", xlim=(0, None))
    for axis in axes.flat[len(splits) :]:
        axis.set_axis_off()
    axes[0, 0].set_ylabel("accuracy")
    _legend(figure, axes[0, 0])
    return figure


def _legend(figure: Figure, axis: Axes) -> None:
    """Below the panels, in as many columns as there is width for."""
    _, labels = axis.get_legend_handles_labels()
    inches = figure.get_figwidth()
    letters = int(inches * 12)  # that fit side by side at this size
    longest = max(map(len, labels))
    columns = min(len(labels), letters // (longest + 7))
    legend_below(figure, axis, max(1, columns), size=10)


def _lines(
    axis: Axes,
    table: pd.DataFrame,
    color: str,
    label: str,
) -> None:
    for _, run in table.groupby("run", sort=False):
        axis.plot(run.images / 1000, run.accuracy, color=color, lw=0.8, alpha=0.45)
    mean = table.groupby("images").accuracy.mean()
    thousands = mean.index.to_numpy() / 1000
    axis.plot(thousands, mean, color=color, lw=2.4, label=label)


def _color(i: int) -> str:
    return _SHADES[i % len(_SHADES)]
