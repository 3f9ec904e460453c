"""A figure of people and models: accuracies, and error consistency of every two."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..tables import select
from .style import BLUE, GRAY, PURPLE, VERMILION, interval_errors, panels, styled

_COLORS = {
    "person": BLUE,
    "model": VERMILION,
    "two people": BLUE,
    "person and model": PURPLE,
    "two models": VERMILION,
}


@styled()
def people_figure(observers: pd.DataFrame, pairs: pd.DataFrame) -> Figure:
    """Left: accuracy of each observer; right: kappa of each pair of observers; 95 % intervals.

    Args:
        observers, pairs: of ``study.people.compare_people``.
    """
    whole = select(observers, condition="all")
    height = 1.2 + 0.3 * max(len(whole), len(pairs), 2)
    figure, axes = panels((9, height), 1, 2)
    left, right = axes[0]
    _dots(left, whole, whole.observer)
    left.axvline(0.5, color=GRAY, linestyle=":")
    left.set(title="accuracy", xlim=(-0.03, 1.03), xlabel="share of pictures; dotted: guessing")
    names = pairs["first"] + " and " + pairs["second"]
    _dots(right, pairs.rename(columns={"kappa": "accuracy"}), names)
    right.axvline(0, color=GRAY, linestyle=":")
    right.set(title="error consistency", xlabel="kappa; dotted: by chance")
    return figure


def _dots(axis, rows: pd.DataFrame, names: pd.Series) -> None:
    """A dot with its interval per row, from the top down."""
    places = -np.arange(len(rows))
    for kind, own in rows.groupby("kind", sort=False):
        inside = places[(rows.kind == kind).to_numpy()]
        axis.errorbar(
            own.accuracy,
            inside,
            xerr=interval_errors(own),
            fmt="o",
            color=_COLORS[str(kind)],
            capsize=2,
            label=kind,
        )
    axis.set_yticks(places, list(names))
    axis.set_ylim(places.min() - 0.6 if len(places) else -1, 0.6)
    axis.legend(fontsize=7)
