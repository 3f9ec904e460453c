"""Figures of a tour: one swap with its scenes, and effects beside their controls over many scenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..claims import Reading
from ..geometry import SceneGeometry
from .attention import framed_picture, object_frame
from .style import BLUE, GRAY, VERMILION, grid_of, panels, styled

_WAYS = {
    "before": ("no edit", GRAY),
    "swap": ("swap", BLUE),
    "wrong_object": ("wrong object's", VERMILION),
    "random_directions": ("random directions", VERMILION),
}
_SCENES = (
    ("this object is changed", BLUE),
    ("it takes over from this one", VERMILION),
)
_PARTS = {
    "different": "different to same",
    "same": "same to different",
    "wrong_object": "wrong object's",
    "random_tokens": "random tokens",
    "random_directions": "random directions",
    "random_weights": "random weights",
    "shuffled_labels": "shuffled labels",
    "added": "two added",
    "interpolated": "two averaged",
    "sampled": "sampled",
    "random": "random vectors",
    "agree": "to its own relation",
    "shuffled": "shuffled probe",
}
"""Part of a reading -> its name beside its interval."""


@styled()
def swap_figure(
    pictures: Sequence[np.ndarray],
    patches: Sequence[np.ndarray],
    geometry: SceneGeometry,
    same: Mapping[str, float],
    reading: Reading,
) -> Figure:
    """One pair of scenes, the model's answers, and how often the same happens.

    Args:
        pictures: the scene and the one that the property is taken from, uint8 ``(side, side, 3)`` each.
        patches: of the object that is changed, and of the one that gives, int64 ``(patches,)`` each.
        geometry: of the scenes.
        same: way of the swap -> probability of "same".
        reading: of swaps over many pairs.
    """
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    halves: Any = figure.subfigures(2, 1, height_ratios=[1.45, 1])
    above, below = halves
    for i, axis in enumerate(above.subplots(1, 2)):
        title, color = _SCENES[i]
        frame = object_frame(patches[i], geometry, color, 2.5)
        framed_picture(axis, pictures[i], frame)
        axis.set_title(title, fontsize=10)
    answers, shares = below.subplots(1, 2)
    _answers(answers, same)
    _shares(shares, reading, "swap")
    shares.set_title(f"{reading.effect.n} pairs", fontsize=10)
    return figure


@styled()
def shares_figure(readings: Sequence[Reading], effect: str) -> Figure:
    """Effects (blue) beside their controls (orange), with 95 % intervals; a panel per reading.

    Args:
        readings: of one analysis.
        effect: its name.
    """
    rows, columns = grid_of(len(readings))
    most = max(len(reading.parts) for reading in readings)
    width = max(3.3 * columns, 4.6)
    height = rows * (0.36 * most + 1.1)
    figure, axes = panels((width, height), rows, columns)
    for axis, reading in zip(axes.flat, readings):
        _shares(axis, reading, effect)
        title = f"{reading.subject}, layer {reading.layer}, n = {reading.effect.n}"
        axis.set_title(title, fontsize=10)
    for axis in axes.flat[len(readings) :]:
        axis.set_visible(False)
    return figure


def _answers(axis: Axes, same: Mapping[str, float]) -> None:
    """Probability of "same" of one pair, by way of the swap."""
    names = []
    for row, way in enumerate(_WAYS):
        words, color = _WAYS[way]
        names.append(words)
        _line(axis, row)
        _dot(axis, same[way], row, color, 9)
    axis.axvline(0.5, color="black", ls=":", lw=1.2)
    _name_rows(axis, names)
    axis.set_xticks([0, 0.5, 1], ["different", "", "same"])
    axis.set_title("this pair", fontsize=10)


def _shares(axis: Axes, reading: Reading, effect: str) -> None:
    """The parts of a reading: shares of answers that follow; dotted is doing nothing."""
    words = {**_PARTS, "effect": effect}
    names = []
    for row, key in enumerate(reading.parts):
        names.append(words[key])
        color = VERMILION if key in reading.controls else BLUE
        part = reading.parts[key]
        _line(axis, row)
        axis.plot(
            [part.low, part.high],
            [row, row],
            color=color,
            lw=3,
            solid_capstyle="butt",
        )
        _dot(axis, part.value, row, color, 7)
    floor = reading.effect.floor
    if floor is not None:
        axis.axvline(floor, color="black", ls=":", lw=1.2)
    _name_rows(axis, names)
    axis.set_xticks([0, 0.5, 1])
    axis.set_xlabel("answers that follow")


def _line(axis: Axes, row: int) -> None:
    axis.plot([0, 1], [row, row], color="#B8BFC7", lw=0.5, zorder=1)


def _dot(
    axis: Axes,
    value: float,
    row: int,
    color: str,
    size: int,
) -> None:
    axis.plot(value, row, "o", color=color, ms=size, mec="white")


def _name_rows(axis: Axes, names: Sequence[str]) -> None:
    axis.set_yticks(range(len(names)), names, fontsize=9)
    axis.set(xlim=(-0.05, 1.05), ylim=(len(names) - 0.4, -0.6))
