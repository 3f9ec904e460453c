"""Figures of the battery of frozen backbones: one backbone by layer, and many beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..tables import select
from ..words import MEASURE_NAMES
from .style import (
    BLUE,
    GRAY,
    PURPLE,
    QUARTERS,
    VERMILION,
    grid_of,
    interval_errors,
    legend_below,
    panels,
    styled,
)

_LINES = (
    ("weights == 'trained' and condition == 'trained'", BLUE, "o-", "this backbone"),
    ("weights == 'random' and condition == 'trained'", PURPLE, "v-.", "random weights"),
    ("weights == 'trained' and condition == 'shuffled'", VERMILION, "s--", "shuffled labels"),
)
_RANDOM = {
    "random": "accuracy",
    "random_low": "ci_low",
    "random_high": "ci_high",
}
_BY_LAYER = ("shape", "color", "judgement", "same_object", "likeness")


@styled()
def battery_figure(frame: pd.DataFrame) -> Figure:
    """Measures by layer on validation scenes: a row per measure, a column per task; of one task side by side.

    Args:
        frame: of ``analysis.battery.Battery``, with ``task`` and ``weights`` ("trained", "random").
    """
    tasks = list(frame.task.unique())
    measures = [name for name in _BY_LAYER if name in set(frame.measure)]
    rows, columns = grid_of(len(measures)) if len(tasks) == 1 else (len(measures), len(tasks))
    size = (3.0 * columns, 1.9 * rows + 0.8)
    figure, axes = panels(size, rows, columns, sharex=True, sharey=True)
    shown = list(product(measures, tasks))
    for (measure, task), axis in zip(shown, axes.flat):
        part = select(frame, task=task, measure=measure, split="validation")
        _by_layer(axis, part)
        axis.set_title(f"{MEASURE_NAMES[measure]}, {task}", fontsize=9)
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    for axis in axes.flat[len(shown) - columns : len(shown)]:  # the lowest of each column
        axis.set_xlabel("layer")
        axis.tick_params(labelbottom=True)
    figure.supylabel("accuracy or AUC", fontsize=10)
    legend_below(figure, axes[0, 0], columns=3)
    return figure


def _by_layer(axis: Axes, rows: pd.DataFrame) -> None:
    """The lines of one measure and task."""
    for query, color, style, label in _LINES:
        line = rows.query(query).sort_values("layer")
        axis.plot(
            line.layer,
            line.value,
            style,
            color=color,
            markersize=3.5,
            label=label,
        )
        axis.fill_between(
            line.layer,
            line.ci_low,
            line.ci_high,
            color=color,
            alpha=0.15,
            linewidth=0,
        )
    places = select(rows, condition="places", weights="trained")
    if len(places):
        height = places.value.iloc[0]
        axis.axhline(height, color=GRAY, linewidth=1)
        axis.annotate("places alone", (0, height), fontsize=7, va="top")
    floor = rows.floor.iloc[0]
    axis.axhline(floor, color=GRAY, linestyle=":", linewidth=1)
    axis.set(ylim=(-0.02, 1.02), yticks=QUARTERS)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


_EDITS = (
    "binding",
    "binding_likeness",
    "binding_relation",
    "shape_swap",
    "color_swap",
    "shape_swap_relation",
    "color_swap_relation",
)
_EDIT_NAMES = {
    "trained": "this backbone",
    "random": "random weights",
    "shuffled": "shuffled labels",
    "subspace": "random directions",
    "varying": "random, as states vary",
    "wrong_object": "wrong object",
}


@styled()
def edits_figure(frame: pd.DataFrame) -> Figure:
    """Edits of frozen states beside their controls: a row per measure, a column per task; numbers of the record.

    Args:
        frame: of ``analysis.frozen_edits.FrozenEdits``, with ``task`` and ``weights`` ("trained", "random").
    """
    chosen = frame[frame.chosen & frame.measure.isin(_EDITS)]
    tasks = list(chosen.task.unique())
    measures = [name for name in _EDITS if name in set(chosen.measure)]
    size = (3.4 * len(tasks) + 1.6, 1.35 * len(measures) + 0.5)
    figure, axes = panels(size, len(measures), len(tasks), sharex="row")
    for measure, row in zip(measures, axes):
        for task, axis in zip(tasks, row):
            _edit(axis, select(chosen, measure=measure, task=task))
            axis.set_title(f"{MEASURE_NAMES[measure]}, {task}", fontsize=9)
    return figure


def _edit(axis: Axes, rows: pd.DataFrame) -> None:
    """The effect in one color, the controls in gray, a line each."""
    effect = rows.condition == "trained"
    own = rows.weights == "trained"
    shown = rows[own | effect]
    named = shown.condition.where(shown.weights == "trained", "random")
    names = list(named.unique())
    places = np.array([names.index(name) for name in named])
    colors = [BLUE if name == "trained" else GRAY for name in named]
    axis.hlines(places, shown.ci_low, shown.ci_high, colors=colors)
    axis.scatter(shown.value, places, c=colors, s=22, zorder=3)
    floor = shown.floor[named == "trained"].iloc[0]
    axis.axvline(floor, color=GRAY, linestyle=":", linewidth=1)
    below = len(names) - 0.5
    axis.set_yticks(range(len(names)), [_EDIT_NAMES[name] for name in names], fontsize=8)
    axis.set_ylim(below, -0.5)


@styled()
def board_figure(frame: pd.DataFrame) -> Figure:
    """Backbones beside each other: a row per measure, a column per task, a line per backbone.

    Args:
        frame: of ``report.board.board_table``.
    """
    tasks = frame.task.unique()
    measures = [name for name in MEASURE_NAMES if name in set(frame.measure)]
    models = list(frame.model.unique())
    height = 0.26 * len(models) + 0.55
    width = 2.9 * len(tasks) + 1.2
    size = (width, height * len(measures) + 0.9)
    figure, axes = panels(
        size,
        len(measures),
        len(tasks),
        sharex=True,
        sharey=True,
    )
    for measure, row in zip(measures, axes):
        for task, axis in zip(tasks, row):
            _beside(axis, select(frame, task=task, measure=measure), models)
        row[0].set_title(MEASURE_NAMES[measure], fontsize=9)
    for task, axis in zip(tasks, axes[0]):
        axis.set_title(task, loc="right", fontsize=9, fontweight="bold")
    if len(models) == 1:  # which the title of the page names
        axes[0, 0].set_yticks([])
    legend_below(figure, axes[0, 0], columns=4)
    return figure


def _beside(axis: Axes, rows: pd.DataFrame, models: Sequence[str]) -> None:
    """One measure of one task: a line per backbone, with interval, random weights, places alone and floor."""
    places = np.array([models.index(model) for model in rows.model])
    own = rows.rename(columns={"value": "accuracy"})
    random = rows[list(_RANDOM)].rename(columns=_RANDOM)
    axis.errorbar(
        own.accuracy,
        places,
        xerr=interval_errors(own),
        fmt="o",
        color=BLUE,
        capsize=2,
        label="backbone",
    )
    axis.errorbar(
        random.accuracy,
        places,
        xerr=interval_errors(random),
        fmt="D",
        color=PURPLE,
        mfc="white",
        ms=5,
        capsize=2,
        label="random weights",
    )
    axis.plot(
        rows.places.astype(float),
        places,
        "x",
        color=GRAY,
        ms=5,
        label="places alone",
    )
    axis.plot(
        rows.floor.astype(float),
        places,
        "|",
        color=GRAY,
        ms=14,
        label="guessing",
    )
    below = len(models) - 0.5
    axis.set_yticks(range(len(models)), _short(models), fontsize=8)
    axis.tick_params(axis="x", labelsize=8)
    axis.set(xticks=QUARTERS)
    axis.set_xlim(-0.02, 1.02)
    axis.set_ylim(below, -0.5)


def _short(models: Sequence[str]) -> list[str]:
    """Names without their owners, where that leaves each its own."""
    names = [model.rpartition("/")[2] for model in models]
    unique = len(set(names)) == len(names)
    return names if unique else list(models)
