"""Figures of the photorealistic evaluation, drawn from saved tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..tables import select
from ..words import PHOTOREALISTIC_NAMES
from .style import (
    BLUE,
    GRAY,
    GREEN,
    PURPLE,
    VERMILION,
    chart,
    diamonds,
    interval_errors,
    panels,
    styled,
)

_LINES = (BLUE, GREEN, GRAY, VERMILION, PURPLE)
_GUESSING: dict[str, Any] = {"color": "#6b6b6b", "linestyle": ":", "linewidth": 1}


@styled()
def photorealistic_figure(accuracy: pd.DataFrame, frozen: pd.DataFrame | None = None) -> Figure:
    """Zero-shot accuracy by condition with intervals and base accuracy; below it the frozen features, if any.

    Args:
        accuracy: of ``evaluate_photorealistic``.
        frozen: of ``measure_similarity``.
    """
    heights = [5.4] if frozen is None else [5.4, 3.6]
    size = (5.8, sum(heights))
    figure, axes = panels(size, rows=len(heights), height_ratios=heights)
    _bars(axes[0, 0], accuracy)
    if frozen is not None:
        _layers(axes[1, 0], frozen)
    return figure


@styled()
def frozen_figure(frozen: pd.DataFrame) -> Figure:
    """AUC over layers, a line with its interval for each model."""
    figure, axis = chart((5.6, 4.2))
    _layers(axis, frozen)
    return figure


def _bars(axis: Axes, accuracy: pd.DataFrame) -> None:
    rows = accuracy.set_index("condition")
    conditions = [name for name in PHOTOREALISTIC_NAMES if name in rows.index]
    rows = rows.loc[conditions[::-1]]
    place = np.arange(len(rows))
    axis.barh(
        place,
        rows.accuracy,
        color=BLUE,
        height=0.62,
        label="accuracy, 95 % interval",
    )
    axis.errorbar(
        rows.accuracy,
        place,
        xerr=interval_errors(rows),
        fmt="none",
        ecolor="#1c1c1c",
        capsize=2,
        linewidth=1,
    )
    _base_marks(axis, rows.base_accuracy, place)
    axis.axvline(0.5, **_GUESSING)
    labels = [f"{PHOTOREALISTIC_NAMES[str(name)]} ({n})" for name, n in rows.n.items()]
    axis.set_yticks(place, labels)
    axis.set(xlim=(0, 1), xlabel="accuracy")
    axis.set_title("Photorealistic pairs, zero-shot")
    axis.legend(loc="upper center", bbox_to_anchor=(0.25, -0.14), ncols=2, fontsize=9)


def _base_marks(axis: Axes, accuracy: pd.Series, place: np.ndarray) -> None:
    diamonds(
        axis,
        accuracy,
        place,
        ms=5,
        clip_on=False,  # it may lie on the frame
        zorder=3,
        label="same network, random weights",
    )


def _layers(axis: Axes, frozen: pd.DataFrame) -> None:
    whole = select(frozen, level="all")
    for name, color in zip(whole.model.unique(), _LINES):
        rows = select(whole, model=name).sort_values("layer")
        axis.plot(rows.layer, rows.auc, "o-", color=color, markersize=3.5, label=name)
        axis.fill_between(
            rows.layer,
            rows.ci_low,
            rows.ci_high,
            color=color,
            alpha=0.15,
            linewidth=0,
        )
    axis.axhline(0.5, **_GUESSING)
    axis.set(ylim=(0.35, 1.02), ylabel="AUC")
    axis.set_xlabel("layer (-1: embeddings)")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_title("Cosine of the objects' mean tokens")
    axis.legend(loc="lower right", fontsize=9)
