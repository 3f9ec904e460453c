"""Settings of a study side by side, each over its seeds."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..words import split_name
from .style import STYLE, short_split_name

_SHADES = ("#999999", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
COLUMNS = 3


def settings_figure(means: pd.DataFrame, seeds: pd.DataFrame) -> Figure:
    """Accuracy of each setting on each split (the paper's Table 1 as a picture).

    Args:
        means: of ``study.tables.over_seeds``; the mean is a bar with its interval.
        seeds: a row a run and split: ``setting, split, accuracy``; each is a dot.
    """
    with mpl.rc_context(STYLE):
        settings, splits = list(means.setting.unique()), list(means.split.unique())
        figure = Figure(
            figsize=(max(5.4, 0.32 * len(settings) * len(splits) + 2.2), 4), layout="constrained"
        )
        axis = figure.subplots()
        width = 0.8 / len(settings)
        for i, setting in enumerate(settings):
            own = means[means.setting == setting].set_index("split").reindex(splits)
            x = np.arange(len(splits)) + (i - (len(settings) - 1) / 2) * width
            error = np.abs(np.stack([own.accuracy - own.ci_low, own.ci_high - own.accuracy]))
            axis.bar(
                x, own.accuracy, 0.86 * width, color=_color(i), alpha=0.55, label=setting or "all"
            )
            axis.errorbar(x, own.accuracy, error, fmt="none", color="black", capsize=3, lw=1.1)
            for place, split in zip(x, splits):
                dots = seeds[
                    (seeds.setting == setting) & (seeds.split == split)
                ].accuracy.to_numpy()
                offsets = (
                    np.linspace(-0.22, 0.22, len(dots)) * width
                    if len(dots) > 1
                    else np.zeros(len(dots))
                )
                axis.plot(place + offsets, dots, "o", color=_color(i), mec="white", mew=0.6, ms=4.5)
        axis.axhline(float(means.floor.iloc[0]), color="black", ls=":", lw=1.2, label="guessing")
        axis.set(
            ylim=(0, 1.05),
            ylabel="accuracy",
            xticks=np.arange(len(splits)),
            yticks=np.linspace(0, 1, 5),
        )
        axis.set_xticklabels([short_split_name(split) for split in splits], fontsize=10)
        _legend(figure, axis)
        return figure


def curves_figure(curves: pd.DataFrame, floor: float = 0.5) -> Figure:
    """Accuracy over training: a thin line a seed, a thick one for their mean, a panel a split.

    Args:
        curves: of ``study.tables.curves``, with ``setting``.
        floor: accuracy of guessing.
    """
    with mpl.rc_context(STYLE):
        splits, settings = list(curves.split.unique()), list(curves.setting.unique())
        columns = min(len(splits), COLUMNS)
        rows = -(-len(splits) // columns)
        figure = Figure(figsize=(max(5.4, 4.2 * columns), 3.1 * rows + 0.5), layout="constrained")
        axes = np.atleast_1d(figure.subplots(rows, columns, sharey=True, squeeze=False)).ravel()
        for axis, split in zip(axes, splits):
            own = curves[curves.split == split]
            for i, setting in enumerate(settings):
                _lines(axis, own[own.setting == setting], _color(i), setting or "all")
            axis.axhline(floor, color="black", ls=":", lw=1.2)
            axis.set(title=split_name(split), ylim=(0.4, 1.02))
            axis.set(xlabel="training images (thousands)", xlim=(0, None))
        for axis in axes[len(splits) :]:
            axis.set_axis_off()
        axes[0].set_ylabel("accuracy")
        _legend(figure, axes[0])
        return figure


def _legend(figure: Figure, axis: Axes) -> None:
    """Below the panels, in as many columns as there is width for."""
    handles, labels = axis.get_legend_handles_labels()
    letters = int(figure.get_figwidth() * 12)  # that fit side by side at this size
    columns = max(1, min(len(labels), letters // (max(map(len, labels)) + 7)))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=10)


def _lines(axis: Axes, table: pd.DataFrame, color: str, label: str) -> None:
    for _, run in table.groupby("run", sort=False):
        axis.plot(run.images / 1000, run.accuracy, color=color, lw=0.8, alpha=0.45)
    mean = table.groupby("images").accuracy.mean()
    axis.plot(mean.index.to_numpy() / 1000, mean, color=color, lw=2.4, label=label)


def _color(i: int) -> str:
    return _SHADES[i % len(_SHADES)]
