"""One random room: camera, table, wall, light, and where two objects might stand. Ranges are our choice."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from .scenes import Light, Surface
from .textures import FAMILIES, texture

_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


def draw_room(rng: np.random.Generator, full_rotation: bool) -> dict[str, Any]:
    """The fields of a ``PhotoScene`` independent of the objects; the ``gap`` between them, and its direction."""
    rotations = [_rotation(rng, full_rotation) for _ in range(2)]
    distance = rng.uniform(5.4, 9.0)
    height = np.deg2rad(rng.uniform(17, 42))
    turn = np.deg2rad(rng.uniform(-28, 28))
    across = rng.uniform(0, 2 * np.pi)
    if rng.random() < 0.5:  # one object roughly behind the other, so that occlusion is likely
        side = rng.choice([0, np.pi])
        spread = np.deg2rad(20)
        across = np.pi / 2 + turn + side + rng.normal(0, spread)
    aim = rng.uniform(-0.3, 0.3, 2)
    target = np.array([*aim, 0.55])
    level = np.cos(height)
    right = np.sin(turn) * level
    back = -np.cos(turn) * level
    away = np.array([right, back, np.sin(height)])
    camera = target + distance * away
    table = _surface(rng)
    wall = _surface(rng)
    lights, ambient = _lights(rng, [table, wall])
    gap = rng.uniform(0, 1.4)
    fov = rng.uniform(34, 42)
    wall_distance = rng.uniform(2.2, 5.0)
    noise = int(rng.integers(2**31))
    return {
        "gap": gap,
        "direction": (float(np.cos(across)), float(np.sin(across))),
        "rotations": tuple(rotations),
        "camera": tuple(camera.tolist()),
        "target": tuple(target.tolist()),
        "fov": fov,
        "wall": wall_distance,
        "table_surface": table,
        "wall_surface": wall,
        "lights": lights,
        "ambient": ambient,
        "noise": noise,
    }


def _rotation(rng: np.random.Generator, full: bool) -> tuple[float, ...]:
    # uniform over all rotations, once of unit length (Shoemake 1992)
    quaternion = rng.standard_normal(4)
    if not full:
        half = rng.uniform(0, np.pi)
        real = np.cos(half)
        upward = np.sin(half)
        quaternion = np.array([real, 0.0, 0.0, upward])
    unit = quaternion / np.linalg.norm(quaternion)
    return tuple(unit.tolist())


def _surface(rng: np.random.Generator) -> Surface:
    """Two colors that are apart in lightness, seldom garish, like things in a room."""
    hue = rng.random()
    other_hue = hue + rng.normal(0, 0.12)
    saturation = rng.beta(1.6, 2.6, 2) * 0.85
    light = rng.uniform(0.35, 0.92)
    contrast = rng.choice([-1, 1]) * rng.uniform(0.15, 0.4)
    other_light = np.clip(light + contrast, 0.22, 0.95)
    first = _rgb(hue % 1, saturation[0], light)
    second = _rgb(other_hue % 1, saturation[1], other_light)
    quarter = rng.choice([0, 90])
    turn = float(quarter + rng.normal(0, 4))
    family = int(rng.integers(len(FAMILIES)))
    seed = int(rng.integers(2**31))
    return Surface(family, (first, second), turn, seed)


def _rgb(hue: float, saturation: float, value: float) -> tuple[float, float, float]:
    channels = value - value * saturation * hue_shade(6 * hue)
    return tuple(channels.tolist())


def hue_shade(sixth: float) -> np.ndarray:
    """How dark a hue, in steps of 60 degrees, is in red, green and blue if it is fully saturated, 0..1."""
    sector = (np.array([5.0, 3.0, 1.0]) + sixth) % 6
    return np.clip(np.minimum(sector, 4 - sector), 0, 1)


def _warmth(kelvin: float) -> np.ndarray:
    """Linear RGB of light between warm white (2,700 K) and sky (9,000 K), of luminance 1; a smooth fit by eye."""
    cool = np.log(kelvin / 5500)
    red = np.exp(-0.55 * cool)
    blue = np.exp(0.95 * cool)
    color = np.array([red, 1.0, blue])
    return color / (color @ _LUMINANCE)


def _lights(rng: np.random.Generator, surfaces: list[Surface]):
    """A lamp above, a window to the side or behind the camera, and light from all around.

    The table is lit so that the picture comes out neither dark nor blown out, as a camera would expose it; light rooms
    still look lighter than dark ones.
    """
    albedo = np.mean([*map(_albedo, surfaces)])
    exposure = rng.uniform(0.24, 0.36)
    total = np.pi * exposure / albedo**0.75 * 0.5**-0.25
    lamp = rng.uniform(0.48, 0.62)
    window = rng.uniform(0.14, 0.26)
    side = rng.choice([-1, 1])
    turn = np.deg2rad(side * rng.uniform(85, 165))  # from straight ahead
    far = rng.uniform(7, 10)
    overhead = [rng.uniform(-3, 3), rng.uniform(-4, 1), rng.uniform(6, 9)]
    aside = [far * np.sin(turn), far * np.cos(turn), rng.uniform(3, 7)]
    small = rng.uniform(1.0, 2.2)
    above = _light(overhead, small, lamp * total, rng.uniform(2700, 5000))
    large = rng.uniform(2.5, 4)
    beside = _light(aside, large, window * total, rng.uniform(5000, 8500))
    rest = (1 - lamp - window) * total / np.pi
    ambient = rest * _warmth(rng.uniform(4000, 7000))
    return (above, beside), tuple(ambient.tolist())


def _light(
    position: list[float],
    side: float,
    irradiance: float,
    kelvin: float,
) -> Light:
    """A square light that gives the middle of the table this irradiance."""
    distance = float(np.linalg.norm(position))
    # inverse square, and the slant of the table
    radiance = irradiance * distance**3 / (side**2 * position[2])
    color = radiance * _warmth(kelvin)
    x, y, z = map(float, position)
    return Light((x, y, z), side, tuple(color.tolist()))


def _albedo(surface: Surface) -> float:
    """Mean luminance of a surface, linear 0..1, between its two colors."""
    colors = linear(np.array(surface.colors))
    luminance = colors @ _LUMINANCE
    return float(luminance.mean())


def linear(srgb: np.ndarray) -> np.ndarray:
    """sRGB in 0..1 to linear light."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


@lru_cache(maxsize=4)
def surface_texture(surface: Surface) -> np.ndarray:
    """The pixels of a surface; twins share theirs."""
    return texture(surface.family, np.array(surface.colors), surface.seed)
