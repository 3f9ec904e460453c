"""The paper's two auxiliary losses: disentangled object tokens, and a pipeline of attention stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..errors import RelViTError
from .loss_config import Disentanglement, Pipeline

if TYPE_CHECKING:
    from jaxtyping import Float, Int


class DisentanglementHeads(nn.Module):
    """Linear probes that are trained with the model, so that object tokens hold shape and color in separate halves.

    Shape is read from the first half of the dimensions and color from the second (paper, section on failure modes;
    details from the official training code). The control reads the object's identity from the whole embedding.
    """

    def __init__(self, spec: Disentanglement, hidden_size: int):
        super().__init__()
        self.spec = spec
        half = hidden_size // 2
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
        spec = self.spec
        width = hidden.shape[-1]
        half = width // 2
        flat = tokens.flatten(1)
        index = flat.clamp(min=0)[..., None]
        states = hidden.gather(1, index.expand(-1, -1, width))  # (batch, k * p, hidden)
        shape = _per_token(shape, tokens)
        color = _per_token(color, tokens)
        known = flat >= 0
        shape_known = known & _within(shape, spec.n_shapes)
        color_known = known & _within(color, spec.n_colors)
        if spec.control:
            identity = shape * spec.n_colors + color
            both_known = shape_known & color_known
            return _cross_entropy(self.object(states), identity, both_known)
        shape_logits = self.shape(states[..., :half])
        color_logits = self.color(states[..., half:])
        shape_loss = _cross_entropy(shape_logits, shape, shape_known)
        color_loss = _cross_entropy(color_logits, color, color_known)
        return shape_loss + color_loss


def _per_token(values: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """The value of its object for each token: ``(batch, k)`` to int64 ``(batch, k * p)``."""
    by_object = values[..., None].expand_as(tokens)
    return by_object.flatten(1).long()


def _within(values: torch.Tensor, end: int) -> torch.Tensor:
    return (values >= 0) & (values < end)


def _cross_entropy(
    logits: torch.Tensor,
    target: torch.Tensor,
    counts: torch.Tensor,
) -> torch.Tensor:
    """Mean over the tokens that count; 0, not NaN, where none does."""
    dtype = torch.promote_types(logits.dtype, torch.float32)
    exact = logits.to(dtype)
    counted = torch.where(counts, target, -100)
    total = nn.functional.cross_entropy(
        exact.flatten(0, 1),
        counted.flatten(),
        reduction="sum",
    )
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
    scores = []
    for stage, layers in spec.stages(epoch).items():
        wanted: list[Any] = [mass[layer] for layer in layers]
        score = _score(torch.stack(wanted), stage, spec)
        scores.append(score)
    return -torch.cat(scores).log().mean()


def _score(mass: torch.Tensor, stage: str, spec: Pipeline) -> torch.Tensor:
    """Share of attention on target, ``(blocks, batch, heads)``, from ``(blocks, batch, heads, k, k + 3)``."""
    objects = mass.shape[-2]
    if stage == "between_pair" and objects < 4:
        raise RelViTError(
            f"pipeline.between_pair with {objects} objects per image: expected two pairs; train it on the rmts task, "
            "or leave between_pair empty"
        )
    if spec.heads is not None:  # a list as index would be copied each step
        chosen = [mass[:, :, head] for head in spec.heads]
        mass = torch.stack(chosen, 2)
    target = _targets(objects, mass.device)[stage]
    to_objects = mass[..., :objects]
    hit = (to_objects * target).sum(-1)  # (blocks, batch, heads, k)
    everything = mass.sum(-1)
    if spec.exclude_prefix:
        prefix = mass[..., objects : objects + 2]
        everything = everything - prefix.sum(-1)
    # An object without tokens has no attention: it leaves the mean instead of making it NaN.
    seen = everything > 0
    smallest = torch.finfo(mass.dtype).tiny
    share = hit / everything.clamp(min=smallest)
    count = seen.sum(-1).clamp(min=1)
    mean = (share * seen).sum(-1) / count
    return mean.clamp(min=smallest)


def _targets(objects: int, device: torch.device) -> dict[str, torch.Tensor]:
    """For each stage which objects an object should attend to, bool ``(k, k)``."""
    pair = torch.arange(objects, device=device) // 2
    same_pair = pair[:, None] == pair[None, :]
    itself = torch.eye(objects, dtype=torch.bool, device=device)
    return {
        "within_object": itself,
        "within_pair": same_pair & ~itself,
        "between_pair": ~same_pair,
    }
