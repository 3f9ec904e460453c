"""Procedural surfaces for table and wall: ten families in two random colors each (the paper only says "random")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.spatial import KDTree

SIZE = 768
"""Side of a texture, pixels."""
SIDE = 10.0
"""Side of a texture in the scene, in object radii; mirrored beyond."""

_Map = Callable[[np.random.Generator, np.ndarray, np.ndarray], np.ndarray]


def texture(family: int, colors: np.ndarray, seed: int) -> np.ndarray:
    """A surface.

    Args:
        family: index into FAMILIES.
        colors: ``(2, 3)``, sRGB in 0..1.
        seed: of everything random in it.

    Returns:
        uint8 ``(768, 768, 3)``, sRGB.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    pixels = np.mgrid[:SIZE, :SIZE]
    y, x = pixels * (SIDE / SIZE)  # in object radii
    name = FAMILIES[family]
    pattern = _FAMILIES[name](rng, x, y)
    mix = np.clip(pattern, 0, 1)
    share = mix[..., None]
    coarse = 0.12 * _ripple(rng, 1.0)
    fine = 0.05 * _ripple(rng, 0.2)
    grain = 1 + coarse + fine  # nothing real is perfectly even
    first, second = np.asarray(colors, dtype=np.float64)
    paint = first * (1 - share) + second * share
    shown = paint * grain[..., None]
    levels = np.clip(shown, 0, 1) * 255
    return np.rint(levels).astype(np.uint8)


def _fog(rng: np.random.Generator, power: float, stretch: float = 1.0) -> np.ndarray:
    """Noise of a falling spectrum, 0..1 on average ``(SIZE, SIZE)``; the greater ``power``, the smoother."""
    across = np.fft.rfftfreq(SIZE)
    down = np.fft.fftfreq(SIZE)[:, None]
    frequency = np.hypot(across, down * stretch)
    frequency[0, 0] = np.inf  # no constant part
    shape = (SIZE, SIZE)
    white = rng.standard_normal(shape)
    spectrum = np.fft.rfft2(white) / frequency**power
    field = np.fft.irfft2(spectrum, s=shape)
    return 0.5 + 0.2 * field / field.std()


def _ripple(rng: np.random.Generator, power: float, stretch: float = 1.0) -> np.ndarray:
    """Fog around 0."""
    return _fog(rng, power, stretch) - 0.5


def _cells(
    x: np.ndarray,
    y: np.ndarray,
    width: float,
    height: float,
    shift: float = 0.0,
):
    """A grid whose rows are shifted against each other: cell numbers, and place in the cell in 0..1."""
    down = y / height
    row = np.floor(down)
    across = x / width + shift * row
    column = np.floor(across)
    cell = row.astype(int) * 512 + column.astype(int)
    return cell, across % 1, down % 1


def _shade(rng: np.random.Generator, cell: np.ndarray) -> np.ndarray:
    """A random number in 0..1 for each cell."""
    _, number = np.unique(cell, return_inverse=True)
    shades = rng.random(number.max() + 1)
    return shades[number].reshape(cell.shape)


def _edge(
    u: np.ndarray,
    v: np.ndarray,
    width: float,
    height: float,
    gap: float,
) -> np.ndarray:
    """1 in the joints between cells, 0 inside."""
    across = np.minimum(u, 1 - u) * width
    down = np.minimum(v, 1 - v) * height
    distance = np.minimum(across, down)
    depth = 1.5 - distance / gap
    return np.clip(depth, 0, 1)


def _wood(rng, x, y):
    width = rng.uniform(0.9, 1.8)
    start = rng.uniform(0, 9)
    cell, u, v = _cells(y + start, x, 6.0, width, 0.37)
    center = 3 * _shade(rng, cell)
    waves = 0.9 * _fog(rng, 1.6, 0.1)
    distance = center + v * 1.5 + waves
    rings = np.sin(6.3 * distance)
    fibers = 0.6 * _ripple(rng, 0.9, 0.04)
    tone = 0.35 * _shade(rng, cell)
    plank = tone + 0.25 * rings + fibers + 0.35
    joints = _edge(u, v, 6.0, width, 0.025)
    return np.maximum(plank, joints)


