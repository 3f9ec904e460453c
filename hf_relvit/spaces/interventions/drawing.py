"""Pictures of the page as SVG and HTML text: sharp at any size, small, and drawn in a millisecond."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape

import numpy as np

from hf_relvit.geometry import SceneGeometry
from hf_relvit.stimuli.png import encode_png
from hf_relvit.stimuli.scenes import LABELS

from .state import PlacedObject
from .text import percent

KIND_NAMES = {
    "within_object": "own object",
    "within_pair": "other object of the pair",
    "between_pair": "other pair",
    "background": "background",
    "cls": "class token",
    "registers": "registers",
}


def board(
    picture: np.ndarray,
    things: Iterable[tuple[str, PlacedObject, bool]],
    geometry: SceneGeometry,
    heat: np.ndarray | None = None,
    label: str = "",
) -> str:
    """A scene with the grid of its patches, a named frame around each object and, optionally, attention.

    Args:
        picture: uint8 ``(side, side, 3)``.
        things: name, object, and whether it is selected.
        geometry: of the scene.
        heat: attention on each patch, ``(patches,)``, darker is more, relative to its maximum.
        label: for screen readers.
    """
    side, patch = geometry.image_size, geometry.patch_size
    unit = _unit(geometry)
    data = base64.b64encode(encode_png(np.ascontiguousarray(picture))).decode()
    parts = [f'<image href="data:image/png;base64,{data}" width="{side}" height="{side}"/>']
    steps = "".join(f"M0 {at}H{side}M{at} 0V{side}" for at in range(patch, side, patch))
    parts.append(f'<path class="grid" d="{steps}" stroke-width="{0.12 * unit:g}"/>')
    if heat is not None:
        parts += _heat_map(heat, geometry)
    parts.append(
        f'<rect class="edge" width="{side}" height="{side}" stroke-width="{0.3 * unit:g}"/>'
    )
    for name, placed, selected in things:
        parts.append(_frame(name, placed, selected, geometry))
    box = f"{-3 * unit:g} {-3 * unit:g} {side + 4 * unit:g} {side + 4 * unit:g}"
    return f'<svg class="board" viewBox="{box}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


def _unit(geometry: SceneGeometry) -> float:
    """Pixels per unit of lines and letters, which keep their size on the page."""
    return geometry.image_size / 64


def _heat_map(heat: np.ndarray, geometry: SceneGeometry) -> Iterator[str]:
    """A square per patch, as dark as its attention."""
    patch = geometry.patch_size
    top = max(float(heat.max()), 1e-9)
    for i, value in enumerate(heat.tolist()):
        row, column = divmod(i, geometry.grid)
        yield (
            f'<rect class="heat" x="{column * patch}" y="{row * patch}" width="{patch}" height="{patch}" '
            f'opacity="{0.75 * (value / top) ** 1.5:.3f}"><title>{percent(value)} of the attention</title></rect>'
        )


def _frame(
    name: str,
    placed: PlacedObject,
    selected: bool,
    geometry: SceneGeometry,
) -> str:
    """The square around an object, with its name."""
    patch, size = geometry.patch_size, geometry.object_size
    unit = _unit(geometry)
    x, y = placed.column * patch, placed.row * patch
    kind, wide = ("object selected", 1.1) if selected else ("object", 0.5)
    return (
        f'<g class="{kind}"><rect x="{x}" y="{y}" width="{size}" height="{size}" rx="{unit:g}" '
        f'stroke-width="{wide * unit:g}"/>'
        f'<circle cx="{x + 0.6 * unit:g}" cy="{y + 0.6 * unit:g}" r="{3 * unit:g}"/>'
        f'<text x="{x + 0.6 * unit:g}" y="{y + 2.2 * unit:g}" font-size="{4.6 * unit:g}">{escape(name)}</text></g>'
    )


def gauges(rows: list[tuple[str, float, str]]) -> str:
    """Probabilities of "same" as dots on a scale from different to same.

    Args:
        rows: label, probability, and a class for style: "before", "edit" or "control".
    """
    parts = []
    for label, same, kind in rows:
        answer = int(same > 0.5)
        own = percent(same if answer else 1 - same)
        parts.append(
            f'<div class="gauge {kind}"><span class="what">{escape(label)}</span>'
            f'<span class="track" role="img" aria-label="{LABELS[answer]}, {own}">'
            f'<i style="left:{100 * same:.1f}%"></i></span>'
            f'<span class="answer {LABELS[answer]}">{LABELS[answer]} <small>{own}</small></span></div>'
        )
    return f'<div class="gauges"><div class="ends"><span>different</span><span>same</span></div>{"".join(parts)}</div>'


def stages(shares: np.ndarray, kinds: tuple[str, ...], chosen: int) -> str:
    """Where the pair's tokens prediction, layer by layer, as stacked columns; mean of all heads.

    Args:
        shares: ``(layers, heads, kinds)``.
        kinds: their names, see ``attention.KINDS``.
        chosen: layer to mark.
    """
    mean = shares.mean(1)
    shown = [i for i in range(len(kinds)) if mean[:, i].max() > 1e-6]
    columns = []
    for layer, values in enumerate(mean.tolist()):
        bands = "".join(
            f'<i class="{kinds[i]}" style="flex-grow:{values[i]:.4f}" '
            f'title="{KIND_NAMES[kinds[i]]}: {percent(values[i])}"></i>'
            for i in shown
        )
        mark = " chosen" if layer == chosen else ""
        columns.append(
            f'<div class="column{mark}"><div class="stack">{bands}</div><b>{layer}</b></div>'
        )
    spoken = "; ".join(
        f"layer {layer}: "
        + ", ".join(f"{KIND_NAMES[kinds[i]]} {percent(values[i])}" for i in shown)
        for layer, values in enumerate(mean.tolist())
    )
    legend = [(KIND_NAMES[kinds[i]], kinds[i]) for i in shown]
    chart = f'<div class="stages" role="img" aria-label="{escape(spoken)}">{"".join(columns)}</div>'
    return f"{chart}<p class='axis'>layer</p>{_legend(legend)}"


def curves(
    lines: list[tuple[str, str, np.ndarray]],
    chosen: int,
    *,
    level: tuple[str, float] | None = None,
    intervals: np.ndarray | None = None,
    ends: tuple[str, str] = ("different", "same"),
) -> str:
    """Lines over layers, from 0 to 1.

    Args:
        lines: name, class for style, values ``(layers,)``; NaN leaves a gap.
        chosen: layer to mark.
        level: name and height of a horizontal line.
        intervals: low and high of the first line, ``(2, layers)``.
        ends: the meaning of 0 and 1.
    """
    _, _, first = lines[0]
    plane = _Plane(len(first))
    parts = list(plane.frame(chosen, ends))
    if level is not None:
        height = plane.y(level[1])
        parts.append(f'<path class="level" d="M{plane.left} {height:.1f}H{plane.right}"/>')
    if intervals is not None:
        parts.append(plane.intervals(intervals))
    parts += [plane.line(kind, values) for _, kind, values in lines]  # the controls last: thinner
    spoken = "; ".join(f"{name}: {_spoken(values)}" for name, _, values in lines)
    legend = [(name, f"line {kind}") for name, kind, _ in lines]
    if level is not None:
        legend.append((level[0], "line level"))
    box = f"0 0 {plane.width} {plane.height}"
    svg = f'<svg class="curves" viewBox="{box}" role="img" aria-label="{escape(spoken)}">{"".join(parts)}</svg>'
    return f"{svg}<p class='axis'>layer after which it happens</p>{_legend(legend)}"


def _measured(values: np.ndarray) -> list[tuple[int, float]]:
    """Layers and values, without those that were not measured."""
    return [(i, value) for i, value in enumerate(values.tolist()) if np.isfinite(value)]


def _spoken(values: np.ndarray) -> str:
    return ", ".join(f"layer {i} {percent(value)}" for i, value in _measured(values))


@dataclass(frozen=True)
class _Plane:
    """A chart of values from 0 to 1 over layers, in units of its own."""

    layers: int
    width = 400
    height = 170
    left = 62
    right = 392
    top = 10
    floor = 144

    def x(self, layer: float) -> float:
        return self.left + (layer + 0.5) * (self.right - self.left) / self.layers

    def y(self, value: float) -> float:
        return self.top + (1 - value) * (self.floor - self.top)

    def frame(self, chosen: int, ends: tuple[str, str]) -> Iterator[str]:
        """The chosen layer marked, lines at 0, one half and 1, and the names of axes."""
        start = self.x(chosen - 0.5)
        step = self.x(1) - self.x(0)
        deep = self.floor - self.top
        yield f'<rect class="column" x="{start:.1f}" y="{self.top}" width="{step:.1f}" height="{deep}"/>'
        lines = [f"M{self.left} {self.y(value):.1f}H{self.right}" for value in (0, 0.5, 1)]
        yield f'<path class="frame" d="{"".join(lines)}"/>'
        beside = self.left - 8
        low, high = ends
        yield f'<text class="end" x="{beside}" y="{self.y(1) + 9:.1f}">{high}</text>'
        yield f'<text class="end" x="{beside}" y="{self.y(0):.1f}">{low}</text>'
        below = self.height - 8
        for i in range(self.layers):
            yield f'<text class="tick" x="{self.x(i):.1f}" y="{below}">{i}</text>'

    def intervals(self, bounds: np.ndarray) -> str:
        """Bars from low to high, of ``(2, layers)``."""
        _, high = bounds.tolist()
        bars = []
        for i, value in _measured(bounds[0]):
            bars.append(f"M{self.x(i):.1f} {self.y(value):.1f}V{self.y(high[i]):.1f}")
        return f'<path class="interval" d="{"".join(bars)}"/>'

    def line(self, kind: str, values: np.ndarray) -> str:
        """A line with dots; layers that were not measured are left out."""
        radius = 5.5 if kind == "edit" else 3
        points = [(self.x(i), self.y(value)) for i, value in _measured(values)]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        start = "M" if points else ""
        dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>' for x, y in points]
        return f'<g class="line {kind}"><path d="{start}{path}"/>{"".join(dots)}</g>'


def _legend(items: list[tuple[str, str]]) -> str:
    return (
        '<p class="legend">'
        + "".join(f'<span><i class="{k}"></i>{escape(n)}</span>' for n, k in items)
        + "</p>"
    )
