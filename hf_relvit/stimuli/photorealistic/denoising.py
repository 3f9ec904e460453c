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
    single_sparks = np.minimum(1, 2.0 * usual / np.maximum(tone, 1e-6))
    shine = shine * single_sparks[..., None]
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
    padded = {
        "shine": np.pad(shine, edges, mode="edge"),
        "tone": np.pad(tone, edges[:2], mode="edge"),
        "normal": np.pad(normal, edges, mode="edge"),
        "position": np.pad(position, edges, mode="edge"),
    }
    height, width = tone.shape
    total = np.zeros_like(shine)
    weights = np.zeros_like(tone)
    for i, j in np.ndindex(5, 5):
        rows = slice(i * step, i * step + height)
        columns = slice(j * step, j * step + width)
        near = {name: values[rows, columns] for name, values in padded.items()}
        cosine = np.einsum("hwc,hwc->hw", normal, near["normal"])
        facing = np.clip(cosine, 0, 1) ** _NORMAL
        away = near["position"] - position
        off = np.einsum("hwc,hwc->hw", normal, away) / (_PLANE * step)
        usual = contrast * (near["tone"] + tone)
        dark = (near["tone"] - tone) / (usual + 1e-6)
        kernel = _KERNEL[i] * _KERNEL[j]
        weight = kernel * facing * np.exp(-(off**2) - dark**2)
        total += weight[..., None] * near["shine"]
        weights += weight
    return total / np.maximum(weights, 1e-6)[..., None]
