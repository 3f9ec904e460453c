"""One style for all figures; every figure is drawn from a saved table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..files import atomic_write
from ..words import split_name

if TYPE_CHECKING:
    from ..geometry import SceneGeometry

# Okabe and Ito's palette: told apart with any color vision.
COLORS = {
    "within_object": "#0072B2",
    "within_pair": "#D55E00",
    "between_pair": "#CC79A7",
    "background": "#009E73",
    "base": "#999999",
}
NAMES = {
    "within_object": "within object (WO)",
    "within_pair": "within pair (WP)",
    "between_pair": "between pairs (BP)",
    "background": "background (BG)",
}
STYLE = {
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
"""Per format of figures, what matplotlib would write into them that differs from machine to machine."""


def save_figure(figure: Figure, path: Path) -> None:
    """Write PNG (150 dots per inch) and SVG; no date inside, so equal tables give equal files.

    Args:
        figure: any.
        path: with the ending .png or .svg, that one; without, both are written beside each other.
    """
    for file in paths_by_format(Path(path)):
        with mpl.rc_context(STYLE), atomic_write(file) as temporary:
            kind = file.suffix.lstrip(".")
            figure.savefig(temporary, format=kind, dpi=150, metadata=METADATA[file.suffix])


def paths_by_format(path: Path) -> list[Path]:
    """The files that a figure is written to: ``path`` if it ends in .png or .svg, else one file per format."""
    if path.suffix in METADATA:
        return [path]
    return [path.with_name(path.name + ending) for ending in METADATA]


def attention_figure(frame: pd.DataFrame) -> Figure:
    """Local-global heat map over the strongest head of each kind by layer, with stars at the peaks (paper, Fig. 2).

    The heat map and the tint behind the lines show the between-object and background share of what object tokens
    spend on the scene (CLS and registers left out): blue is local, red is global.
    """
    with mpl.rc_context(STYLE):
        kinds = [kind for kind in NAMES if (frame.kind == kind).any()]
        reach = head_reach(frame)
        layers, heads = reach.shape
        figure = Figure(figsize=(5.4, 5.6), layout="constrained")
        heat, lines = figure.subplots(2, 1, sharex=True, height_ratios=[1, 1.5])
        image = heat.imshow(reach.T, cmap="coolwarm", vmin=0, vmax=1, aspect="auto", origin="lower")
        bar = figure.colorbar(image, ax=heat, ticks=[0, 0.5, 1], pad=0.02)
        bar.ax.set_yticklabels(["local", "½", "global"])
        heat.set(ylabel="head", yticks=range(heads) if heads <= 12 else range(0, heads, 4))
        heat.set_title("Does a head look inside its object, or beyond it?")
        for spine in ("left", "bottom"):
            heat.spines[spine].set_visible(False)
        tint(lines, reach.mean(1), 1.08)
        for kind in kinds:
            rows = frame[frame.kind == kind]
            top = rows.loc[rows.groupby("layer")["mean"].idxmax()].sort_values("layer")
            lines.fill_between(
                top.layer, top.ci_low, top.ci_high, color=COLORS[kind], alpha=0.3, lw=0
            )
            # Where two kinds are equal, the wider line still shows around the narrower.
            width, marker = (5, "s") if kind == "within_object" else (1.8, "o")
            lines.plot(
                top.layer,
                top["mean"],
                f"{marker}-",
                color=COLORS[kind],
                label=NAMES[kind],
                lw=width,
                ms=width + 2,
            )
            best = top.loc[top["mean"].idxmax()]
            lines.plot(best.layer, best["mean"], "*", color=COLORS[kind], ms=16, mec="white", mew=1)
        lines.set(xlim=(-0.5, layers - 0.5), ylim=(0, 1.08), xticks=range(layers), xlabel="layer")
        lines.set_ylabel("share of attention,\nstrongest head")
        lines.set_title("★ marks the layer where each kind of attention peaks")
        lines.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
        return figure


def attention_grid(frame: pd.DataFrame, kind: str) -> np.ndarray:
    """Mean shares of one kind of attention, float64 ``(layers, heads)``."""
    rows = frame[frame.kind == kind]
    return rows.pivot(index="layer", columns="head", values="mean").to_numpy()


def head_reach(frame: pd.DataFrame) -> np.ndarray:
    """How far each head looks, 0 (local) to 1 (global): float64 ``(layers, heads)``.

    The between-object and background share of what object tokens spend on the scene (CLS and registers left out).
    """
    local = attention_grid(frame, "within_object")
    kinds = [kind for kind in NAMES if kind != "within_object" and (frame.kind == kind).any()]
    far = sum(attention_grid(frame, kind) for kind in kinds)
    return np.clip(far / np.maximum(local + far, 1e-9), 0, 1)


def tint(axis, reach: np.ndarray | None, top: float = 1.06, bottom: float = 0.0) -> None:
    """Color the background of a chart by layer, from local (blue) to global (red), as the paper's figures do.

    Args:
        reach: mean of each layer's heads, ``(layers,)``; None for no tint.
        top, bottom: of the chart.
    """
    if reach is not None:
        axis.imshow(reach[None], cmap="coolwarm", vmin=0, vmax=1, aspect="auto", alpha=0.22, zorder=0,
                    extent=(-0.5, len(reach) - 0.5, bottom, top))  # fmt: skip


def short_split_name(split: str) -> str:
    """The name of a split over two lines, for axes."""
    return split_name(split).replace(" + ", "\n+ ")


def accuracy_figure(table: pd.DataFrame) -> Figure:
    """Accuracy by split with Wilson intervals, beside the random-weights base and the floor."""
    with mpl.rc_context(STYLE):
        rows = table[table.condition == "all"]
        figure = Figure(figsize=(5.4, 3.6), layout="constrained")
        axis = figure.subplots()
        x = np.arange(len(rows))
        error = np.abs(np.stack([rows.accuracy - rows.ci_low, rows.ci_high - rows.accuracy]))
        axis.bar(
            x,
            rows.accuracy,
            0.6,
            color=COLORS["within_object"],
            label="trained model, 95 % interval",
        )
        axis.errorbar(x, rows.accuracy, error, fmt="none", color="black", capsize=4, lw=1.2)
        axis.plot(
            x,
            rows.base_accuracy,
            "D",
            color="white",
            mec="black",
            ms=6,
            label="same model, random weights",
        )
        axis.axhline(rows.floor.iloc[0], color="black", ls=":", lw=1.2, label="guessing")
        for i, value in enumerate(rows.ci_high):
            axis.text(
                i,
                value + 0.015,
                f"{rows.accuracy.iloc[i]:.3f}".lstrip("0"),
                ha="center",
                fontsize=10,
            )
        axis.set(ylim=(0, 1.12), xticks=x, ylabel="accuracy", yticks=np.linspace(0, 1, 5))
        axis.set_xticklabels(
            [short_split_name(split) for split in rows.split], fontsize=10, rotation=30, ha="right"
        )
        axis.legend(loc="upper center", bbox_to_anchor=(0.45, -0.3), ncols=2, fontsize=10)
        return figure


def history_figure(log: list[dict], floor: float = 0.5) -> Figure:
    """Training loss and validation accuracy by step, from the Trainer's log."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.4, 3.2), layout="constrained")
        left = figure.subplots()
        right = left.twinx()
        terms = {
            "task_loss": "task loss",
            "disentanglement_loss": "disentanglement",
            "pipeline_loss": "pipeline",
        }
        if not any("task_loss" in row for row in log):
            terms = {"loss": "training loss"}
        for style, (key, name) in zip(("-", "--", ":"), terms.items()):
            rows = [(row["step"], row[key]) for row in log if key in row]
            if rows:
                left.plot(*zip(*rows), style, color=COLORS["background"], label=name)
        rows = [
            (row["step"], row["eval_validation_accuracy"])
            for row in log
            if "eval_validation_accuracy" in row
        ]
        right.plot(
            *zip(*rows), "o-", color=COLORS["within_object"], ms=4, label="validation accuracy"
        )
        right.axhline(floor, color="black", ls=":", lw=1.2)
        left.set(xlabel="training step", ylabel="loss", ylim=(0, None))
        right.set(ylabel="accuracy", ylim=(0, 1.02))
        right.spines["right"].set_visible(True)
        handles = left.get_legend_handles_labels()[0] + right.get_legend_handles_labels()[0]
        left.legend(
            handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=4, fontsize=9
        )
        return figure


