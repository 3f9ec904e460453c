"""Figures of the causal analyses: alignments, novel vectors, probes, steering, correlation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle, product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..stimuli.tasks import target_name
from ..tables import named_rows, select
from ..words import TARGET_NAMES, split_name
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
    styled,
    tint,
)

_HUES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
_MARKERS = "osD^vPX*<>"


class Curve(NamedTuple):
    """A line over layers.

    Attributes:
        rows: which rows of the table, as for ``DataFrame.query``.
        color, style: of the line, as for ``Axes.plot``.
        label: in the legend.
        floor: label of a second line, the floor of these rows; none if empty.
    """

    rows: str
    color: str
    style: str
    label: str
    floor: str = ""


_ALIGNMENT = (
    Curve(
        "score == 'cause' and control == 'none' and weights == 'trained'",
        BLUE,
        "o-",
        "the object's property",
    ),
    Curve(
        "control == 'wrong_object' and weights == 'trained'",
        VERMILION,
        "s--",
        "wrong object's",
    ),
    Curve(
        "control == 'random_directions' and weights == 'trained'",
        GRAY,
        "x--",
        "random directions",
    ),
    Curve(
        "score == 'isolate' and weights == 'trained'",
        GREEN,
        "^:",
        "other property kept",
    ),
    Curve(
        "score == 'cause' and control == 'none' and weights == 'random'",
        PURPLE,
        "v-.",
        "random weights",
        floor="random weights, no edit",  # such a network gives one answer to all, so its floor is another one
    ),
)
_STEERING = (
    Curve("condition == 'flip'", BLUE, "o-", "steered to the other relation"),
    Curve("condition == 'agree'", VERMILION, "s--", "steered to its own"),
    Curve("condition == 'shuffled'", GREEN, "^:", "other relation, shuffled probe"),
)
_PROBES = (
    Curve("condition == 'trained'", BLUE, "o-", "probe, 95 % interval"),
    Curve("condition == 'shuffled'", VERMILION, "s--", "fitted to shuffled labels"),
)
_NOVEL = {
    "known": ("o-", "another object's"),
    "added": ("s-", "two added"),
    "interpolated": ("^-", "two averaged"),
    "sampled": ("D--", "sampled"),
    "random": ("v--", "random"),
}
_BASELINES = {
    "subspace": "in the subspace",
    "full_residual": "whole residual",
    "blank_image": "objects erased first",
}
_MOST_TICKS = 8
"""Layers that a small chart numbers; of more, every second one."""
_MEASURES = {"pearson": "r", "spearman": "ρ"}


class _Layout(NamedTuple):
    """Of small multiples by layer.

    Attributes:
        width, height: of a panel, inches.
        least: width of the figure at least.
        margin: height besides the panels.
        legend: columns of the legend.
    """

    width: float
    height: float
    least: float
    margin: float
    legend: int

    def charts(self, rows: int, columns: int) -> tuple[Figure, np.ndarray]:
        """A figure of as many charts, with shared axes."""
        width = max(self.width * columns, self.least)
        height = self.height * rows + self.margin
        return panels((width, height), rows, columns, sharex=True, sharey=True)


def alignment_figure(scores: pd.DataFrame, reach: np.ndarray | None = None) -> Figure:
    """Accuracy of interchange interventions by layer: a row per split, a column per property (paper, Fig. 3).

    Args:
        scores: rows of ``scores.score_alignment`` of any layers, splits and controls, with ``weights``: "trained", or
            "random" for an alignment found in the same network with random weights.
        reach: see ``figures.tint``; here and below.
    """
    return _small_multiples(
        select(scores, condition="all"),
        ("split", "property"),
        _ALIGNMENT,
        lambda split, prop, _: f"{prop}, {split_name(split)}",
        "accuracy after the swap",
        _Layout(width=2.9, height=2.3, least=4.6, margin=1.3, legend=2),
        reach,
    )


def steering_figure(frame: pd.DataFrame, reach: np.ndarray | None = None) -> Figure:
    """How often steering along the probe's direction flips the answer: a row per pair, a column per alpha."""
    several = frame.pair.nunique() > 1

    def title(pair: str, alpha: float, flips: pd.DataFrame) -> str:
        step = f"α = {alpha:g}, {flips.relative_norm.mean():.0%} as long"
        return f"{pair} pair, {step}" if several else step

    return _small_multiples(
        frame.sort_values("alpha", kind="stable"),
        ("pair", "alpha"),
        _STEERING,
        title,
        "share of flipped answers",
        _Layout(width=2.1, height=2.2, least=4.8, margin=1.1, legend=2),
        reach,
    )


