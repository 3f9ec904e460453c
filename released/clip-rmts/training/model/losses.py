"""The paper's two auxiliary losses: disentangled object tokens, and a pipeline of attention stages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from .errors import RelViTError
from .loss_config import Disentanglement, Pipeline



class DisentanglementHeads(nn.Module):
    """Linear probes that are trained with the model, so that object tokens hold shape and color in separate halves.

    Shape is read from the first half of the dimensions and color from the second (paper, section on failure modes;
    details from the official training code). The control reads the object's identity from the whole embedding.
    """

    def __init__(self, spec: Disentanglement, hidden_size: int):
        super().__init__()
        self.spec, half = spec, hidden_size // 2
        if spec.control:
            self.object = nn.Linear(hidden_size, spec.n_shapes * spec.n_colors)
        else:
            self.shape = nn.Linear(half, spec.n_shapes)
            self.color = nn.Linear(hidden_size - half, spec.n_colors)

    def forward(
        self,
        hidden: Float[torch.Tensor, "batch sequence hidden"],
        tokens: Int[torch.Tensor, "batch objects tokens"],
        shape: Int[torch.Tensor, "batch objects"],
        color: Int[torch.Tensor, "batch objects"],
    ) -> Float[torch.Tensor, ""]:
        """Cross-entropy, mean over object tokens; shape and color added.

        Args:
            hidden: ``(batch, tokens, hidden)``, the hidden states that the specification names.
            tokens: int64 ``(batch, k, p)``, sequence indices of the object tokens; -1 is padding and does not count.
            shape: int64 ``(batch, k)``; objects of a shape without a class (out of distribution) do not count.
            color: int64 ``(batch, k)``, likewise.

        Returns:
            A scalar, 0 if no token counts.
        """
        spec, half = self.spec, hidden.shape[-1] // 2
        index = tokens.clamp(min=0).flatten(1)[..., None].expand(-1, -1, hidden.shape[-1])
        states = hidden.gather(1, index)  # (batch, k * p, hidden)
        shape, color = (v[..., None].expand_as(tokens).flatten(1).long() for v in (shape, color))
        known = tokens.flatten(1) >= 0
        shape_known, color_known = (
            known & _within(shape, spec.n_shapes),
            known & _within(color, spec.n_colors),
        )
        if spec.control:
            identity = shape * spec.n_colors + color
            return _cross_entropy(self.object(states), identity, shape_known & color_known)
        return _cross_entropy(self.shape(states[..., :half]), shape, shape_known) + _cross_entropy(
            self.color(states[..., half:]), color, color_known
        )


def _within(values: torch.Tensor, end: int) -> torch.Tensor:
    return (values >= 0) & (values < end)


def _cross_entropy(
    logits: torch.Tensor, target: torch.Tensor, counts: torch.Tensor
) -> torch.Tensor:
    """Mean over the tokens that count; 0, not NaN, where none does."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    target = torch.where(counts, target, -100)
    total = nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="sum")
    return total / counts.sum().clamp(min=1)


def pipeline_loss(
    mass: list[Float[torch.Tensor, "batch heads objects objects+3"] | None],
    spec: Pipeline,
    epoch: float | None = None,
) -> Float[torch.Tensor, ""]:
    """Mean of -log(score) over the listed blocks, heads and images (paper, section on failure modes).

    The score of a stage is the share of an object's attention that goes to its target, averaged over objects:
    itself (within object), the other object of its pair (within pair), or the two objects of the other pair (between
    pair). Two differences from the official code leave the gradient as it is and let the loss reach 0: it
    counts each query row four times in the denominator (a constant log 4), and it averages the eight directed
    proportions between pairs, of which an object has two (a constant log 2). Where ``spec.exclude_prefix``, attention
    to CLS and other prefix tokens does not count in the share; this is our choice.

    Args:
        mass: per block, float ``(batch, heads, k, k + 3)`` from ``record_object_attention``; objects 2i and 2i + 1 are
            a pair. Only the blocks of the specification need be there.
        spec: which blocks, heads and epochs.
        epoch: where training is, one at which some stage counts; with None all of them do.

    Returns:
        A scalar.

    Raises:
        RelViTError: between-pair blocks with one pair only (discrimination).
    """
    scores = [
        _score(torch.stack([mass[layer] for layer in layers]), stage, spec)  # pyright: ignore[reportArgumentType]
        for stage, layers in spec.stages(epoch).items()
    ]
    return -torch.cat(scores).log().mean()


def _score(mass: torch.Tensor, stage: str, spec: Pipeline) -> torch.Tensor:
    """Share of attention on target, ``(blocks, batch, heads)``, from ``(blocks, batch, heads, k, k + 3)``."""
    objects = mass.shape[-2]
    if stage == "between_pair" and objects < 4:
        raise RelViTError(
            f"pipeline.between_pair with {objects} objects an image: expected two pairs; train it on the rmts task, "
            "or leave between_pair empty"
        )
    if spec.heads is not None:
        mass = torch.stack(
            [mass[:, :, head] for head in spec.heads], 2
        )  # a list as index would be copied each step
    pair = torch.arange(objects, device=mass.device) // 2
    same_pair = pair[:, None] == pair[None, :]
    itself = torch.eye(objects, dtype=torch.bool, device=mass.device)
    target = {
        "within_object": itself,
        "within_pair": same_pair & ~itself,
        "between_pair": ~same_pair,
    }[stage]
    hit = (mass[..., :objects] * target).sum(-1)  # (blocks, batch, heads, k)
    prefix = mass[..., objects : objects + 2].sum(-1)
    everything = mass.sum(-1) - prefix if spec.exclude_prefix else mass.sum(-1)
    # An object without tokens has no attention: it leaves the mean instead of making it NaN.
    seen = everything > 0
    share = hit / everything.clamp(min=torch.finfo(mass.dtype).tiny)
    mean = (share * seen).sum(-1) / seen.sum(-1).clamp(min=1)
    return mean.clamp(min=torch.finfo(mass.dtype).tiny)
