"""Figures of the causal analyses: alignments, novel vectors, probes, steering, correlation."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..words import TARGET_NAMES, split_name
from .style import COLORS, STYLE, tint

# Okabe and Ito's remaining colors, for what is neither an attention stage nor a base line.
_HUES = (
    COLORS["within_object"],
    COLORS["within_pair"],
    COLORS["background"],
    COLORS["between_pair"],
    "#E69F00",
    "#56B4E9",
)

_NOVEL = {
    "known": ("another object's", "o-"),
    "added": ("two added", "s-"),
    "interpolated": ("two averaged", "^-"),
    "sampled": ("sampled", "D--"),
    "random": ("random", "v--"),
}
_BASELINES = {
    "subspace": "in the subspace",
    "full_residual": "whole residual",
    "blank_image": "objects erased first",
}


def alignment_figure(scores: pd.DataFrame, reach: np.ndarray | None = None) -> Figure:
    """Accuracy of interchange interventions by layer: a row for each split, a column a property (paper, Fig. 3).

    Args:
        scores: rows of ``das.score_alignment`` of any layers, splits and controls, with ``weights``: "trained", or
            "random" for an alignment found in the same network with random weights.
        reach: see ``figures.tint``; here and below.
    """
    with mpl.rc_context(STYLE):
        rows = scores[scores.condition == "all"]
        properties, splits = list(dict.fromkeys(rows.property)), list(dict.fromkeys(rows.split))
        figure = Figure(
            figsize=(max(2.9 * len(properties), 4.6), 2.3 * len(splits) + 1.3), layout="constrained"
        )
        axes = figure.subplots(
            len(splits), len(properties), sharex=True, sharey=True, squeeze=False
        )
        for i, split in enumerate(splits):
            for j, prop in enumerate(properties):
                axis, of = (
                    axes[i, j],
                    rows[(rows.property == prop) & (rows.split == split)].sort_values("layer"),
                )
                trained, cause = of[of.weights == "trained"], of[of.score == "cause"]
                found = cause[(cause.control == "none") & (cause.weights == "trained")]
                _line(axis, found, COLORS["within_object"], "o-", "the object's property")
                _line(
                    axis,
                    trained[trained.control == "wrong_object"],
                    COLORS["within_pair"],
                    "s--",
                    "wrong object's",
                )
                _line(
                    axis,
                    trained[trained.score == "isolate"],
                    COLORS["background"],
                    "^:",
                    "other property kept",
                )
                chance = cause[(cause.control == "none") & (cause.weights == "random")]
                _line(axis, chance, COLORS["between_pair"], "v-.", "random weights")
                if len(chance):  # such a network says one thing to all, so its floor is another one
                    axis.plot(chance.layer, chance.floor, ":", color=COLORS["between_pair"], lw=3,
                              label="random weights, no edit")  # fmt: skip
                _unedited(axis, found)
                _layers(axis, found.layer, reach)
                axis.set_title(f"{prop}, {split_name(split)}", fontsize=10)
        for axis in axes[-1]:
            axis.set_xlabel("layer")
        for axis in axes[:, 0]:
            axis.set_ylabel("accuracy after the swap")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9)
        return figure


def search_figure(history: pd.DataFrame) -> Figure:
    """Loss and size of the soft mask of an alignment search, by epoch.

    Args:
        history: one row per epoch, ``epoch, loss, mask``.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.4, 3.2), layout="constrained")
        left = figure.subplots()
        right = left.twinx()
        left.plot(history.epoch, history.loss, "o-", color=COLORS["within_object"], ms=4)
        right.plot(history.epoch, history["mask"], "s--", color=COLORS["within_pair"], ms=4)
        left.set(xlabel="epoch", ylim=(0, None))
        left.set_ylabel("loss", color=COLORS["within_object"])
        right.set_ylabel("directions in the mask", color=COLORS["within_pair"])
        right.set_ylim(0, None)
        right.spines["right"].set_visible(True)
        return figure