def novel_figure(frame: pd.DataFrame, reach: np.ndarray | None = None) -> Figure:
    """Accuracy with injected vectors by layer: a row per baseline, a column per property (paper, Fig. 4)."""
    whole = select(frame, condition="all")
    curves = [
        Curve(f"method == '{method}'", color, *_NOVEL[method])
        for color, method in zip(_HUES, whole.method.unique())
    ]
    return _small_multiples(
        whole,
        ("baseline", "property"),
        curves,
        lambda baseline, prop, _: f"{prop}, {_BASELINES[baseline]}",
        "accuracy",
        _Layout(width=2.9, height=2.1, least=4.6, margin=1.3, legend=3),
        reach,
    )


@styled()
def _small_multiples(
    table: pd.DataFrame,
    grid: tuple[str, str],
    curves: Sequence[Curve],
    title: Callable[[Any, Any, pd.DataFrame], str],
    ylabel: str,
    layout: _Layout,
    reach: np.ndarray | None,
) -> Figure:
    """A chart by layer for each pair of values of two columns of the table.

    Args:
        grid: the columns whose values are rows and columns of charts.
        curves: of each chart; the first is the one whose base accuracy and floor are shown too.
        title: of a chart, from its two values and the rows of the first curve.
    """
    down, across = grid
    rows = table[down].unique()
    columns = table[across].unique()
    figure, axes = layout.charts(len(rows), len(columns))
    for axis, (row, column) in zip(axes.flat, product(rows, columns)):
        values = {down: row, across: column}
        shown = select(table, **values).sort_values("layer")
        first = shown.query(curves[0].rows)
        for curve in curves:
            _draw(axis, shown, curve)
        _unedited(axis, first)
        _layers(axis, shown.layer, reach)
        axis.set_title(title(row, column, first), fontsize=10)
    _label_edges(axes, "layer", ylabel)
    legend_below(figure, axes[0, 0], layout.legend)
    return figure


def _label_edges(axes: np.ndarray, xlabel: str, ylabel: str) -> None:
    """Names below the lowest charts and left of the leftmost."""
    for axis in axes[-1]:
        axis.set_xlabel(xlabel)
    for axis in axes[:, 0]:
        axis.set_ylabel(ylabel)


@styled()
def probe_figure(frame: pd.DataFrame, reach: np.ndarray | None = None) -> Figure:
    """Probe accuracy by layer, a panel per target and form, over its shuffled-label control and the floor.

    Args:
        frame: of ``Probes``; with a column ``task`` the panel of the judgement says which relation it is.
        reach: see ``figures.tint``.
    """
    order = list(TARGET_NAMES)
    kinds = set(zip(frame.target, frame.form))
    ordered = sorted(kinds, key=lambda kind: order.index(kind[0]))
    rows, columns = grid_of(len(ordered))
    width = max(2.5 * columns, 3.6)
    height = 2.4 * rows + 0.6
    figure, axes = panels((width, height), rows, columns, sharex=True, sharey=True)
    for axis, (target, form) in zip(axes.flat, ordered):
        measured = select(frame, target=target, form=form)
        _probe_curves(axis, measured.sort_values("layer"), reach)
        tasks = measured.task.unique() if "task" in measured else ()
        axis.set_title(f"{target_name(target, tasks)}\n{form} probe", fontsize=10)
        axis.set_xlabel("layer")
        axis.tick_params(labelbottom=True)
    for axis in axes.flat[len(ordered) :]:
        axis.set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel("accuracy")
    legend_below(figure, axes[0, 0], 3 if columns > 1 else 1)
    return figure


def _probe_curves(axis: Axes, shown: pd.DataFrame, reach: np.ndarray | None) -> None:
    """The probe, its control and the floor of the probe, by layer."""
    for curve in _PROBES:
        _draw(axis, shown, curve)
    trained = select(shown, condition="trained")
    axis.plot(
        trained.layer,
        trained.floor,
        ":",
        color="black",
        lw=1.2,
        label="always the commonest",
    )
    _layers(axis, trained.layer, reach)


@styled()
def search_figure(history: pd.DataFrame) -> Figure:
    """Loss and size of the soft mask of an alignment search, by epoch.

    Args:
        history: one row per epoch, ``epoch, loss, mask``.
    """
    figure, left = chart((5.4, 3.2))
    right = left.twinx()
    left.plot(history.epoch, history.loss, "o-", color=BLUE, ms=4)
    right.plot(history.epoch, history["mask"], "s--", color=VERMILION, ms=4)
    left.set(xlabel="epoch", ylim=(0, None))
    left.set_ylabel("loss", color=BLUE)
    right.set_ylabel("directions in the mask", color=VERMILION)
    right.set_ylim(0, None)
    right.spines["right"].set_visible(True)
    return figure


