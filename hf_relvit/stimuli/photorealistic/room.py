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
    first = _rotation(rng, full_rotation)
    second = _rotation(rng, full_rotation)
    distance = rng.uniform(5.4, 9.0)
    height = _angle(rng, 17, 42)
    turn = _angle(rng, -28, 28)
    direction = _direction(rng, turn)
    aim = rng.uniform(-0.3, 0.3, 2)
    target = np.array([*aim, 0.55])
    camera = target + distance * _away(height, turn)
    table = _surface(rng)
    wall = _surface(rng)
    lights, ambient = _lights(rng, [table, wall])
    gap = rng.uniform(0, 1.4)
    fov = rng.uniform(34, 42)
    wall_distance = rng.uniform(2.2, 5.0)
    return {
        "gap": gap,
        "direction": _plain(direction),
        "rotations": (first, second),
        "camera": _plain(camera),
        "target": _plain(target),
        "fov": fov,
        "wall": wall_distance,
        "table_surface": table,
        "wall_surface": wall,
        "lights": lights,
        "ambient": ambient,
        "noise": _seed(rng),
    }


def _direction(rng: np.random.Generator, turn: float) -> np.ndarray:
    """From one object to the other, on the table; half of the pairs stand one behind the other as the camera sees."""
    across = rng.uniform(0, 2 * np.pi)
    one_behind_the_other = rng.random() < 0.5
    if one_behind_the_other:  # roughly, so that occlusion is likely
        side = rng.choice([0, np.pi])
        spread = np.deg2rad(20)
        off = rng.normal(0, spread)
        across = np.pi / 2 + turn + side + off
    return np.array([np.cos(across), np.sin(across)])


def _away(height: float, turn: float) -> np.ndarray:
    """From the target to the camera, of length 1."""
    level = np.cos(height)
    right = np.sin(turn) * level
    back = -np.cos(turn) * level
    up = np.sin(height)
    return np.array([right, back, up])


def _plain(values: np.ndarray) -> Any:
    """An array as a tuple of as many floats."""
    return tuple(values.tolist())


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def _angle(rng: np.random.Generator, low: float, high: float) -> float:
    """A random angle between two in degrees; in radians."""
    degrees = rng.uniform(low, high)
    return np.deg2rad(degrees)


def _rotation(rng: np.random.Generator, full: bool) -> tuple[float, ...]:
    # uniform over all rotations, once of unit length (Shoemake 1992)
    quaternion = rng.standard_normal(4)
    if not full:
        half = rng.uniform(0, np.pi)
        real = np.cos(half)
        upward = np.sin(half)
        quaternion = np.array([real, 0.0, 0.0, upward])
    length = np.linalg.norm(quaternion)
    return _plain(quaternion / length)


def _surface(rng: np.random.Generator) -> Surface:
    """Two colors that are apart in lightness, seldom garish, like things in a room."""
    hue = rng.random()
    other_hue = hue + rng.normal(0, 0.12)
    saturations = rng.beta(1.6, 2.6, 2) * 0.85
    saturation, other_saturation = saturations
    light = rng.uniform(0.35, 0.92)
    sign = rng.choice([-1, 1])
    contrast = sign * rng.uniform(0.15, 0.4)
    other_light = np.clip(light + contrast, 0.22, 0.95)
    color = _rgb(hue % 1, saturation, light)
    other_color = _rgb(other_hue % 1, other_saturation, other_light)
    quarter = rng.choice([0, 90])
    turn = quarter + rng.normal(0, 4)
    family = rng.integers(len(FAMILIES))
    return Surface(
        family=int(family),
        colors=(color, other_color),
        turn=float(turn),
        seed=_seed(rng),
    )


def _rgb(hue: float, saturation: float, value: float) -> tuple[float, float, float]:
    shade = hue_shade(6 * hue)
    channels = value - value * saturation * shade
    return _plain(channels)


def hue_shade(sixth: float) -> np.ndarray:
    """How dark a hue, in steps of 60 degrees, is in red, green and blue if it is fully saturated, 0..1."""
    starts = np.array([5.0, 3.0, 1.0])
    sector = (starts + sixth) % 6
    shade = np.minimum(sector, 4 - sector)
    return np.clip(shade, 0, 1)


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
    albedos = [_albedo(surface) for surface in surfaces]
    albedo = np.mean(albedos)
    exposure = rng.uniform(0.24, 0.36)
    total = np.pi * exposure / albedo**0.75 * 0.5**-0.25
    lamp = rng.uniform(0.48, 0.62)
    window = rng.uniform(0.14, 0.26)
    side = rng.choice([-1, 1])
    degrees = side * rng.uniform(85, 165)  # from straight ahead
    turn = np.deg2rad(degrees)
    far = rng.uniform(7, 10)
    overhead = rng.uniform([-3, -4, 6], [3, 1, 9])
    right = far * np.sin(turn)
    ahead = far * np.cos(turn)
    aside = np.array([right, ahead, rng.uniform(3, 7)])
    small = rng.uniform(1.0, 2.2)
    warm = rng.uniform(2700, 5000)
    above = _light(overhead, small, lamp * total, warm)
    large = rng.uniform(2.5, 4)
    cool = rng.uniform(5000, 8500)
    beside = _light(aside, large, window * total, cool)
    rest = (1 - lamp - window) * total / np.pi
    mixed = rng.uniform(4000, 7000)
    ambient = rest * _warmth(mixed)
    return (above, beside), _plain(ambient)


def _light(
    position: np.ndarray,
    side: float,
    irradiance: float,
    kelvin: float,
) -> Light:
    """A square light that gives the middle of the table this irradiance."""
    distance = float(np.linalg.norm(position))
    height = position[2]
    # inverse square, and the slant of the table
    radiance = irradiance * distance**3 / (side**2 * height)
    color = radiance * _warmth(kelvin)
    return Light(_plain(position), side, _plain(color))


def _albedo(surface: Surface) -> float:
    """Mean luminance of a surface, linear 0..1, between its two colors."""
    colors = linear(np.array(surface.colors))
    luminance = colors @ _LUMINANCE
    return float(luminance.mean())


def linear(srgb: np.ndarray) -> np.ndarray:
    """sRGB in 0..1 to linear light."""
    dark = srgb / 12.92
    bright = ((srgb + 0.055) / 1.055) ** 2.4
    return np.where(srgb <= 0.04045, dark, bright)


@lru_cache(maxsize=4)
def surface_texture(surface: Surface) -> np.ndarray:
    """The pixels of a surface; twins share theirs."""
    colors = np.array(surface.colors)
    return texture(surface.family, colors, surface.seed)
