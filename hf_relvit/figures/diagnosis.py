"""The evidence of a diagnosis at a glance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..tables import named_rows, select
from ..words import split_name
from .style import BLUE, GRAY, QUARTERS, VERMILION, chart, styled

READINGS = {
    "yes": (BLUE, "yes"),
    "no": (VERMILION, "no"),
    "unclear": (GRAY, "unclear"),
    "silent": ("#CCCCCC", "cannot tell here"),
}
STAGES = {
    "behavior": ("Answers", "#FFFFFF"),
    "perceptual": ("Perceptual stage: are objects held apart?", "#E8EEF8"),
    "relational": ("Relational stage: are they compared?", "#FBEAE6"),
}
MARKS = {"test": "o", "test_compositional": "s"}
_THRESHOLD: dict[str, Any] = {
    "marker": "|",
    "ms": 10,
    "mew": 1.5,
    "color": "black",
}
_CONTROL: dict[str, Any] = {
    "marker": "D",
    "ms": 4.5,
    "mfc": "white",
    "mec": "black",
}


@styled()
def diagnosis_figure(criteria: pd.DataFrame) -> Figure:
    """Each criterion's value with its interval, threshold and control, stage by stage.

    Args:
        criteria: of ``Diagnosis.to_frame``; a question has one ``key`` on all splits.
    """
    splits = list(criteria.split.unique())
    places, bands = _layout(criteria)
    end = bands[-1][-1]
    figure, axis = chart((5.4, 0.56 * end + 1.0))
    for band in bands:
        _stage(axis, *band)
    for criterion in named_rows(criteria):
        row = places[criterion.key]
        height = row + 0.24
        split = splits.index(criterion.split)
        if split == 0:
            name = criterion.name if criterion.decides else f"({criterion.name})"
            axis.text(0, row - 0.21, name, va="center", fontsize=9.5)
        if len(splits) > 1:
            height += 0.17 * (2 * split - 1)
        _criterion(axis, criterion, height)
    _accuracy_axis(axis, end)
    figure.legend(
        handles=list(_legend(criteria, splits)),
        loc="outside lower center",
        ncols=3,
        fontsize=9,
    )
    return figure


def _layout(criteria: pd.DataFrame) -> tuple[dict[str, int], list[tuple[str, int, int]]]:
    """The rows of the criteria, by their keys; each stage begins with its heading, and ends before the next one."""
    places = {}
    bands = []
    end = 0
    for stage in STAGES:
        first = end
        keys = select(criteria, stage=stage).key.unique()
        places |= {key: row for row, key in enumerate(keys, first + 1)}
        end = first + 1 + len(keys)
        bands.append((stage, first, end))
    return places, bands


def _accuracy_axis(axis: Axes, end: int) -> None:
    """Accuracies from left to right; down the rows until ``end`` nothing is numbered."""
    axis.set(
        xlim=(-0.02, 1.02),
        ylim=(end - 0.45, -0.45),
        yticks=[],
        xticks=QUARTERS,
    )
    axis.set_xlabel("accuracy")
    axis.spines["left"].set_visible(False)


def _stage(axis: Axes, stage: str, first: int, end: int) -> None:
    """The colored band of a stage with its heading."""
    heading, color = STAGES[stage]
    axis.axhspan(first - 0.45, end - 0.45, color=color, lw=0, zorder=0)
    axis.text(
        0,
        first + 0.1,
        heading,
        va="center",
        fontsize=10.5,
        fontweight="bold",
    )


def _criterion(axis: Axes, criterion: Any, height: float) -> None:
    """A row of the table as marks on one line."""
    color, _ = READINGS[criterion.reading]
    interval = [criterion.ci_low, criterion.ci_high]
    around = [height - 0.13, height + 0.13]
    line = [height, height]
    axis.plot([0, 1], line, color="#B8BFC7", lw=0.5, zorder=1)
    axis.plot(interval, line, color=color, lw=3, solid_capstyle="butt")
    axis.plot(
        criterion.value,
        height,
        MARKS[criterion.split],
        color=color,
        ms=6.5,
        mec="white",
        mew=0.7,
        zorder=4,
    )
    axis.plot([criterion.threshold] * 2, around, color="black", lw=1.5, zorder=3)
    if np.isfinite(criterion.control):
        axis.plot(criterion.control, height, ls="", mew=0.9, zorder=3, **_CONTROL)


def _legend(criteria: pd.DataFrame, splits: list[str]) -> Iterator[Line2D]:
    shown = set(criteria.reading)
    for reading, (color, name) in READINGS.items():
        if reading in shown:
            yield Line2D([], [], color=color, lw=4, label=name)
    if len(splits) > 1:
        for split in splits:
            label = split_name(split)
            mark = MARKS[split]
            yield Line2D([], [], marker=mark, ls="", color="#555555", label=label)
    yield Line2D([], [], ls="", label="threshold", **_THRESHOLD)
    yield Line2D([], [], ls="", label="strongest control", **_CONTROL)
