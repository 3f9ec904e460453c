"""The figure of knocked-out heads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..tables import select
from ..words import KIND_NAMES, READ_NAMES, REPLACEMENT_NAMES, condition_name
from .style import BLUE, VERMILION, legend_below, panels, styled

_STRONGEST: Any = {"color": BLUE, "marker": "o"}
_RANDOM: Any = {"color": VERMILION, "marker": "s"}


@styled()
def knockout_figure(frame: pd.DataFrame, reach: np.ndarray | None = None) -> Figure:
    """Accuracy lost without the strongest heads of each kind, beside random heads: a panel per replacement.

    Args:
        frame: of ``knockout.Knockout``.
        reach: layers play no part here.
    """
    replacements = list(frame.replacement.unique())
    if "outcome" not in frame:  # of older folders
        frame = frame.assign(outcome="answer")
    kinds = frame.kind.unique()
    measured = frame[["outcome", "condition"]].drop_duplicates()
    rows = [
        (kind, outcome, condition)
        for kind in kinds
        for outcome, condition in measured.itertuples(index=False)
    ]
    width = 2.6 * len(replacements) + 2.4
    height = 0.3 * len(rows) + 1.5
    figure, axes = panels(
        (width, height),
        columns=len(replacements),
        sharex=True,
        sharey=True,
    )
    for axis, replacement in zip(axes.flat, replacements):
        _losses(axis, select(frame, replacement=replacement), rows)
        axis.axvline(0, color="black", lw=1, ls=":")
        axis.set_title(REPLACEMENT_NAMES[replacement], fontsize=10)
        axis.set_xlabel("accuracy lost")
    first = axes[0, 0]
    names = [_row_name(*row) for row in rows]
    first.set_yticks(range(len(rows)), names)
    first.set_ylim(len(rows) - 0.5, -0.5)
    first.plot([], [], ls="-", label="strongest heads", **_STRONGEST)
    first.plot([], [], ls="-", label="random heads of the same layers", **_RANDOM)
    legend_below(figure, first, 2)
    return figure


def _losses(axis: Axes, shown: pd.DataFrame, rows: list[tuple[str, str, str]]) -> None:
    """Per row, a kind, outcome and condition, the loss without the strongest heads over that without random ones."""
    for place, (kind, outcome, condition) in enumerate(rows):
        measured = select(shown, kind=kind, outcome=outcome, condition=condition)
        random = select(measured, heads="random")
        strongest = select(measured, heads="strongest")
        _mark(axis, random, place + 0.15, **_RANDOM)
        _mark(axis, strongest, place - 0.15, **_STRONGEST)


def _row_name(kind: str, outcome: str, condition: str) -> str:
    if outcome == "answer":
        return f"{KIND_NAMES[kind]}: {condition_name(condition)}"
    return f"{KIND_NAMES[kind]}: {READ_NAMES[outcome]}"


def _mark(
    axis: Axes,
    rows: pd.DataFrame,
    place: float,
    color: str,
    marker: str,
) -> None:
    """Values with their intervals, all on one line."""
    places = np.full(len(rows), place)
    lost = rows.base_accuracy - rows.accuracy
    if "lost_low" in rows:
        lost = rows.lost
        axis.hlines(
            places,
            rows.lost_low,
            rows.lost_high,
            color=color,
            lw=1.2,
            alpha=0.7,
        )
    axis.plot(lost, places, marker, color=color, ms=4)
