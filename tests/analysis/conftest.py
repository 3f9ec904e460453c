"""A hand-built model whose inner workings are known: each object token holds its color and shape as signs."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from transformers.modeling_outputs import ImageClassifierOutput

from hf_relvit.geometry import PatchGeometry
from hf_relvit.modeling.processing import PixelProcessor, default_processor
from hf_relvit.stimuli.objects import PALETTE, ObjectSet

WIDTH = 24
SPOTS = [
    (1, 1),
    (1, 5),
    (3, 3),
    (5, 1),
    (5, 5),
]  # a hole in each quarter of an object, one per bit of its shape


class _Block(nn.Module):
    def forward(self, hidden):
        return hidden


class SignModel(nn.Module):
    """Its residual stream: 4 signs of the color, 5 of the shape, 1 presence, and 14 mixtures of the pixels, rotated.

    Dimension i of that list is row i of ``basis``. The answer is "different" if, over object tokens, any sign of the
    judged properties varies. Nothing reads the mixtures, which do depend on colors and shapes.
    """

    COLOR, SHAPE = slice(0, 4), slice(4, 9)

    def __init__(self, judges: tuple[str, ...]):
        super().__init__()
        geometry = PatchGeometry(64, 8, 1)
        self.config = SimpleNamespace(
            hidden_size=WIDTH, num_hidden_layers=2, image_size=64, geometry=geometry
        )
        self.layers = nn.ModuleList([_Block(), _Block()])
        self.judged = [
            bit
            for p in judges
            for bit in range(*(self.COLOR if p == "color" else self.SHAPE).indices(9))
        ]
        generator = torch.Generator().manual_seed(1)
        self.basis = nn.Parameter(torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=generator)).Q)
        self.register_buffer("mixtures", torch.randn(3 * 64, WIDTH - 10, generator=generator) / 8)
        self.register_buffer("palette", torch.from_numpy(PALETTE[:16].astype(np.float32)))

    def forward(self, pixel_values):
        hidden = self.embed(pixel_values) @ self.basis
        for layer in self.layers:
            hidden = layer(hidden)
        return ImageClassifierOutput(logits=self.judge(hidden @ self.basis.T))

    def embed(self, pixels):
        patches = pixels.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5).flatten(1, 2)
        drawn = (patches < 0.98).any(2)  # (batch, patches, 8, 8)
        present = drawn.any(-1).any(-1).float()[..., None]
        mean = (patches * drawn[:, :, None]).sum((3, 4)) / drawn.sum((2, 3)).clamp(min=1)[..., None]
        color = torch.cdist((mean + 1) * 127.5, self.palette.expand(len(pixels), -1, -1)).argmin(-1)
        color = 2 * (color[..., None] >> torch.arange(4) & 1) - 1
        shape = torch.stack([~drawn[..., r, c] for r, c in SPOTS], -1) * 2 - 1
        hidden = torch.cat(
            [color * present, shape * present, present, patches.flatten(2) @ self.mixtures], -1
        )
        return torch.cat([torch.zeros_like(hidden[:, :1]), hidden], 1)

    def judge(self, signs):
        weight = signs[..., 9:10] / signs[..., 9:10].sum(1, keepdim=True)
        judged = signs[..., self.judged]
        mean = (weight * judged).sum(1, keepdim=True)
        varies = (weight * (judged - mean) ** 2).sum(
            (1, 2)
        )  # 1 for each sign in which the two objects differ
        return torch.stack([8 * (varies - 0.5), torch.zeros_like(varies)], 1)


def _sign_objects() -> ObjectSet:
    """Shapes whose number can be read off their holes, in our colors."""
    masks = np.ones((20, 8, 8), dtype=bool)
    masks[:, 7, 7] = False
    for shape in range(20):
        for bit, spot in enumerate(SPOTS):
            masks[(shape, *spot)] = not shape >> bit & 1
    masks = np.tile(masks, (1, 2, 2)).repeat(12, 1).repeat(12, 2)
    return ObjectSet(masks, PALETTE, 16, 16, noise_sd=3)


SIGN_OBJECTS = _sign_objects()


def make_sign_model(*judges: str):
    """(model, processor) for the properties that the model is to judge; its scenes are of ``SIGN_OBJECTS``."""
    processor = PixelProcessor(default_processor(64), 64)
    return SignModel(judges).eval(), processor


@pytest.fixture
def sign_model():
    return make_sign_model