def _marble(rng, x, y):
    angle = rng.uniform(0, np.pi)
    pitch = rng.uniform(0.8, 1.6)
    along = x * np.cos(angle) + y * np.sin(angle)
    bends = 9 * _fog(rng, 1.7)
    phase = pitch * along + bends
    vein = np.abs(np.sin(phase))
    clouds = 0.45 * (_fog(rng, 1.5) - 0.3)
    return (1 - vein) ** 4 + clouds


def _brick(rng, x, y):
    width = rng.uniform(1.0, 1.6)
    height = width * 0.4
    cell, u, v = _cells(x, y, width, height, 0.5)
    tone = 0.35 * _shade(rng, cell)
    clay = tone + 0.25 * _ripple(rng, 0.8)
    joints = _edge(u, v, width, height, 0.045)
    return np.maximum(clay, joints)


def _checks(rng, x, y):
    side = rng.uniform(0.5, 1.2)
    column = np.floor(x / side)
    row = np.floor(y / side)
    return (column + row) % 2


def _stripes(rng, x, y):
    pitch = rng.uniform(0.5, 1.4)
    share = rng.uniform(0.3, 0.6)
    phase = x / pitch % 1
    wide = phase < share
    begun = phase > share + 0.12
    ended = phase >= share + 0.2
    narrow = begun & ~ended
    return wide + 0.5 * narrow


def _cloth(rng, x, y):
    thread = 0.045
    warp = np.sin(2 * np.pi * x / thread / 2)
    weft = np.sin(2 * np.pi * y / thread / 2)
    weave = 0.5 + 0.5 * warp * weft
    relief = 0.3 * (weave - 0.5)
    pitch = rng.uniform(0.9, 1.8)
    share = rng.uniform(0.2, 0.5)
    columns = x / pitch % 1 < share
    rows = y / pitch % 1 < share
    plaid = 0.5 * columns + 0.5 * rows
    return 0.8 * plaid + relief + 0.1


def _tiles(rng, x, y):
    side = rng.uniform(0.7, 1.4)
    cell, u, v = _cells(x, y, side, side)
    tone = 0.3 * _shade(rng, cell)
    glaze = tone + 0.2 * _ripple(rng, 1.4)
    joints = _edge(u, v, side, side, 0.035)
    return np.maximum(glaze, joints)


def _plaster(rng, x, y):
    roughness = rng.uniform(0.9, 1.5)
    return 0.5 + 1.1 * _ripple(rng, roughness)


def _dots(rng, x, y):
    pitch = rng.uniform(0.6, 1.2)
    radius = rng.uniform(0.18, 0.34)
    _, u, v = _cells(x, y, pitch, pitch, 0.5)
    distance = np.hypot(u - 0.5, v - 0.5)
    cover = (radius - distance) * 25 + 0.5
    return np.clip(cover, 0, 1)


def _terrazzo(rng, x, y):
    count = int(rng.integers(500, 1500))
    chips = rng.uniform(0, SIDE, (count, 2))
    places = np.stack([x, y], -1)
    pairs: Any = KDTree(chips).query(places, k=2)
    distances, numbers = pairs
    nearest = numbers[..., 0]
    first, second = np.moveaxis(distances, -1, 0)
    depth = (second - first) / 0.08
    inside = np.clip(depth - 0.4, 0, 1)
    tones = rng.random(count)
    tone = tones[nearest]
    chosen = tone > 0.35
    return inside * chosen * (0.35 + 0.65 * tone)


_FAMILIES: dict[str, _Map] = {
    "wood": _wood,
    "marble": _marble,
    "brick": _brick,
    "checks": _checks,
    "stripes": _stripes,
    "cloth": _cloth,
    "tiles": _tiles,
    "plaster": _plaster,
    "dots": _dots,
    "terrazzo": _terrazzo,
}
FAMILIES = tuple(_FAMILIES)
"""Names of the families."""
