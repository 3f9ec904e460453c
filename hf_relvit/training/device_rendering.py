"""Scenes to pixels on the device that trains on them, bit for bit as ``stimuli.rendering`` makes them."""

from __future__ import annotations

import numpy as np
import torch

from ..geometry import SceneGeometry
from ..modeling.processing import to_device
from ..stimuli.objects import NOISE_CEILING, ObjectSet
from ..stimuli.rendering import (
    BACKGROUND,
    flat_hidden,
    flat_means,
    noise_levels,
    random_words,
    sprite_origins,
    sprites_of,
)
from ..stimuli.scenes import SceneTable


class DeviceRenderer:
    """``stimuli.rendering.render`` for one device.

    The host draws the random numbers, 7 KB for two objects of the paper's size, and the device does the rest; an image
    would be 150 KB. The host does not wait.

    Args:
        objects: the shapes and colors of the scenes.
        geometry: of the scenes, ``Task.placed``.
        device: where the images are made.
    """

    def __init__(self, objects: ObjectSet, geometry: SceneGeometry, device: torch.device):
        self.size = geometry.sprite_size
        self.device = device
        means = flat_means(objects, self.size)
        levels = noise_levels(float(objects.noise_sd)).copy()
        if geometry.placement != "posed":
            hidden = flat_hidden(objects.sprites(self.size))
            self.hidden = to_device(hidden, device)
        self.means = to_device(means, device)
        self.levels = to_device(levels, device)
        self.steps = torch.arange(self.size, device=device)

    def __call__(self, table: SceneTable) -> torch.Tensor:
        """uint8 ``(n, height, width, 3)`` of ``n`` scenes, on the device."""
        n, k = table.shape.shape
        side = table.geometry.image_size
        levels = self._noise_levels(table)
        noise = levels.view(n, k, -1)
        means = self.means[self._there(table.color)]
        values = (noise + means).clamp(0, NOISE_CEILING)
        pixels = values.to(torch.uint8)
        pixels |= self._hidden(table)
        sprites = pixels.view(n, k, self.size, self.size, 3)
        whole = (n, side, side, 3)
        images = torch.full(whole, BACKGROUND, dtype=torch.uint8, device=self.device)
        scene = torch.arange(n, device=self.device)[:, None, None]
        origin = self._there(sprite_origins(table))
        for j in range(k):
            top = origin[:, j, :1]
            left = origin[:, j, 1:]
            rows = (top + self.steps)[:, :, None]  # (n, size, 1)
            columns = (left + self.steps)[:, None, :]
            images[scene, rows, columns] = sprites[:, j]
        return images

    def _hidden(self, table: SceneTable) -> torch.Tensor:
        """The background outside of each object; posed ones are drawn on the host."""
        if table.pose is None:
            return self.hidden[self._there(table.shape)]
        drawn = flat_hidden(sprites_of(table))
        return to_device(drawn, self.device)

    def _noise_levels(self, table: SceneTable) -> torch.Tensor:
        """The noise of all pixels of objects, from 16 random bits each."""
        per_object = self.means.shape[1]
        count = table.shape.shape[1] * per_object
        words = random_words(table, count).view(np.int16)
        bits = to_device(words, self.device).int() & 0xFFFF
        return self.levels[bits]

    def _there(self, values: np.ndarray) -> torch.Tensor:
        integers = values.astype(np.int64)
        return to_device(integers, self.device)
