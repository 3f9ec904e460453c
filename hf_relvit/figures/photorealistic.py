"""Figures of the photorealistic evaluation, drawn from saved tables."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .style import COLORS, STYLE

CONDITIONS = {
    "all": "all",
    "difference_none": "same pairs",
    "difference_object": "different objects",
    "difference_color": "different paint",
    "level_object": "objects differ, and twins",
    "level_color": "paint differs, and twins",
    "occlusion_none": "nothing hidden",
    "occlusion_some": "up to 25 % hidden",
    "occlusion_much": "more hidden",
    "distance_near": "near",
    "distance_middle": "middle",
    "distance_far": "far",
    "rotation_difference_to_60": "turned by 0 to 60°",
    "rotation_difference_to_120": "60 to 120°",
    "rotation_difference_to_180": "120 to 180°",
}
"""Words for the conditions of ``training.photorealistic.conditions``."""
_LINES = ("within_object", "background", "base", "within_pair", "between_pair")


def photorealistic_figure(accuracy: pd.DataFrame, frozen: pd.DataFrame | None = None) -> Figure:
    """Zero-shot accuracy by condition with intervals and base accuracy; below it the frozen features, if any.

    Args:
        accuracy: of ``evaluate_photorealistic``.
        frozen: of ``measure_similarity``.
    """
    with mpl.rc_context(STYLE):
        heights = [5.4] if frozen is None else [5.4, 3.6]
        figure = Figure(figsize=(5.8, sum(heights)), layout="constrained")
        axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        _bars(axes[0], accuracy)
        if frozen is not None:
            _layers(axes[1], frozen)
    return figure


def frozen_figure(frozen: pd.DataFrame) -> Figure:
    """AUC over layers, a line with its interval for each model."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 4.2), layout="constrained")
        _layers(figure.subplots(), frozen)
    return figure


def _bars(axes: Axes, accuracy: pd.DataFrame) -> None:
    rows = accuracy.set_index("condition")
    rows = rows.loc[[name for name in CONDITIONS if name in rows.index]].iloc[::-1]
    place = np.arange(len(rows))
    axes.barh(
        place,
        rows.accuracy,
        color=COLORS["within_object"],
        height=0.62,
        label="accuracy, 95 % interval",
    )
    reach = np.abs(rows[["ci_low", "ci_high"]].to_numpy().T - rows.accuracy.to_numpy())
    axes.errorbar(
        rows.accuracy, place, xerr=reach, fmt="none", ecolor="#1c1c1c", capsize=2, linewidth=1
    )
    base = {
        "color": "white",
        "mec": "black",
        "ms": 5,
        "clip_on": False,
        "zorder": 3,
    }  # it may lie on the frame
    axes.plot(rows.base_accuracy, place, "D", **base, label="same network, random weights")
    axes.axvline(0.5, color="#6b6b6b", linestyle=":", linewidth=1)
    axes.set_yticks(place, [f"{CONDITIONS[name]} ({n})" for name, n in rows.n.items()])
    axes.set_xlim(0, 1)
    axes.set_xlabel("accuracy")
    axes.set_title("Photorealistic pairs, zero-shot")
    axes.legend(loc="upper center", bbox_to_anchor=(0.25, -0.14), ncols=2, fontsize=9)


def _layers(axes: Axes, frozen: pd.DataFrame) -> None:
    whole = frozen[frozen.level == "all"]
    for name, color in zip(dict.fromkeys(whole.model), _LINES):
        rows = whole[whole.model == name].sort_values("layer")
        axes.plot(rows.layer, rows.auc, "o-", color=COLORS[color], markersize=3.5, label=name)
        axes.fill_between(
            rows.layer, rows.ci_low, rows.ci_high, color=COLORS[color], alpha=0.15, linewidth=0
        )
    axes.axhline(0.5, color="#6b6b6b", linestyle=":", linewidth=1)
    axes.set_ylim(0.35, 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("layer (-1: embeddings)")
    axes.set_ylabel("AUC")
    axes.set_title("Cosine of the objects' mean tokens")
    axes.legend(loc="lower right", fontsize=9)
