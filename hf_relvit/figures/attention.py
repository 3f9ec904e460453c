"""Figures of attention: which tokens object tokens attend to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..tables import largest, select
from .style import BLUE, GREEN, PURPLE, VERMILION, panels, styled, tint

if TYPE_CHECKING:
    from ..geometry import SceneGeometry

COLORS = {
    "within_object": BLUE,
    "within_pair": VERMILION,
    "between_pair": PURPLE,
    "background": GREEN,
}
NAMES = {
    "within_object": "within object (WO)",
    "within_pair": "within pair (WP)",
    "between_pair": "between pairs (BP)",
    "background": "background (BG)",
}
_VIEWER_COLUMNS = 4


@styled()
def attention_figure(frame: pd.DataFrame) -> Figure:
    """Local-global heat map over the strongest head of each kind by layer, with stars at the peaks (paper, Fig. 2).

    The heat map and the tint behind the lines show the between-object and background share of the attention of object
    tokens to the scene (CLS and registers left out): blue is local, red is global.
    """
    reach = head_reach(frame)
    layers = len(reach)
    heights = [1, 1.5]
    figure, axes = panels((5.4, 5.6), rows=2, sharex=True, height_ratios=heights)
    heat, lines = axes[:, 0]
    _heat_map(figure, heat, reach)
    tint(lines, reach.mean(axis=1), 1.08)
    strongest_heads(lines, frame)
    lines.set(
        xlim=(-0.5, layers - 0.5),
        ylim=(0, 1.08),
        xticks=range(layers),
        xlabel="layer",
    )
    lines.set_ylabel("share of attention,\nstrongest head")
    lines.set_title("★ marks the layer where each kind of attention peaks")
    lines.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    return figure


def _kinds(frame: pd.DataFrame) -> list[str]:
    measured = set(frame.kind)
    return [kind for kind in NAMES if kind in measured]


def _heat_map(figure: Figure, axis: Axes, reach: np.ndarray) -> None:
    heads = reach.shape[1]
    image = axis.imshow(
        reach.T,
        cmap="coolwarm",
        vmin=0,
        vmax=1,
        aspect="auto",
        origin="lower",
    )
    bar = figure.colorbar(image, ax=axis, ticks=[0, 0.5, 1], pad=0.02)
    bar.ax.set_yticklabels(["local", "½", "global"])
    step = 1 if heads <= 12 else 4
    axis.set(ylabel="head", yticks=range(0, heads, step))
    axis.set_title("Does a head look inside its object, or beyond it?")
    for spine in ("left", "bottom"):
        axis.spines[spine].set_visible(False)


def strongest_heads(axis: Axes, frame: pd.DataFrame) -> None:
    """One curve over the layers for each kind of attention: the strongest head of each layer."""
    for kind in _kinds(frame):
        _curve(axis, select(frame, kind=kind), kind)


def _curve(axis: Axes, rows: pd.DataFrame, kind: str) -> None:
    """The mean share of the strongest head of each layer with its interval, and a star where it peaks."""
    color = COLORS[kind]
    strongest = rows.groupby("layer")["mean"].idxmax()
    top = rows.loc[strongest].sort_values("layer")
    axis.fill_between(
        top.layer,
        top.ci_low,
        top.ci_high,
        color=color,
        alpha=0.3,
        lw=0,
    )
    # Where two kinds are equal, the wider line still shows around the narrower.
    width = 1.8
    style = "o-"
    if kind == "within_object":
        width = 5
        style = "s-"
    axis.plot(
        top.layer,
        top["mean"],
        style,
        color=color,
        label=NAMES[kind],
        lw=width,
        ms=width + 2,
    )
    _star(axis, largest(top, "mean"), color)


def _star(axis: Axes, peak: Any, color: str) -> None:
    """The mark of the layer where a kind of attention peaks."""
    axis.plot(
        peak.layer,
        peak["mean"],
        "*",
        color=color,
        ms=16,
        mec="white",
        mew=1,
    )


def attention_grid(frame: pd.DataFrame, kind: str) -> np.ndarray:
    """Mean shares of one kind of attention, float64 ``(layers, heads)``."""
    rows = select(frame, kind=kind)
    shares = rows.pivot(index="layer", columns="head", values="mean")
    return shares.to_numpy()


def head_reach(frame: pd.DataFrame) -> np.ndarray:
    """How far each head looks, 0 (local) to 1 (global): float64 ``(layers, heads)``.

    Between-object and background share of the attention of object tokens to the scene (CLS and registers left out).
    """
    local = attention_grid(frame, "within_object")
    kinds = [kind for kind in _kinds(frame) if kind != "within_object"]
    far = sum(attention_grid(frame, kind) for kind in kinds)
    share = far / np.maximum(local + far, 1e-9)
    return np.clip(share, 0, 1)


@styled()
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
        heads: why each (layer, head) is shown.
        geometry: of the scene.
    """
    count = len(heads) + 1
    columns = min(count, _VIEWER_COLUMNS)
    rows = -(-count // columns)
    figure, axes = panels((2.1 * columns, 2.4 * rows), rows, columns)
    for axis in axes.flat[:count]:
        framed_picture(axis, image, object_frame(patches, geometry))
    axes.flat[0].set_title("the object that looks\n", fontsize=9)
    for axis, (place, reason) in zip(axes.flat[1:], heads.items()):
        layer, head = place
        _overlay(axis, _attended(maps[place], patches, geometry.grid), image.shape)
        axis.set_title(f"{reason}\nlayer {layer}, head {head}", fontsize=9)
    for axis in axes.flat[count:]:
        axis.set_visible(False)
    return figure


def _attended(shares: np.ndarray, patches: np.ndarray, grid: int) -> np.ndarray:
    """Mean share of attention from ``patches`` to each patch, ``(grid, grid)``; ``shares`` of one head, ``(S, S)``."""
    prefix = len(shares) - grid * grid
    attended = shares[patches + prefix, prefix:].mean(axis=0)
    return attended.reshape(grid, grid)


def framed_picture(axis: Axes, image: np.ndarray, frame: Rectangle) -> None:
    """A scene in a thin border, with the frame of one of its objects."""
    axis.imshow(image)
    axis.add_patch(frame)
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set(visible=True, color="#bbbbbb")


def object_frame(
    patches: np.ndarray,
    geometry: SceneGeometry,
    color: str = "black",
    width: float = 1.5,
) -> Rectangle:
    """The outline of an object in pixels; ``width`` of the line in points."""
    rows, columns = np.divmod(patches, geometry.grid)
    left, top = columns.min(), rows.min()
    wide = int(columns.max() - left + 1) * geometry.patch_size
    high = int(rows.max() - top + 1) * geometry.patch_size
    corner = (geometry.patch_size * int(left) - 0.5, geometry.patch_size * int(top) - 0.5)
    return Rectangle(corner, wide, high, fill=False, ec=color, lw=width)


def _overlay(axis: Axes, attended: np.ndarray, shape: tuple[int, ...]) -> None:
    """Attention per patch over a picture of ``shape`` (height, width, ...)."""
    height, width = shape[:2]
    axis.imshow(
        attended,
        cmap="Reds",
        alpha=0.75,
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        vmin=0,
        vmax=attended.max(),
        interpolation="nearest",
    )
