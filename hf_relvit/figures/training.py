"""Figures of a training run: its course, and accuracy by split."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..tables import select
from .attention import NAMES
from .style import (
    BLUE,
    GREEN,
    QUARTERS,
    chart,
    diamonds,
    guessing,
    panels,
    show_splits,
    styled,
    whiskers,
)

_LOSSES = {
    "task_loss": "task loss",
    "disentanglement_loss": "disentanglement",
    "pipeline_loss": "pipeline",
}


@styled()
def accuracy_figure(table: pd.DataFrame) -> Figure:
    """Accuracy by split with Wilson intervals, beside the random-weights base and the floor."""
    rows = select(table, condition="all")
    places = range(len(rows))
    figure, axis = chart((5.4, 3.6))
    axis.bar(
        places,
        rows.accuracy,
        0.6,
        color=BLUE,
        label="trained model, 95 % interval",
    )
    whiskers(axis, places, rows, cap=4, width=1.2)
    diamonds(axis, places, rows.base_accuracy, ms=6, label="same model, random weights")
    guessing(axis, rows.floor.iloc[0], label="guessing")
    for place, accuracy, top in zip(places, rows.accuracy, rows.ci_high):
        value = f"{accuracy:.3f}".lstrip("0")
        axis.text(place, top + 0.015, value, ha="center", fontsize=10)
    axis.set(ylim=(0, 1.12), ylabel="accuracy", yticks=QUARTERS)
    show_splits(axis, rows.split, rotation=30, ha="right")
    axis.legend(
        loc="upper center",
        bbox_to_anchor=(0.45, -0.3),
        ncols=2,
        fontsize=10,
    )
    return figure


@styled()
def stages_figure(stages: pd.DataFrame) -> Figure:
    """Attention stages while the model trains: a panel per kind, a line per layer, dark to light.

    Args:
        stages: of ``training_stages``: ``kind, layer, images, share``.
    """
    kinds = [kind for kind in NAMES if kind in set(stages.kind)]
    figure, axes = panels((2.7 * len(kinds) + 0.9, 2.7), 1, len(kinds), sharey=True)
    depth = int(stages.layer.max()) + 1
    colors = mpl.colormaps["viridis"](np.linspace(0, 0.92, depth))
    for axis, kind in zip(axes[0], kinds):
        for layer, rows in select(stages, kind=kind).groupby("layer"):
            axis.plot(
                rows.images / 1000,
                rows.share,
                ".-",
                color=colors[int(str(layer))],
                lw=1.3,
                label=f"layer {layer}",
            )
        axis.set(title=NAMES[kind], xlabel="training images, thousands", ylim=(0, 1.02))
    axes[0, 0].set(ylabel="strongest head's share")
    axes[0, -1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=8)
    return figure


@styled()
def history_figure(log: list[dict[str, Any]], floor: float = 0.5) -> Figure:
    """Training loss and validation accuracy by step, from the Trainer's log."""
    figure, left = chart((5.4, 3.2))
    right = left.twinx()
    table = pd.DataFrame(log)
    losses = _LOSSES if "task_loss" in table else {"loss": "training loss"}
    for style, (key, name) in zip(("-", "--", ":"), losses.items()):
        if key in table:
            rows = table[["step", key]].dropna()
            left.plot(rows.step, rows[key], style, color=GREEN, label=name)
    rows = table[["step", "eval_validation_accuracy"]].dropna()
    right.plot(*rows.to_numpy().T, "o-", color=BLUE, ms=4, label="validation accuracy")
    guessing(right, floor)
    left.set(xlabel="training step", ylabel="loss", ylim=(0, None))
    right.set(ylabel="accuracy", ylim=(0, 1.02))
    right.spines["right"].set_visible(True)
    losses_shown, _ = left.get_legend_handles_labels()
    accuracy_shown, _ = right.get_legend_handles_labels()
    left.legend(
        handles=losses_shown + accuracy_shown,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.22),
        ncols=4,
        fontsize=9,
    )
    return figure
