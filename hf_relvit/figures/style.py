"""One style for all figures, small multiples, and how figures are saved; every figure is drawn from a saved table."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..files import atomic_write
from ..words import split_name

# Okabe and Ito's palette: any color vision can distinguish them.
BLUE = "#0072B2"
VERMILION = "#D55E00"
PURPLE = "#CC79A7"
GREEN = "#009E73"
ORANGE = "#E69F00"
SKY = "#56B4E9"
GRAY = "#999999"
STYLE: Any = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "hf_relvit",
}
METADATA = {".png": {"Software": None}, ".svg": {"Date": None}}
"""Per format of figures, the metadata of matplotlib that differs from machine to machine."""
QUARTERS = np.linspace(0, 1, 5)
"""Ticks of an axis of accuracies."""
MAX_COLUMNS = 3
"""Of panels that follow each other from left to right and from top to bottom."""


def styled():
    """The style, for ``with``, or as the decorator of a function that draws."""
    return mpl.rc_context(STYLE)


def panels(
    size: tuple[float, float],
    rows: int = 1,
    columns: int = 1,
    **options: Any,
) -> tuple[Figure, np.ndarray]:
    """A figure of equal charts.

    Args:
        size: of the figure, inches.
        rows, columns: of charts.
        options: of ``Figure.subplots``, such as ``sharey=True``.

    Returns:
        The figure and its charts, ``(rows, columns)``.
    """
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def chart(size: tuple[float, float]) -> tuple[Figure, Axes]:
    """A figure of one chart; ``size`` in inches."""
    figure, axes = panels(size)
    return figure, axes[0, 0]


def grid_of(count: int) -> tuple[int, int]:
    """Rows and columns for ``count`` panels that follow each other."""
    columns = min(count, MAX_COLUMNS)
    return -(-count // columns), columns


def legend_below(figure: Figure, axis: Axes, columns: int, size: int = 9) -> None:
    """One legend for all panels: that of one of them, below the figure; ``size`` in points."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=columns,
        fontsize=size,
    )


def interval_errors(rows: pd.DataFrame) -> np.ndarray:
    """Lengths of the error bars of accuracies, down and up, float64 ``(2, n)``."""
    below = rows.accuracy - rows.ci_low
    above = rows.ci_high - rows.accuracy
    return np.abs(np.stack([below, above]))


def whiskers(
    axis: Axes,
    places: np.ndarray | range,
    rows: pd.DataFrame,
    cap: float,
    width: float,
) -> None:
    """The intervals of accuracies as black bars; length of their ends and width in points."""
    axis.errorbar(
        places,
        rows.accuracy,
        interval_errors(rows),
        fmt="none",
        color="black",
        capsize=cap,
        lw=width,
    )


def diamonds(axis: Axes, x: Any, y: Any, **options: Any) -> None:
    """The base accuracies as white diamonds; ``options`` of the marks, such as their label."""
    axis.plot(x, y, "D", color="white", mec="black", **options)


def guessing(axis: Axes, accuracy: float, **options: Any) -> None:
    """A dotted line at the accuracy of guessing; ``options`` of the line, such as its label."""
    axis.axhline(accuracy, color="black", ls=":", lw=1.2, **options)


def tint(axis: Axes, reach: np.ndarray | None, top: float = 1.06, bottom: float = 0.0) -> None:
    """Color the background of a chart by layer, from local (blue) to global (red), as the paper's figures do.

    Args:
        reach: mean of each layer's heads, ``(layers,)``; None for no tint.
        top, bottom: of the chart.
    """
    if reach is not None:
        axis.imshow(
            reach[None],
            cmap="coolwarm",
            vmin=0,
            vmax=1,
            aspect="auto",
            alpha=0.22,
            zorder=0,
            extent=(-0.5, len(reach) - 0.5, bottom, top),
        )


def show_splits(axis: Axes, splits: Iterable[str], **options: Any) -> None:
    """Name the splits below a chart, long names over two lines; ``options`` are of the labels."""
    names = [split_name(split).replace(" + ", "\n+ ") for split in splits]
    axis.set_xticks(range(len(names)), names, fontsize=10, **options)


def save_figure(figure: Figure, path: Path) -> None:
    """Write PNG (150 dots per inch) and SVG; no date inside, so equal tables give equal files.

    Args:
        figure: any.
        path: with the ending .png or .svg, that one; without, both are written beside each other.
    """
    for file in paths_by_format(Path(path)):
        with styled(), atomic_write(file) as temporary:
            figure.savefig(
                temporary,
                format=file.suffix.lstrip("."),
                dpi=150,
                metadata=METADATA[file.suffix],
            )


def paths_by_format(path: Path) -> list[Path]:
    """The files that a figure is written to: ``path`` if it ends in .png or .svg, else one file per format."""
    if path.suffix in METADATA:
        return [path]
    return [path.with_name(path.name + ending) for ending in METADATA]
