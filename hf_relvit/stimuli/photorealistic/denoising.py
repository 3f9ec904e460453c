"""Takes the path tracer's noise out of the light and leaves textures, edges and shadows: few paths per pixel suffice.

An edge-avoiding wavelet filter (Dammertz et al. 2010) on irradiance: the picture divided by the color of what is seen,
so that textures, which carry no noise, are not touched.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

_ROUNDS = 3  # the reach doubles with each: 14 pixels in the end
_KERNEL = np.array([1, 4, 6, 4, 1]) / 16
_NORMAL, _PLANE = (
    32.0,
    0.05,
)  # how fast trust falls with another direction, or another plane (in object radii)
_CONTRAST = 0.35  # relative step of light that is taken for a shadow's edge rather than noise, in the first round
_LEAST = 0.04  # albedo below which highlights, not paint, make the picture


def denoise(
    light: np.ndarray, albedo: np.ndarray, normal: np.ndarray, position: np.ndarray
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
    shine = shine * np.minimum(1, 2.0 * usual / np.maximum(tone, 1e-6))[..., None]  # single sparks
    normal = normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-6)
    for step in range(_ROUNDS):
        tone = (
            ndimage.gaussian_filter(shine.mean(-1), 1.0, mode="nearest")
            if step == 0
            else shine.mean(-1)
        )
        shine = _round(shine, tone, normal, position, 2**step, _CONTRAST / 2**step)
    return (shine * paint).astype(np.float32)


def _round(shine, tone, normal, position, step: int, contrast: float) -> np.ndarray:
    reach = 2 * step
    edge = ((reach, reach), (reach, reach))
    padded = {
        "shine": np.pad(shine, (*edge, (0, 0)), mode="edge"),
        "tone": np.pad(tone, edge, mode="edge"),
        "normal": np.pad(normal, (*edge, (0, 0)), mode="edge"),
        "position": np.pad(position, (*edge, (0, 0)), mode="edge"),
    }
    height, width = tone.shape
    total, weights = np.zeros_like(shine), np.zeros_like(tone)
    for i in range(5):
        for j in range(5):
            here = slice(i * step, i * step + height), slice(j * step, j * step + width)
            near = {name: values[here] for name, values in padded.items()}
            facing = np.clip(np.einsum("hwc,hwc->hw", normal, near["normal"]), 0, 1) ** _NORMAL
            off = np.einsum("hwc,hwc->hw", normal, near["position"] - position) / (_PLANE * step)
            dark = (near["tone"] - tone) / (contrast * (near["tone"] + tone) + 1e-6)
            weight = _KERNEL[i] * _KERNEL[j] * facing * np.exp(-(off**2) - dark**2)
            total += weight[..., None] * near["shine"]
            weights += weight
    return total / np.maximum(weights, 1e-6)[..., None]
