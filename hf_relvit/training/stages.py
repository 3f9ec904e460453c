"""Attention stages while a model trains, from the passes that evaluate it anyway.

1. Each evaluation batch is run with a recorder around it, which changes nothing in the model's output.
2. Shares ``(batch, heads, 6)`` per layer are summed over images (and over processes, at the end).
3. Logged is per kind and layer the mean share of the strongest head, as in the paper's Fig. 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from ..modeling.attention_mass import ATTENTION
from ..modeling.checkpoints import unwrapped
from ..modeling.loss_config import STAGES
from ..modeling.stages import KINDS, attention_shares


def records_attention(model: Any) -> bool:
    """Whether a model's passes can be recorded: it runs our attention function, and in this process."""
    inner = unwrapped(model)
    config = getattr(inner.config, "backbone_config", None)
    parallel = isinstance(model, torch.nn.DataParallel)
    return not parallel and getattr(config, "_attn_implementation", "") == ATTENTION


class StageSums:
    """Sums over the images of an evaluation."""

    def __init__(self) -> None:
        self._shares: torch.Tensor | None = None
        self._images = 0
        self._pairs = 0

    def add(self, recorded: Sequence[torch.Tensor | None]) -> None:
        """The masses of a batch by layer, ``(batch, heads, k, k + 3)``."""
        masses = [mass for mass in recorded if mass is not None]
        layers = [attention_shares(mass, "corrected").sum(0) for mass in masses]
        shares = torch.stack(layers)
        self._shares = shares if self._shares is None else self._shares + shares
        self._images += len(masses[0])
        self._pairs = masses[0].shape[2] // 2

    def strongest(self, reduce: Any) -> Iterator[tuple[str, float]]:
        """Name and mean share of the strongest head, per kind and layer; nothing without images.

        Args:
            reduce: sums a tensor over the processes, as ``Accelerator.reduce``.
        """
        if self._shares is None:
            return
        shares = reduce(self._shares, "sum")
        images = reduce(torch.tensor(float(self._images), device=shares.device), "sum")
        means = shares / images  # (layers, heads, kinds)
        for stage in STAGES[: self._pairs + 1]:
            strongest = means[..., KINDS.index(stage)].amax(1)
            for layer, share in enumerate(strongest.tolist()):
                yield f"{stage}_{layer}", share
