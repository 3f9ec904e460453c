"""Styles of objects beyond ours: outlines, lines, arrows, bricks, bits, drawn from descriptions by our own code.

1. A style draws candidates from a seed of its own: segments ``(n, segments, 2, 2)`` with a width, polygons, or bits.
2. A pixel of the drawing belongs to the object if its center is near a segment, inside the polygon, or a bit.
3. Of the candidates the first ones are kept that can be told apart at the sizes of our sprites, 12 to 24 pixels.

After the sets of Puebla & Bowers (2022, doi:10.1167/jov.22.10.11, and 2024), the bits of PSVRT (Kim, Ricci & Serre,
2018) and the contours of SVRT (Fleuret et al., 2011), from their descriptions alone: compare results in kind, not
image by image. Sizes, widths and counts are our choice, so that a drawing can be read at 16 pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.random import Generator

from ..errors import RelViTError, nearest
from .objects import PALETTE, ObjectSet
from .objects import open_objects as own_objects
from .silhouettes import MASK_SIZE, resized

SIDE = 48
"""Pixels of a drawing, which are enlarged to those of masks by a whole factor."""
WIDTH = 1 / 11
"""Of a line, as a share of the side: a pixel and more at 12 pixels."""
_SIZES = (12, 16, 21, 24)
"""Of sprites of our geometries, pixels."""
_LEAST = 1 / 48
_CANDIDATES = 512
_ROUNDS = 40
_BLACK = np.zeros((1, 3), dtype=np.uint8)

Draw = Callable[[Generator, int], np.ndarray]


@dataclass(frozen=True)
class Style:
    """One way to draw objects.

    Attributes:
        name: of the style, in configs.
        description: one sentence.
        draw: from a random generator and ``n`` to drawings, bool ``(n, SIDE, SIDE)``.
        colored: 16 + 4 shapes in our colors; else 256 + 64 shapes in black.
    """

    name: str
    description: str
    draw: Draw
    colored: bool = False

    def objects(self) -> ObjectSet:
        """Its shapes, in and out of distribution, always the same ones; without noise."""
        return _objects(self)


def polar(radius: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Points around the middle of the unit square: ``(...)`` each -> ``(..., 2)``, x and y."""
    x = 0.5 + radius * np.cos(angle)
    y = 0.5 + radius * np.sin(angle)
    return np.stack([x, y], axis=-1)


def closed(points: np.ndarray) -> np.ndarray:
    """The sides of polygons: ``(n, corners, 2)`` -> ``(n, corners, 2, 2)``."""
    return np.stack([points, np.roll(points, -1, axis=1)], axis=2)


def stroke(segments: np.ndarray, width: float = WIDTH) -> np.ndarray:
    """Pixels whose center is at most half a width away from a segment, bool ``(n, SIDE, SIDE)``."""
    drawn = np.zeros((len(segments), SIDE, SIDE), dtype=bool)
    for number in range(segments.shape[1]):
        drawn |= _distance(segments[:, number]) <= width / 2
    return drawn