def viewer_figure(
    image: np.ndarray,
    patches: np.ndarray,
    maps: np.ndarray,
    heads: dict[tuple[int, int], str],
    geometry: SceneGeometry,
) -> Figure:
    """Where the tokens of the first object look, head by head, on one picture (paper, Figs 21 and 22).

    Args:
        image: uint8 ``(height, width, 3)``.
        patches: patch ids of the looking object, int64 ``(patches,)``.
        maps: ``(layers, heads, S, S)``; the last ``grid * grid`` positions of S are the patches.
        heads: what each (layer, head) to show is known for.
        geometry: of the scene.
    """
    with mpl.rc_context(STYLE):
        columns = min(len(heads) + 1, 4)
        rows = -(-(len(heads) + 1) // columns)
        figure = Figure(figsize=(2.1 * columns, 2.4 * rows), layout="constrained")
        axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
        grid, size = geometry.grid, geometry.patch_size
        prefix = maps.shape[-1] - grid * grid
        corner = divmod(int(patches.min()), grid)
        side = geometry.object_size
        for axis, item in zip(axes, [None, *heads]):
            axis.imshow(image)
            axis.add_patch(
                Rectangle(
                    (corner[1] * size - 0.5, corner[0] * size - 0.5),
                    side,
                    side,
                    fill=False,
                    ec="black",
                    lw=1.5,
                )
            )
            if item is None:
                axis.set_title("the object that looks\n", fontsize=9)
            else:
                layer, head = item
                row = maps[layer, head, patches + prefix, prefix:].mean(0).reshape(grid, grid)
                extent = (-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5)
                axis.imshow(
                    row,
                    cmap="Reds",
                    alpha=0.75,
                    extent=extent,
                    vmin=0,
                    vmax=row.max(),
                    interpolation="nearest",
                )
                axis.set_title(f"{heads[item]}\nlayer {layer}, head {head}", fontsize=9)
        for axis in axes:
            axis.set(xticks=[], yticks=[])
            for spine in axis.spines.values():
                spine.set(visible=True, color="#bbbbbb")
        for axis in axes[len(heads) + 1 :]:
            axis.set_visible(False)
        return figure
