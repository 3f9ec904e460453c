"""Takes the path tracer's noise out of the light and leaves textures, edges and shadows: few paths per pixel suffice.

An edge-avoiding wavelet filter (Dammertz et al. 2010) on irradiance: the picture divided by the color of the surface,
so that textures, which carry no noise, are not touched.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

_ROUNDS = 3  # the reach doubles with each: 14 pixels in the end
_KERNEL = np.array([1, 4, 6, 4, 1]) / 16
_NORMAL = 32.0  # how fast trust falls with another direction
_PLANE = 0.05  # and with the distance from the plane, in object radii
_CONTRAST = 0.35  # relative step of light that is taken for a shadow's edge rather than noise, in the first round
_LEAST = 0.04  # albedo below which highlights, not paint, make the picture


def denoise(
    light: np.ndarray,
    albedo: np.ndarray,
    normal: np.ndarray,
    position: np.ndarray,
) -> np.ndarray:
    """The picture without noise.

    Args:
        light: float32 ``(height, width, 3)``, linear.
        albedo: likewise, color of the surfaces seen, 0..1.
        normal: likewise, their directions.
        position: likewise, where they are.

    Returns:
        float32 ``(height, width, 3)``, linear.
    """
    paint = np.maximum(albedo, _LEAST)
    shine = light / paint
    tone = shine.mean(-1)
    usual = ndimage.median_filter(tone, 3, mode="nearest")
    allowed = 2.0 * usual
    damping = np.minimum(1, allowed / np.maximum(tone, 1e-6))  # of single sparks
    shine = shine * damping[..., None]
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    normal = normal / np.maximum(length, 1e-6)
    for number in range(_ROUNDS):
        tone = shine.mean(-1)
        if number == 0:
            tone = ndimage.gaussian_filter(tone, 1.0, mode="nearest")
        step = 2**number
        shine = _round(shine, tone, normal, position, step, _CONTRAST / step)
    return (shine * paint).astype(np.float32)


def _round(
    shine,
    tone,
    normal,
    position,
    step: int,
    contrast: float,
) -> np.ndarray:
    edge = (2 * step, 2 * step)
    edges = (edge, edge, (0, 0))
    wide_shine = np.pad(shine, edges, mode="edge")
    wide_tone = np.pad(tone, edge, mode="edge")
    wide_normal = np.pad(normal, edges, mode="edge")
    wide_position = np.pad(position, edges, mode="edge")
    height, width = tone.shape
    total = np.zeros_like(shine)
    weights = np.zeros_like(tone)
    for i, j in np.ndindex(5, 5):
        top = i * step
        left = j * step
        there = np.s_[top : top + height, left : left + width]
        cosine = _dot(normal, wide_normal[there])
        facing = np.clip(cosine, 0, 1) ** _NORMAL
        away = wide_position[there] - position
        off = _dot(normal, away) / (_PLANE * step)
        other_tone = wide_tone[there]
        usual = contrast * (other_tone + tone)
        dark = (other_tone - tone) / (usual + 1e-6)
        trust = np.exp(-(off**2) - dark**2)
        kernel = _KERNEL[i] * _KERNEL[j]
        weight = kernel * facing * trust
        total += weight[..., None] * wide_shine[there]
        weights += weight
    weights = np.maximum(weights, 1e-6)
    return total / weights[..., None]


def _dot(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Products of the vectors of each pixel, ``(height, width)``."""
    return np.einsum("hwc,hwc->hw", first, second)
