"""Scenes to pixels on the device that trains on them, bit for bit as ``stimuli.rendering`` makes them."""

from __future__ import annotations

import numpy as np
import torch

from ..geometry import SceneGeometry
from ..modeling.processing import to_device
from ..stimuli.objects import NOISE_CEILING, ObjectSet
from ..stimuli.rendering import BACKGROUND, noise_levels, random_words, sprite_origins
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
        self.size, self.device = geometry.sprite_size, device
        sprites = objects.sprites(self.size).reshape(-1, self.size**2)
        hidden = np.where(sprites, 0, BACKGROUND).astype(np.uint8).repeat(3, axis=1)
        means = np.tile(objects.palette.astype(np.int16), self.size**2)
        levels = noise_levels(float(objects.noise_sd)).copy()
        self.hidden, self.means, self.levels = (
            to_device(x, device) for x in (hidden, means, levels)
        )
        self.steps = torch.arange(self.size, device=device)

    def __call__(self, table: SceneTable) -> torch.Tensor:
        """uint8 ``(n, height, width, 3)`` of ``n`` scenes, on the device."""
        (n, k), side = table.shape.shape, table.geometry.image_size
        words = random_words(table, k * self.means.shape[1]).view(np.int16)
        origin, shape, color = (
            self._there(x) for x in (sprite_origins(table), table.shape, table.color)
        )
        noise = self.levels[to_device(words, self.device).int() & 0xFFFF].view(n, k, -1)
        sprites = (noise + self.means[color]).clamp(0, NOISE_CEILING).to(torch.uint8) | self.hidden[
            shape
        ]
        sprites = sprites.view(n, k, self.size, self.size, 3)
        images = torch.full((n, side, side, 3), BACKGROUND, dtype=torch.uint8, device=self.device)
        scene = torch.arange(n, device=self.device)[:, None, None]
        rows, columns = (
            origin[..., 0, None] + self.steps,
            origin[..., 1, None] + self.steps,
        )  # (n, k, size)
        for j in range(k):
            images[scene, rows[:, j, :, None], columns[:, j, None, :]] = sprites[:, j]
        return images

    def _there(self, values: np.ndarray) -> torch.Tensor:
        return to_device(values.astype(np.int64), self.device)
