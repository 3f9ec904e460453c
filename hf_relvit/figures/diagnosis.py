"""The evidence of a diagnosis at a glance."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..words import split_name
from .style import COLORS, STYLE

READINGS = {
    "yes": (COLORS["within_object"], "yes"),
    "no": (COLORS["within_pair"], "no"),
    "unclear": (COLORS["base"], "unclear"),
    "silent": ("#CCCCCC", "cannot tell here"),
}
STAGES = {
    "behavior": ("What it answers", "#FFFFFF"),
    "perceptual": ("Perceptual stage: are objects held apart?", "#E8EEF8"),
    "relational": ("Relational stage: are they compared?", "#FBEAE6"),
}
MARKS = {"test": "o", "test_compositional": "s"}


def diagnosis_figure(criteria: pd.DataFrame) -> Figure:
    """Each criterion's value with its interval, threshold and control, stage by stage.

    Args:
        criteria: of ``Diagnosis.to_frame``.
    """
    with mpl.rc_context(STYLE):
        splits = list(dict.fromkeys(criteria.split))
        rows: list[str | None] = []  # from top to bottom; None where a stage's heading stands
        bands = {}
        for stage in STAGES:
            first = len(rows)
            rows += [None, *dict.fromkeys(criteria[criteria.stage == stage].name)]
            bands[stage] = first, len(rows)
        figure = Figure(figsize=(5.4, 0.56 * len(rows) + 1.0), layout="constrained")
        axis = figure.subplots()
        for stage, (first, end) in bands.items():
            heading, color = STAGES[stage]
            axis.axhspan(first - 0.45, end - 0.45, color=color, lw=0, zorder=0)
            axis.text(0, first + 0.1, heading, va="center", fontsize=10.5, fontweight="bold")
        for criterion in criteria.itertuples():
            row = rows.index(criterion.name)
            y = (
                row
                + 0.24
                + (0.17 * (2 * splits.index(criterion.split) - 1) if len(splits) > 1 else 0.0)
            )
            color, _ = READINGS[criterion.reading]
            name = criterion.name if criterion.decides else f"({criterion.name})"
            if criterion.split == splits[0]:
                axis.text(0, row - 0.21, name, va="center", fontsize=9.5)
            axis.plot([0, 1], [y, y], color="#B8BFC7", lw=0.5, zorder=1)
            axis.plot(
                [criterion.ci_low, criterion.ci_high],
                [y, y],
                color=color,
                lw=3,
                solid_capstyle="butt",
            )
            axis.plot(
                criterion.value,
                y,
                MARKS[criterion.split],
                color=color,
                ms=6.5,
                mec="white",
                mew=0.7,
                zorder=4,
            )
            axis.plot(
                [criterion.threshold] * 2, [y - 0.13, y + 0.13], color="black", lw=1.5, zorder=3
            )
            if np.isfinite(criterion.control):
                axis.plot(
                    criterion.control, y, "D", ms=4.5, mfc="white", mec="black", mew=0.9, zorder=3
                )
        axis.set(
            xlim=(-0.02, 1.02),
            ylim=(len(rows) - 0.45, -0.45),
            yticks=[],
            xticks=np.linspace(0, 1, 5),
        )
        axis.set_xlabel("accuracy")
        axis.spines["left"].set_visible(False)
        shown = [reading for reading in READINGS if (criteria.reading == reading).any()]
        handles = [Line2D([], [], color=READINGS[r][0], lw=4, label=READINGS[r][1]) for r in shown]
        if len(splits) > 1:
            handles += [
                Line2D([], [], marker=MARKS[s], ls="", color="#555555", label=split_name(s))
                for s in splits
            ]
        handles.append(
            Line2D([], [], marker="|", ms=10, mew=1.5, ls="", color="black", label="threshold")
        )
        diamond = {"marker": "D", "ms": 4.5, "ls": "", "mfc": "white", "mec": "black"}
        handles.append(Line2D([], [], **diamond, label="strongest control"))  # pyright: ignore[reportArgumentType]
        figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=9)
        return figure
