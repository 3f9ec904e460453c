"""Figures of the causal analyses: novel vectors, probes, steering, correlation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .figures import COLORS, SPLIT_NAMES, STYLE

if TYPE_CHECKING:
    from .correlation import Correlation

# Okabe and Ito's remaining colors, for what is neither an attention stage nor a base line.
_HUES = (
    COLORS["within_object"],
    COLORS["within_pair"],
    COLORS["background"],
    COLORS["between_pair"],
    "#E69F00",
    "#56B4E9",
)


def correlation_figure(result: Correlation) -> Figure:
    """Accuracy against disentanglement, a panel for each split, one mark a run (paper, Fig. 6)."""
    with mpl.rc_context(STYLE):
        splits = list(dict.fromkeys(result.runs.split))
        figure = Figure(figsize=(3.3 * len(splits) + 0.4, 4.6), layout="constrained")
        axes = figure.subplots(1, len(splits), sharex=True, sharey=True, squeeze=False)[0]
        groups = list(dict.fromkeys(result.runs.group))
        marks = "osD^vPX*<>"
        for axis, split in zip(axes, splits):
            rows = result.runs[result.runs.split == split]
            for i, group in enumerate(groups):
                own = rows[rows.group == group]
                axis.plot(own.disentanglement, own.accuracy, marks[i % len(marks)], ms=9, mec="white",
                          color=_HUES[i % len(_HUES)], label=group, zorder=3)  # fmt: skip
            axis.axhline(0.5, color="black", ls=":", lw=1.2)
            if np.ptp(rows.disentanglement) > 0:
                slope, shift = np.polyfit(rows.disentanglement, rows.accuracy, 1)
                ends = np.array([rows.disentanglement.min(), rows.disentanglement.max()])
                axis.plot(ends, slope * ends + shift, color=COLORS["base"], lw=1.5, zorder=1)
            axis.set_title(SPLIT_NAMES.get(split, split).replace("\n", " "))
            axis.text(0.03, 0.03, "\n".join(_sentence(r) for r in _rows(result.frame, split)), fontsize=8.5,
                      transform=axis.transAxes, va="bottom")  # fmt: skip
            axis.set(xlabel="disentanglement\n(best DAS accuracy, shape and color)")
        axes[0].set(ylabel="accuracy", ylim=(0, 1.04), yticks=np.linspace(0, 1, 5))
        axes[0].text(axes[0].get_xlim()[1], 0.5, "guessing ", ha="right", va="bottom", fontsize=8.5)
        if any(result.frame.warning):
            n = int(result.frame.groups.min())
            figure.suptitle(f"Only {n} independent runs: too few to tell", fontsize=11, color=COLORS["within_pair"])
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(groups), 6), fontsize=9)
        return figure


def _rows(frame: pd.DataFrame, split: str):
    return frame[frame.split == split].itertuples()


def _sentence(row) -> str:
    symbol = {"pearson": "r", "spearman": "ρ"}[row.measure]
    return (
        f"{symbol} = {row.value:.2f}  [{row.ci_low:.2f}, {row.ci_high:.2f}]\n"
        f"    leave one out: {row.loo_low:.2f} to {row.loo_high:.2f}"
    )
