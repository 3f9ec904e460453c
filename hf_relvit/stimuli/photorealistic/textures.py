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
    pattern = _FAMILIES[FAMILIES[family]]
    mix = np.clip(pattern(rng, x, y), 0, 1)
    share = mix[..., None]
    coarse = 0.12 * (_fog(rng, 1.0) - 0.5)
    fine = 0.05 * (_fog(rng, 0.2) - 0.5)
    grain = 1 + coarse + fine  # nothing real is perfectly even
    first, second = np.asarray(colors, dtype=np.float64)
    paint = first * (1 - share) + second * share
    shown = np.clip(paint * grain[..., None], 0, 1)
    return np.rint(shown * 255).astype(np.uint8)


def _fog(rng: np.random.Generator, power: float, stretch: float = 1.0) -> np.ndarray:
    """Noise of a falling spectrum, 0..1 on average ``(SIZE, SIZE)``; the greater ``power``, the smoother."""
    across = np.fft.rfftfreq(SIZE)
    down = np.fft.fftfreq(SIZE)[:, None]
    frequency = np.hypot(across, down * stretch)
    frequency[0, 0] = np.inf
    white = rng.standard_normal((SIZE, SIZE))
    spectrum = np.fft.rfft2(white) / frequency**power
    field = np.fft.irfft2(spectrum, s=(SIZE, SIZE))
    return 0.5 + 0.2 * field / field.std()


def _cells(
    x: np.ndarray,
    y: np.ndarray,
    width: float,
    height: float,
    shift: float = 0.0,
):
    """A grid whose rows are shifted against each other: cell numbers, and place in the cell in 0..1."""
    row = np.floor(y / height)
    column = x / width + shift * row
    cell = row.astype(int) * 512 + np.floor(column).astype(int)
    return cell, column % 1, y / height % 1


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
    return np.clip(1.5 - distance / gap, 0, 1)


def _wood(rng, x, y):
    width = rng.uniform(0.9, 1.8)
    start = rng.uniform(0, 9)
    cell, u, v = _cells(y + start, x, 6.0, width, 0.37)
    center = 3 * _shade(rng, cell)
    waves = 0.9 * _fog(rng, 1.6, 0.1)
    rings = np.sin(6.3 * (center + v * 1.5 + waves))
    fine = _fog(rng, 0.9, 0.04)
    tone = 0.35 * _shade(rng, cell)
    plank = tone + 0.25 * rings + 0.6 * (fine - 0.5) + 0.35
    joints = _edge(u, v, 6.0, width, 0.025)
    return np.maximum(plank, joints)


def _marble(rng, x, y):
    angle = rng.uniform(0, np.pi)
    pitch = rng.uniform(0.8, 1.6)
    along = x * np.cos(angle) + y * np.sin(angle)
    phase = pitch * along + 9 * _fog(rng, 1.7)
    vein = np.abs(np.sin(phase))
    clouds = 0.45 * (_fog(rng, 1.5) - 0.3)
    return (1 - vein) ** 4 + clouds


def _brick(rng, x, y):
    width = rng.uniform(1.0, 1.6)
    height = width * 0.4
    cell, u, v = _cells(x, y, width, height, 0.5)
    tone = 0.35 * _shade(rng, cell)
    clay = tone + 0.25 * (_fog(rng, 0.8) - 0.5)
    joints = _edge(u, v, width, height, 0.045)
    return np.maximum(clay, joints)


def _checks(rng, x, y):
    side = rng.uniform(0.5, 1.2)
    number = np.floor(x / side) + np.floor(y / side)
    return number % 2 * 1.0


def _stripes(rng, x, y):
    pitch = rng.uniform(0.5, 1.4)
    share = rng.uniform(0.3, 0.6)
    phase = x / pitch % 1
    wide = phase < share
    narrow = (phase > share + 0.12) & (phase < share + 0.2)
    return wide * 1.0 + 0.5 * narrow


def _cloth(rng, x, y):
    thread = 0.045
    warp = np.sin(2 * np.pi * x / thread / 2)
    weft = np.sin(2 * np.pi * y / thread / 2)
    weave = 0.5 + 0.5 * warp * weft
    pitch = rng.uniform(0.9, 1.8)
    share = rng.uniform(0.2, 0.5)
    columns = x / pitch % 1 < share
    rows = y / pitch % 1 < share
    plaid = 0.5 * columns + 0.5 * rows
    return 0.8 * plaid + 0.3 * (weave - 0.5) + 0.1


def _tiles(rng, x, y):
    side = rng.uniform(0.7, 1.4)
    cell, u, v = _cells(x, y, side, side)
    tone = 0.3 * _shade(rng, cell)
    glaze = tone + 0.2 * (_fog(rng, 1.4) - 0.5)
    joints = _edge(u, v, side, side, 0.035)
    return np.maximum(glaze, joints)


def _plaster(rng, x, y):
    roughness = rng.uniform(0.9, 1.5)
    return 0.5 + 1.1 * (_fog(rng, roughness) - 0.5)


def _dots(rng, x, y):
    pitch = rng.uniform(0.6, 1.2)
    radius = rng.uniform(0.18, 0.34)
    _, u, v = _cells(x, y, pitch, pitch, 0.5)
    distance = np.hypot(u - 0.5, v - 0.5)
    return np.clip((radius - distance) * 25 + 0.5, 0, 1)


def _terrazzo(rng, x, y):
    count = int(rng.integers(500, 1500))
    chips = rng.uniform(0, SIDE, (count, 2))
    places = np.stack([x, y], -1)
    pairs: Any = KDTree(chips).query(places, k=2)
    distance, chip = pairs
    tone = rng.random(len(chips))
    nearest = chip[..., 0]
    margin = distance[..., 1] - distance[..., 0]
    chosen = tone > 0.35
    inside = np.clip(margin / 0.08 - 0.4, 0, 1) * chosen[nearest]
    return inside * (0.35 + 0.65 * tone[nearest])


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