def correlation_figure(frame: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Accuracy against disentanglement, a panel for each split, one mark a run (paper, Fig. 6)."""
    with mpl.rc_context(STYLE):
        splits = list(dict.fromkeys(runs.split))
        figure = Figure(figsize=(3.3 * len(splits) + 0.4, 4.6), layout="constrained")
        axes = figure.subplots(1, len(splits), sharex=True, sharey=True, squeeze=False)[0]
        groups = list(dict.fromkeys(runs.group))
        marks = "osD^vPX*<>"
        for axis, split in zip(axes, splits):
            rows = runs[runs.split == split]
            for i, group in enumerate(groups):
                own = rows[rows.group == group]
                axis.plot(own.disentanglement, own.accuracy, marks[i % len(marks)], ms=9, mec="white",
                          color=_HUES[i % len(_HUES)], label=group, zorder=3)  # fmt: skip
            axis.axhline(0.5, color="black", ls=":", lw=1.2)
            if np.ptp(rows.disentanglement) > 0:
                slope, shift = np.polyfit(rows.disentanglement, rows.accuracy, 1)
                ends = np.array([rows.disentanglement.min(), rows.disentanglement.max()])
                axis.plot(ends, slope * ends + shift, color=COLORS["base"], lw=1.5, zorder=1)
            axis.set_title(split_name(split))
            axis.text(0.03, 0.03, "\n".join(_sentence(r) for r in _rows(frame, split)), fontsize=8.5,
                      transform=axis.transAxes, va="bottom")  # fmt: skip
            axis.set(xlabel="disentanglement\n(best DAS accuracy, shape and color)")
        axes[0].set(ylabel="accuracy", ylim=(0, 1.04), yticks=np.linspace(0, 1, 5))
        axes[0].text(axes[0].get_xlim()[1], 0.5, "guessing ", ha="right", va="bottom", fontsize=8.5)
        if any(frame.warning):
            n = int(frame.groups.min())
            figure.suptitle(
                f"Only {n} independent runs: too few to tell",
                fontsize=11,
                color=COLORS["within_pair"],
            )
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", ncols=min(len(groups), 6), fontsize=9
        )
        return figure


def _rows(frame: pd.DataFrame, split: str):
    return frame[frame.split == split].itertuples()


def _sentence(row) -> str:
    symbol = {"pearson": "r", "spearman": "ρ"}[row.measure]
    return (
        f"{symbol} = {row.value:.2f}  [{row.ci_low:.2f}, {row.ci_high:.2f}]\n"
        f"    leave one out: {row.loo_low:.2f} to {row.loo_high:.2f}"
    )


def probe_figure(frame: pd.DataFrame, reach: np.ndarray | None = None) -> Figure:
    """Probe accuracy by layer, a panel for each target and form, over its shuffled-label control and the floor."""
    with mpl.rc_context(STYLE):
        kinds = sorted(
            set(zip(frame.target, frame.form)), key=lambda kind: [*TARGET_NAMES].index(kind[0])
        )
        columns = min(len(kinds), 3)
        rows = -(-len(kinds) // columns)
        figure = Figure(figsize=(max(2.5 * columns, 3.6), 2.4 * rows + 0.6), layout="constrained")
        axes = np.atleast_1d(figure.subplots(rows, columns, sharex=True, sharey=True)).ravel()
        for axis, (target, form) in zip(axes, kinds):
            of = frame[(frame.target == target) & (frame.form == form)].sort_values("layer")
            trained = of[of.condition == "trained"]
            _line(axis, trained, COLORS["within_object"], "o-", "probe, 95 % interval")
            _line(
                axis,
                of[of.condition == "shuffled"],
                COLORS["within_pair"],
                "s--",
                "fitted to shuffled labels",
            )
            axis.plot(
                trained.layer,
                trained.floor,
                ":",
                color="black",
                lw=1.2,
                label="always the commonest",
            )
            _layers(axis, trained.layer, reach)
            axis.set_title(f"{TARGET_NAMES[target]}\n{form} probe", fontsize=10)
            axis.set_xlabel("layer")
            axis.tick_params(labelbottom=True)
        for axis in axes[len(kinds) :]:
            axis.set_visible(False)
        for axis in axes[::columns]:
            axis.set_ylabel("accuracy")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", ncols=3 if columns > 1 else 1, fontsize=9
        )
        return figure


def steering_figure(frame: pd.DataFrame, reach: np.ndarray | None = None) -> Figure:
    """How often a push along the probe's direction flips the answer: a row for each pair, a column for each alpha."""
    with mpl.rc_context(STYLE):
        pairs, alphas = list(dict.fromkeys(frame.pair)), sorted(frame.alpha.unique())
        figure = Figure(
            figsize=(max(2.1 * len(alphas), 4.8), 2.2 * len(pairs) + 1.1), layout="constrained"
        )
        axes = figure.subplots(len(pairs), len(alphas), sharex=True, sharey=True, squeeze=False)
        lines = (
            ("flip", COLORS["within_object"], "o-", "push to the other relation"),
            ("agree", COLORS["within_pair"], "s--", "push to its own"),
            ("shuffled", COLORS["background"], "^:", "other relation, shuffled probe"),
        )
        for i, pair in enumerate(pairs):
            for j, alpha in enumerate(alphas):
                axis, of = (
                    axes[i, j],
                    frame[(frame.pair == pair) & (frame.alpha == alpha)].sort_values("layer"),
                )
                for condition, color, style, label in lines:
                    _line(axis, of[of.condition == condition], color, style, label)
                _unedited(axis, of[of.condition == "flip"])
                _layers(axis, of.layer, reach)
                title = (
                    f"α = {alpha:g}, {of[of.condition == 'flip'].relative_norm.mean():.0%} as long"
                )
                axis.set_title(f"{pair} pair, {title}" if len(pairs) > 1 else title, fontsize=10)
        for axis in axes[-1]:
            axis.set_xlabel("layer")
        for axis in axes[:, 0]:
            axis.set_ylabel("share of flipped answers")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9)
        return figure