def _centers() -> tuple[np.ndarray, np.ndarray]:
    """x ``(1, SIDE)`` and y ``(SIDE, 1)`` of the pixels."""
    middle = (np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE
    return middle[None], middle[:, None]


def _distance(segment: np.ndarray) -> np.ndarray:
    """Of all pixels from a segment ``(n, 2, 2)``, float32 ``(n, SIDE, SIDE)``."""
    x, y = _centers()
    start, end = segment.astype(np.float32).transpose(1, 2, 0)[..., None, None]
    along = end - start
    length = np.maximum((along**2).sum(axis=0), 1e-9)
    share = ((x - start[0]) * along[0] + (y - start[1]) * along[1]) / length
    share = share.clip(0, 1)
    across = x - start[0] - share * along[0]
    down = y - start[1] - share * along[1]
    return np.hypot(across, down)


def filled(points: np.ndarray) -> np.ndarray:
    """Inside of polygons ``(n, corners, 2)``: an odd number of sides lies to the right, bool ``(n, SIDE, SIDE)``."""
    x, y = _centers()
    inside = np.zeros((len(points), SIDE, SIDE), dtype=bool)
    sides = closed(points)
    for number in range(points.shape[1]):
        (x1, y1), (x2, y2) = sides[:, number].transpose(1, 2, 0)[..., None, None]
        at_height = (y1 < y) != (y2 < y)
        rise = np.where(y1 == y2, 1, y2 - y1)
        crossing = x1 + (y - y1) * (x2 - x1) / rise
        inside ^= at_height & (x < crossing)
    return inside


def irregular_corners(rng: Generator, n: int, corners: int = 7) -> np.ndarray:
    """Corners at about equal angles and at random distances from the middle, ``(n, corners, 2)``."""
    step = 2 * np.pi / corners
    turn = rng.uniform(0, 2 * np.pi, (n, 1))
    wobble = rng.uniform(-0.35, 0.35, (n, corners))
    angle = turn + step * (np.arange(corners) + wobble)
    radius = rng.uniform(0.1, 0.46, (n, corners))
    return polar(radius, angle)


def regular(rng: Generator, n: int) -> np.ndarray:
    """Polygons of 3 to 8 sides; eight steps along the corners close each of them."""
    sides = rng.integers(3, 9, (n, 1))
    turn = rng.uniform(0, 2 * np.pi, (n, 1))
    radius = rng.uniform(0.26, 0.45, (n, 1))
    corner = np.arange(9) % sides
    angle = turn + 2 * np.pi * corner / sides
    points = polar(np.broadcast_to(radius, angle.shape), angle)
    return stroke(np.stack([points[:, :-1], points[:, 1:]], axis=2))


def irregular(rng: Generator, n: int, width: float = WIDTH) -> np.ndarray:
    return stroke(closed(irregular_corners(rng, n)), width)


def wide_line(rng: Generator, n: int) -> np.ndarray:
    return irregular(rng, n, 2 * WIDTH)


def opened(rng: Generator, n: int) -> np.ndarray:
    """Without two neighboring sides."""
    sides = closed(irregular_corners(rng, n))
    return stroke(sides[:, :-2])


def filled_irregular(rng: Generator, n: int) -> np.ndarray:
    return filled(irregular_corners(rng, n))


def box(left, top, right, bottom) -> np.ndarray:
    """Corners of rectangles, four arrays ``(n,)`` -> ``(n, 4, 2)``."""
    x = np.stack([left, right, right, left], axis=-1)
    y = np.stack([top, top, bottom, bottom], axis=-1)
    return np.stack([x, y], axis=-1)


def squares(rng: Generator, n: int) -> np.ndarray:
    """Turned squares, half of them without one side."""
    half = rng.uniform(0.24, 0.44, (n, 1))
    turn = rng.uniform(0, np.pi / 2, (n, 1))
    quarter = np.pi / 2 * (np.arange(4) + rng.integers(0, 4, (n, 1)))
    sides = closed(polar(np.broadcast_to(half, (n, 4)), turn + quarter))
    is_open = rng.random(n) < 0.5
    sides[is_open, 3] = sides[is_open, 2]
    return stroke(sides)


def rectangles(rng: Generator, n: int) -> np.ndarray:
    wide, high = rng.uniform(0.08, 0.44, (2, n))
    x, y = (rng.uniform(-1, 1, n) * (0.45 - half) + 0.5 for half in (wide, high))
    return stroke(closed(box(x - wide, y - high, x + wide, y + high)))


def straight_lines(rng: Generator, n: int) -> np.ndarray:
    """One line each, of any direction, length and place in its square."""
    ends = rng.uniform(0.06, 0.94, (n, 1, 2, 2))
    short = np.hypot(*(ends[:, 0, 0] - ends[:, 0, 1]).T) < 0.35
    ends[short, 0, 1] = 1 - ends[short, 0, 0]
    return stroke(ends)


def _two_halves(rng: Generator, n: int) -> tuple[np.ndarray, ...]:
    """Middles ``(n, 2)`` and half sides ``(n,)`` of two figures in opposite parts of the square."""
    turn = rng.uniform(0, 2 * np.pi, n)
    one = polar(np.full(n, 0.28), turn)
    other = polar(np.full(n, 0.28), turn + np.pi)
    sizes = rng.uniform(0.11, 0.18, (2, n))
    return one, other, *sizes


def connected_squares(rng: Generator, n: int) -> np.ndarray:
    """Two squares, and a line between their middles."""
    one, other, first, second = _two_halves(rng, n)
    parts = [np.stack([one, other], axis=1)[:, None]]
    for (x, y), half in ((one.T, first), (other.T, second)):
        parts.append(closed(box(x - half, y - half, x + half, y + half)))
    return stroke(np.concatenate(parts, axis=1))


def connected_circles(rng: Generator, n: int) -> np.ndarray:
    """Two circles of 16 sides, and a line between their middles."""
    one, other, first, second = _two_halves(rng, n)
    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    parts = [np.stack([one, other], axis=1)[:, None]]
    for middle, radius in ((one, first), (other, second)):
        around = polar(radius[:, None], angle) - 0.5
        parts.append(closed(middle[:, None] + around))
    return stroke(np.concatenate(parts, axis=1))


def arrows(rng: Generator, n: int) -> np.ndarray:
    """A shaft with a head, or with heads at both ends."""
    turn = rng.uniform(0, 2 * np.pi, n)
    length = rng.uniform(0.3, 0.44, n)
    tip = polar(length, turn)
    tail = polar(length, turn + np.pi)
    wing = rng.uniform(0.18, 0.34, n)
    spread = rng.uniform(0.35, 1.1, n)
    parts = [np.stack([tail, tip], axis=1)]
    double = rng.random(n) < 0.5
    for end, back in ((tip, turn + np.pi), (tail, turn)):
        for side in (-1, 1):
            wing_end = end + polar(wing, back + side * spread) - 0.5
            if end is tail:
                wing_end = np.where(double[:, None], wing_end, tail)
            parts.append(np.stack([end, wing_end], axis=1))
    return stroke(np.stack(parts, axis=1))


def bricks(rng: Generator, n: int) -> np.ndarray:
    """Lego-like: columns of bricks of random heights on one floor, a stud on top of each column."""
    columns = 5
    heights = rng.integers(0, 4, (n, columns))
    heights[heights.max(axis=1) == 0, 0] = 1
    x, y = _centers()
    drawn = np.zeros((n, SIDE, SIDE), dtype=bool)
    for column in range(columns):
        left = 0.02 + 0.19 * column
        height = heights[:, column, None, None]
        top = 0.98 - 0.27 * height
        body = (x >= left) & (x < left + 0.19) & (y >= top) & (y < 0.98)
        stud = (x >= left + 0.05) & (x < left + 0.15) & (y >= top - 0.1) & (y < top)
        drawn |= (height > 0) & (body | stud)
    return drawn


def bits(rng: Generator, n: int) -> np.ndarray:
    """4 x 4 random bits, half of them black."""
    order = rng.permuted(np.tile(np.arange(16), (n, 1)), axis=1)
    cells = (order < 8).reshape(n, 4, 4)
    return cells.repeat(SIDE // 4, axis=1).repeat(SIDE // 4, axis=2)


def contours(rng: Generator, n: int) -> np.ndarray:
    """Smooth closed curves: a circle with four random waves, of 32 sides."""
    angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    waves = np.arange(1, 5)[:, None]
    size = rng.uniform(0, 0.5, (n, 4, 1)) / np.sqrt(waves)
    start = rng.uniform(0, 2 * np.pi, (n, 4, 1))
    radius = 1 + (size * np.cos(waves * angle + start)).sum(axis=1)
    radius = np.maximum(radius, 0.25)
    longest = radius.max(axis=1, keepdims=True)
    return stroke(closed(polar(0.44 * radius / longest, angle)))


_ALL = (
    Style("irregular", "outlines of irregular polygons", irregular),
    Style("regular", "outlines of regular polygons of 3 to 8 sides", regular),
    Style("open", "outlines of irregular polygons without two sides", opened),
    Style("wide_line", "outlines of irregular polygons, twice as wide", wide_line),
    Style("random_color", "outlines of irregular polygons in our colors", irregular, colored=True),
    Style("filled", "filled irregular polygons", filled_irregular),
    Style("squares", "turned squares, open on one side or closed", squares),
    Style("rectangles", "outlines of upright rectangles", rectangles),
    Style("straight_lines", "single straight lines", straight_lines),
    Style("connected_squares", "two squares and a line between them", connected_squares),
    Style("connected_circles", "two circles and a line between them", connected_circles),
    Style("arrows", "arrows with one head or two", arrows),
    Style("bricks", "Lego-like: columns of bricks with studs", bricks),
    Style("bits", "PSVRT: patterns of 4 x 4 bits", bits),
    Style("contours", "SVRT: smooth closed contours", contours),
)
STYLES = {style.name: style for style in _ALL}
"""By name. The order is part of the random draws: append."""


def style_of(name: str) -> Style:
    """The style of a name.

    Raises:
        RelViTError: no such style.
    """
    if name not in STYLES:
        known = ", ".join(STYLES)
        raise RelViTError(f"unknown style {name!r}: expected one of {known}{nearest(name, STYLES)}")
    return STYLES[name]


def parse_style(config: str) -> tuple[str | None, str]:
    """The style that a config such as "irregular-b16-256" begins with, or None, and the rest."""
    head, _, rest = config.partition("-")
    return (head, rest) if head in STYLES else (None, config)


def open_objects(
    masks: str | Path | None = None,
    palette: str | Path | None = None,
    style: str | None = None,
) -> ObjectSet:
    """Your own shapes and colors (``ObjectSet.from_folder``), those of a style, or ours if nothing is named.

    Raises:
        RelViTError: a palette without masks, a style with masks, an unknown style, or a folder that
            ``ObjectSet.from_folder`` refuses.
    """
    if style is None:
        return own_objects(masks, palette)
    if masks is not None or palette is not None:
        raise RelViTError(f"masks {masks} with style {style}: name one of them")
    return style_of(style).objects()


@lru_cache(maxsize=len(_ALL))
def _objects(style: Style) -> ObjectSet:
    rng = np.random.default_rng([17, list(STYLES).index(style.name)])
    shapes = 16 if style.colored else 256
    drawn = _distinct(style, rng, shapes + shapes // 4)
    factor = MASK_SIZE // SIDE
    masks = drawn.repeat(factor, axis=1).repeat(factor, axis=2)
    if style.colored:
        return ObjectSet(masks, PALETTE, n_shapes=shapes, n_colors=16, noise_sd=0)
    return ObjectSet(masks, _BLACK, n_shapes=shapes, n_colors=1, noise_sd=0)


def _distinct(style: Style, rng: Generator, count: int) -> np.ndarray:
    """The first drawings that differ from each other in ``_LEAST`` of the pixels of their sprites, in every size."""
    drawings = np.empty((0, SIDE, SIDE), dtype=bool)
    kept: list[int] = []
    for _ in range(_ROUNDS):
        drawn = style.draw(rng, _CANDIDATES)
        drawings = np.concatenate([drawings[kept], drawn])
        apart = _can_be_told_apart(drawings)
        kept = list(range(len(kept)))
        for number in range(len(kept), len(drawings)):
            if apart[number, kept].all() and apart[number, number]:
                kept.append(number)
            if len(kept) == count:
                return drawings[kept]
    raise AssertionError(f"style {style.name}: {len(kept)} of {count} shapes can be told apart")


def _can_be_told_apart(drawings: np.ndarray) -> np.ndarray:
    """Which drawings differ enough, bool ``(n, n)``, and on the diagonal which have enough pixels at all."""
    apart = np.ones((len(drawings), len(drawings)), dtype=bool)
    for size in _SIZES:
        sprites = resized(drawings, size).reshape(len(drawings), -1).astype(np.float32)
        area = sprites.sum(axis=1)
        common = sprites @ sprites.T
        differing = area[:, None] + area - 2 * common
        np.fill_diagonal(differing, area)
        apart &= differing >= _LEAST * size**2
    return apart
