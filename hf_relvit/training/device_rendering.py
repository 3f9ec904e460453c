"""Scenes to pixels on the device that trains on them, bit for bit as ``stimuli.rendering`` makes them."""

from __future__ import annotations

import numpy as np
import torch

from ..geometry import SceneGeometry
from ..modeling.processing import to_device
from ..stimuli.objects import NOISE_CEILING, ObjectSet
from ..stimuli.rendering import (
    BACKGROUND,
    flat_sprites,
    noise_levels,
    random_words,
    sprite_origins,
)
from ..stimuli.scenes import SceneTable


class DeviceRenderer:
    """``stimuli.rendering.render`` for one device.

    The host draws the random numbers, 7 KB for two objects of the paper's size, and the device does the rest; an image
    would be 150 KB. The host does not wait.

    Args:
        objects: the shapes and colors of the scenes.
        geometry: of the scenes.
        device: where the images are made.
    """

    def __init__(self, objects: ObjectSet, geometry: SceneGeometry, device: torch.device):
        self.size = geometry.sprite_size
        self.device = device
        hidden, means = flat_sprites(objects, self.size)
        levels = noise_levels(float(objects.noise_sd)).copy()
        self.hidden = to_device(hidden, device)
        self.means = to_device(means, device)
        self.levels = to_device(levels, device)
        self.steps = torch.arange(self.size, device=device)

    def __call__(self, table: SceneTable) -> torch.Tensor:
        """uint8 ``(n, height, width, 3)`` of ``n`` scenes, on the device."""
        n, k = table.shape.shape
        side = table.geometry.image_size
        words = random_words(table, k * self.means.shape[1]).view(np.int16)
        level = to_device(words, self.device).int() & 0xFFFF
        noise = self.levels[level].view(n, k, -1)
        color = self._there(table.color)
        shape = self._there(table.shape)
        pixels = (noise + self.means[color]).clamp(0, NOISE_CEILING).to(torch.uint8)
        pixels |= self.hidden[shape]
        sprites = pixels.view(n, k, self.size, self.size, 3)
        whole = (n, side, side, 3)
        images = torch.full(whole, BACKGROUND, dtype=torch.uint8, device=self.device)
        scene = torch.arange(n, device=self.device)[:, None, None]
        origin = self._there(sprite_origins(table))
        for j in range(k):
            rows = origin[:, j, :1] + self.steps  # (n, size)
            columns = origin[:, j, 1:] + self.steps
            images[scene, rows[:, :, None], columns[:, None, :]] = sprites[:, j]
        return images

    def _there(self, values: np.ndarray) -> torch.Tensor:
        return to_device(values.astype(np.int64), self.device)