def novel_figure(frame: pd.DataFrame, reach: np.ndarray | None = None) -> Figure:
    """Accuracy with injected vectors by layer: a row for each baseline, a column for each property (paper, Fig. 4)."""
    with mpl.rc_context(STYLE):
        rows = frame[frame.condition == "all"]
        properties, baselines = (
            list(dict.fromkeys(rows.property)),
            list(dict.fromkeys(rows.baseline)),
        )
        figure = Figure(
            figsize=(max(2.9 * len(properties), 4.6), 2.1 * len(baselines) + 1.3),
            layout="constrained",
        )
        axes = figure.subplots(
            len(baselines), len(properties), sharex=True, sharey=True, squeeze=False
        )
        methods = list(dict.fromkeys(rows.method))
        for i, baseline in enumerate(baselines):
            for j, prop in enumerate(properties):
                axis, of = (
                    axes[i, j],
                    rows[(rows.baseline == baseline) & (rows.property == prop)].sort_values(
                        "layer"
                    ),
                )
                for color, method in zip(_HUES, methods):
                    label, style = _NOVEL[method]
                    _line(axis, of[of.method == method], color, style, label)
                _unedited(axis, of[of.method == methods[0]])
                _layers(axis, of.layer, reach)
                axis.set_title(f"{prop}, {_BASELINES[baseline]}", fontsize=10)
        for axis in axes[-1]:
            axis.set_xlabel("layer")
        for axis in axes[:, 0]:
            axis.set_ylabel("accuracy")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9)
        return figure


def _line(axis, rows: pd.DataFrame, color: str, style: str, label: str) -> None:
    """A measure by layer with its interval; nothing if it was not taken."""
    if rows.empty:
        return
    axis.fill_between(rows.layer, rows.ci_low, rows.ci_high, color=color, alpha=0.25, lw=0)
    if len(rows) == 1:  # a band over one layer has no width
        axis.vlines(rows.layer, rows.ci_low, rows.ci_high, color=color, lw=1.5)
    axis.plot(rows.layer, rows.accuracy, style, color=color, ms=4, label=label)


def _unedited(axis, rows: pd.DataFrame) -> None:
    """What the model says without an edit: how often its own answer is right, how often the edit's answer is."""
    own, new = dict(color=COLORS["base"], lw=1), dict(color="black", lw=1.2, ls=":")
    if len(rows) == 1:
        ends = rows.layer - 0.5, rows.layer + 0.5
        axis.hlines(rows.base_accuracy, *ends, label="no edit, own answer", **own)
        axis.hlines(rows.floor, *ends, label="no edit, new answer", **new)
        return
    axis.plot(rows.layer, rows.base_accuracy, label="no edit, own answer", **own)
    axis.plot(rows.layer, rows.floor, label="no edit, new answer", **new)


def _layers(axis, layers: pd.Series, reach: np.ndarray | None) -> None:
    """Both axes of a chart of accuracies by layer, and its tint."""
    ticks = sorted(set(layers))
    tint(axis, reach, 1.06, -0.04)
    axis.set(xlim=(ticks[0] - 0.5, ticks[-1] + 0.5), xticks=ticks, ylim=(-0.04, 1.06))