@styled()
def correlation_figure(frame: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Accuracy against disentanglement, a panel per split, one mark per run (paper, Fig. 6)."""
    splits = list(runs.split.unique())
    groups = list(runs.group.unique())
    count = len(splits)
    size = (3.3 * count + 0.4, 4.6)
    figure, axes = panels(size, columns=count, sharex=True, sharey=True)
    for axis, split in zip(axes.flat, splits):
        _scatter(axis, select(runs, split=split), groups)
        axis.set_title(split_name(split))
        rows = named_rows(frame, split=split)
        sentences = [_correlation_text(row) for row in rows]
        axis.text(
            0.03,
            0.03,
            "\n".join(sentences),
            fontsize=8.5,
            transform=axis.transAxes,
            va="bottom",
        )
        axis.set(xlabel="disentanglement\n(best DAS accuracy, shape and color)")
    first = axes[0, 0]
    first.set(ylabel="accuracy", ylim=(0, 1.04), yticks=QUARTERS)
    right = first.get_xlim()[1]
    first.text(right, 0.5, "guessing ", ha="right", va="bottom", fontsize=8.5)
    if frame.warning.any():
        count = int(frame.groups.min())
        warning = f"Only {count} independent runs: too few to tell"
        figure.suptitle(warning, fontsize=11, color=VERMILION)
    legend_below(figure, first, min(len(groups), 6))
    return figure


def _scatter(axis: Axes, rows: pd.DataFrame, groups: list[str]) -> None:
    """One mark per run in the color of its group, guessing, and the straight line of least squares."""
    for group, color, marker in zip(groups, cycle(_HUES), cycle(_MARKERS)):
        runs = select(rows, group=group)
        axis.plot(
            runs.disentanglement,
            runs.accuracy,
            marker,
            ms=9,
            mec="white",
            color=color,
            label=group,
            zorder=3,
        )
    guessing(axis, 0.5)
    x = rows.disentanglement
    if np.ptp(x) > 0:
        slope, shift = np.polyfit(x, rows.accuracy, 1)
        ends = np.array([x.min(), x.max()])
        axis.plot(ends, slope * ends + shift, color=GRAY, lw=1.5, zorder=1)


def _correlation_text(row: Any) -> str:
    symbol = _MEASURES[row.measure]
    return (
        f"{symbol} = {row.value:.2f}  [{row.ci_low:.2f}, {row.ci_high:.2f}]\n"
        f"    leave one out: {row.loo_low:.2f} to {row.loo_high:.2f}"
    )


def _draw(axis: Axes, table: pd.DataFrame, curve: Curve) -> None:
    """A measure by layer with its interval; nothing if it was not taken."""
    rows = table.query(curve.rows)
    if rows.empty:
        return
    color = curve.color
    layers = rows.layer
    interval = (rows.ci_low, rows.ci_high)
    axis.fill_between(layers, *interval, color=color, alpha=0.25, lw=0)
    if len(rows) == 1:  # a band over one layer has no width
        axis.vlines(layers, *interval, color=color, lw=1.5)
    line = {"color": color, "label": curve.label, "ms": 4}
    axis.plot(layers, rows.accuracy, curve.style, **line)
    if curve.floor:
        axis.plot(layers, rows.floor, ":", color=color, lw=3, label=curve.floor)


def _unedited(axis: Axes, rows: pd.DataFrame) -> None:
    """Without an edit: how often the model's own answer is right, and how often the edit's answer is."""
    accuracy = {
        "label": "no edit, own answer",
        "color": GRAY,
        "lw": 1,
    }
    floor = {
        "label": "no edit, new answer",
        "color": "black",
        "lw": 1.2,
        "ls": ":",
    }
    if len(rows) == 1:
        ends = (rows.layer - 0.5, rows.layer + 0.5)
        axis.hlines(rows.base_accuracy, *ends, **accuracy)
        axis.hlines(rows.floor, *ends, **floor)
        return
    axis.plot(rows.layer, rows.base_accuracy, **accuracy)
    axis.plot(rows.layer, rows.floor, **floor)


def _layers(axis: Axes, layers: pd.Series, reach: np.ndarray | None) -> None:
    """Both axes of a chart of accuracies by layer, and its tint."""
    ticks = sorted(set(layers))
    limits = (ticks[0] - 0.5, ticks[-1] + 0.5)
    if len(ticks) > _MOST_TICKS:
        ticks = ticks[::2]
    tint(axis, reach, 1.06, -0.04)
    axis.set(xlim=limits, xticks=ticks, ylim=(-0.04, 1.06))
