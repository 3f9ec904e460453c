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
    y, x = np.mgrid[:SIZE, :SIZE] * (SIDE / SIZE)  # in object radii
    mix = np.clip(_FAMILIES[FAMILIES[family]](rng, x, y), 0, 1)[..., None]
    grain = (
        1 + 0.12 * (_fog(rng, 1.0) - 0.5) + 0.05 * (_fog(rng, 0.2) - 0.5)
    )  # nothing real is perfectly even
    first, second = np.asarray(colors, dtype=np.float64)
    return np.rint(
        np.clip((first * (1 - mix) + second * mix) * grain[..., None], 0, 1) * 255
    ).astype(np.uint8)


def _fog(rng: np.random.Generator, power: float, stretch: float = 1.0) -> np.ndarray:
    """Noise of a falling spectrum, 0..1 on average ``(SIZE, SIZE)``; the greater ``power``, the smoother."""
    across, down = np.fft.rfftfreq(SIZE), np.fft.fftfreq(SIZE)[:, None]
    frequency = np.hypot(across, down * stretch)
    frequency[0, 0] = np.inf
    field = np.fft.irfft2(
        np.fft.rfft2(rng.standard_normal((SIZE, SIZE))) / frequency**power, s=(SIZE, SIZE)
    )
    return 0.5 + 0.2 * field / field.std()


def _cells(x: np.ndarray, y: np.ndarray, width: float, height: float, shift: float = 0.0):
    """A grid whose rows are shifted against each other: cell numbers, and place in the cell in 0..1."""
    row = np.floor(y / height)
    column = x / width + shift * row
    return row.astype(int) * 512 + np.floor(column).astype(int), column % 1, y / height % 1


def _shade(rng: np.random.Generator, cell: np.ndarray) -> np.ndarray:
    """A random number in 0..1 for each cell."""
    _, number = np.unique(cell, return_inverse=True)
    return rng.random(number.max() + 1)[number].reshape(cell.shape)


def _edge(u: np.ndarray, v: np.ndarray, width: float, height: float, gap: float) -> np.ndarray:
    """1 in the joints between cells, 0 inside."""
    distance = np.minimum(np.minimum(u, 1 - u) * width, np.minimum(v, 1 - v) * height)
    return np.clip(1.5 - distance / gap, 0, 1)


def _wood(rng, x, y):
    width = rng.uniform(0.9, 1.8)
    cell, u, v = _cells(y + rng.uniform(0, 9), x, 6.0, width, 0.37)
    rings = np.sin(6.3 * (3 * _shade(rng, cell) + v * 1.5 + 0.9 * _fog(rng, 1.6, 0.1)))
    fine = _fog(rng, 0.9, 0.04)
    plank = 0.35 * _shade(rng, cell) + 0.25 * rings + 0.6 * (fine - 0.5) + 0.35
    return np.maximum(plank, _edge(u, v, 6.0, width, 0.025))


def _marble(rng, x, y):
    angle, pitch = rng.uniform(0, np.pi), rng.uniform(0.8, 1.6)
    vein = np.abs(np.sin(pitch * (x * np.cos(angle) + y * np.sin(angle)) + 9 * _fog(rng, 1.7)))
    return (1 - vein) ** 4 + 0.45 * (_fog(rng, 1.5) - 0.3)


def _brick(rng, x, y):
    width = rng.uniform(1.0, 1.6)
    cell, u, v = _cells(x, y, width, width * 0.4, 0.5)
    clay = 0.35 * _shade(rng, cell) + 0.25 * (_fog(rng, 0.8) - 0.5)
    return np.maximum(clay, _edge(u, v, width, width * 0.4, 0.045))


def _checks(rng, x, y):
    side = rng.uniform(0.5, 1.2)
    return (np.floor(x / side) + np.floor(y / side)) % 2 * 1.0


def _stripes(rng, x, y):
    pitch, share = rng.uniform(0.5, 1.4), rng.uniform(0.3, 0.6)
    phase = x / pitch % 1
    return (phase < share) * 1.0 + 0.5 * ((phase > share + 0.12) & (phase < share + 0.2))


def _cloth(rng, x, y):
    thread = 0.045
    weave = 0.5 + 0.5 * np.sin(2 * np.pi * x / thread / 2) * np.sin(2 * np.pi * y / thread / 2)
    pitch, share = rng.uniform(0.9, 1.8), rng.uniform(0.2, 0.5)
    plaid = 0.5 * (x / pitch % 1 < share) + 0.5 * (y / pitch % 1 < share)
    return 0.8 * plaid + 0.3 * (weave - 0.5) + 0.1


def _tiles(rng, x, y):
    side = rng.uniform(0.7, 1.4)
    cell, u, v = _cells(x, y, side, side)
    glaze = 0.3 * _shade(rng, cell) + 0.2 * (_fog(rng, 1.4) - 0.5)
    return np.maximum(glaze, _edge(u, v, side, side, 0.035))


def _plaster(rng, x, y):
    return 0.5 + 1.1 * (_fog(rng, rng.uniform(0.9, 1.5)) - 0.5)


def _dots(rng, x, y):
    pitch, radius = rng.uniform(0.6, 1.2), rng.uniform(0.18, 0.34)
    _, u, v = _cells(x, y, pitch, pitch, 0.5)
    return np.clip((radius - np.hypot(u - 0.5, v - 0.5)) * 25 + 0.5, 0, 1)


def _terrazzo(rng, x, y):
    chips = rng.uniform(0, SIDE, (int(rng.integers(500, 1500)), 2))
    nearest: Any = KDTree(chips).query(np.stack([x, y], -1), k=2)
    distance, chip = nearest
    near = distance[..., 0]
    next_near = distance[..., 1]
    chip = chip[..., 0]
    tone = rng.random(len(chips))
    inside = np.clip((next_near - near) / 0.08 - 0.4, 0, 1) * (tone > 0.35)[chip]
    return inside * (0.35 + 0.65 * tone[chip])


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
