"""Networks built by hand whose mechanism is known, to ask whether the analyses call it rightly.

Each object token holds named codes of signs: its color (4 bits), its shape (5), presence (1), a copy of the shape (5),
a tag of its combination (8), a dormant code that is always 0 (5), and mixtures of its pixels that nothing reads (12).
Codes are rows of a random orthonormal basis, so no direction can be read off the standard basis. The networks differ
in the codes that are written and in those that the judgement reads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import nn
from transformers.modeling_outputs import ImageClassifierOutput

from hf_relvit.geometry import PatchGeometry
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.modeling.processing import PixelProcessor, default_processor
from hf_relvit.stimuli.objects import PALETTE

from .conftest import SPOTS

CODES = {
    "color": slice(0, 4),
    "shape": slice(4, 9),
    "presence": slice(9, 10),
    "copy": slice(10, 15),
    "tag": slice(15, 23),
    "dormant": slice(23, 28),
}
WIDTH = 40
Codes = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Mechanism:
    """Which codes a network writes into object tokens, and of which its answer says whether they vary."""

    written: tuple[str, ...]
    judged: Callable[[Codes], list[torch.Tensor]]


def _read(*names: str) -> Callable[[Codes], list[torch.Tensor]]:
    return lambda codes: [codes[name] for name in names]


def _mean_of_two(codes: Codes) -> list[torch.Tensor]:
    return [codes["color"], (codes["shape"] + codes["copy"]) / 2]


def _with_dormant(codes: Codes) -> list[torch.Tensor]:
    return [codes["color"], codes["copy"] + 2 * codes["dormant"]]


MECHANISMS = {
    "factored": Mechanism(("color", "shape"), _read("color", "shape")),
    "moved": Mechanism(("color", "shape"), _read("color", "shape")),
    "color": Mechanism(("color", "shape"), _read("color")),
    "copied": Mechanism(("color", "shape", "copy"), _read("color", "copy")),
    "twice": Mechanism(("color", "shape", "copy"), _mean_of_two),
    "dormant": Mechanism(("color", "shape", "copy"), _with_dormant),
    "alarm": Mechanism(("color", "shape", "tag"), _read("color", "shape", "tag")),
    "memory": Mechanism(("tag",), _read("tag")),
    "shared": Mechanism(("color",), _read("color")),
}
"""factored: two subspaces that are read. moved: the same, then judged in the CLS token by block 1. color: the
shape is written and not read. copied: the copy is read. twice: both stores are read, as their mean. dormant:
a code that is never written is read, too. alarm: the tag of the combination must agree as well. memory:
combinations by heart, no shape and no color. shared: one code holds color plus twice the shape."""


class _Block(nn.Module):
    """Identity; or the block that moves the judgement to the CLS token."""

    def __init__(self, network: PlantedNetwork, moves: bool):
        super().__init__()
        self.moves = moves
        self.network = [network]  # in a list, so that it is no submodule

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        if not self.moves:
            return hidden
        network = self.network[0]
        moved = torch.zeros_like(hidden)
        moved[:, 0] = network.difference(hidden @ network.basis.T)[:, None] * network.basis[0]
        return hidden + moved


class PlantedNetwork(nn.Module):
    """See the head of this module; a plain copy of its class, with the same config, has random weights.

    Args:
        config: ``mechanism`` is one of MECHANISMS.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.basis = nn.Parameter(torch.linalg.qr(torch.randn(WIDTH, WIDTH)).Q)
        self.mixtures = nn.Parameter(torch.randn(3 * 64, WIDTH - 28) / 8)
        self.random_codes = nn.Parameter(torch.randn(3 * 64, 28) / 8)
        self.random_head = nn.Parameter(torch.randn(WIDTH, 2))
        self.register_buffer("palette", torch.tensor(PALETTE[:16], dtype=torch.float32))
        self.register_buffer("tags", torch.randperm(256))
        self.register_buffer("planted", torch.tensor(False))
        moves = [False, config.mechanism == "moved", False]
        self.layers = nn.ModuleList([_Block(self, each) for each in moves])

    def rows(self, *codes: str) -> torch.Tensor:
        """The directions of some codes: orthonormal rows ``(k, hidden)``."""
        return torch.cat([self.basis.detach()[CODES[code]] for code in codes])

    def forward(self, pixel_values: torch.Tensor) -> ImageClassifierOutput:
        hidden = self.embed(pixel_values) @ self.basis
        for layer in self.layers:
            hidden = layer(hidden)
        return ImageClassifierOutput(logits=self.judge(hidden))

    def embed(self, pixels: torch.Tensor) -> torch.Tensor:
        patches = pixels.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5).flatten(1, 2)
        flat = patches.flatten(2)
        codes = self.codes(patches) if self.planted else flat @ self.random_codes
        hidden = torch.cat([codes, flat @ self.mixtures], -1)
        return torch.cat([torch.zeros_like(hidden[:, :1]), hidden], 1)

    def codes(self, patches: torch.Tensor) -> torch.Tensor:
        """All codes ``(batch, patches, 28)`` of patches ``(batch, patches, 3, 8, 8)``."""
        drawn = (patches < 0.98).any(2)
        presence = drawn.any(-1).any(-1).float()[..., None]
        mean = (patches * drawn[:, :, None]).sum((3, 4)) / drawn.sum((2, 3)).clamp(min=1)[..., None]
        palette = self.palette.expand(len(patches), -1, -1)
        color = torch.cdist((mean + 1) * 127.5, palette).argmin(-1)
        holes = torch.stack([~drawn[..., row, column] for row, column in SPOTS], -1).long()
        shape = (holes << torch.arange(5)).sum(-1)
        tag = self.tags[(16 * shape + color).clamp(max=255)]
        written = {
            "color": _signs(color, 4),
            "shape": _signs(shape, 5),
            "presence": torch.ones_like(presence),
            "copy": _signs(shape, 5),
            "tag": _signs(tag, 8),
            "dormant": torch.zeros_like(holes),
        }
        if self.config.mechanism == "shared":
            written["color"] = written["color"] + 2 * written["shape"][..., :4]
        for code in written.keys() - {"presence", *MECHANISMS[self.config.mechanism].written}:
            written[code] = torch.zeros_like(written[code])
        return torch.cat([written[code] for code in CODES], -1) * presence

    def difference(self, states: torch.Tensor) -> torch.Tensor:
        """How much the judged codes of the object tokens vary, ``(batch,)``: at least 1 if the answer is different."""
        codes = {code: states[..., where] for code, where in CODES.items()}
        weight = codes["presence"] / codes["presence"].sum(1, keepdim=True)
        values = torch.cat(MECHANISMS[self.config.mechanism].judged(codes), -1)
        mean = (weight * values).sum(1, keepdim=True)
        return (weight * (values - mean) ** 2).sum((1, 2))

    def judge(self, hidden: torch.Tensor) -> torch.Tensor:
        if not self.planted:
            return hidden.mean(1).tanh() @ self.random_head
        moved = self.config.mechanism == "moved"
        differs = hidden[:, 0] @ self.basis[0] if moved else self.difference(hidden @ self.basis.T)
        return torch.stack([8 * (differs - 0.5), torch.zeros_like(differs)], 1)


def _signs(number: torch.Tensor, bits: int) -> torch.Tensor:
    return 2 * (number[..., None] >> torch.arange(bits) & 1) - 1


def planted(mechanism: str) -> Checkpoint:
    """The network with one of MECHANISMS and its processor; its scenes are of ``conftest.SIGN_OBJECTS``."""
    config = SimpleNamespace(
        hidden_size=WIDTH,
        num_hidden_layers=3,
        image_size=64,
        geometry=PatchGeometry(64, 8, 1),
        mechanism=mechanism,
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = PlantedNetwork(config)
    network.planted.fill_(True)
    return Checkpoint(network.eval(), PixelProcessor(default_processor(64), 64))
