"""The paper's two auxiliary losses: disentangled object tokens, and a pipeline of attention stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..errors import RelViTError
from .loss_config import Disentanglement, Pipeline

if TYPE_CHECKING:
    from jaxtyping import Float, Int


_MIXER = 40_503
_MODULUS = 65_521
"""Of a hash of places; 65,521 is a prime."""


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


def sharpness_loss(
    entropy: list[Float[torch.Tensor, "batch heads objects"] | None],
    spec: Pipeline,
    epoch: float | None = None,
) -> Float[torch.Tensor, ""]:
    """Mean entropy of the attention of object tokens, in nats; a control of ours for ``pipeline_loss``.

    It wants attention as sharp as the pipeline makes it, and leaves open to which tokens it goes.

    Args:
        entropy: per block, float ``(batch, heads, k)`` from ``record_object_attention``.
        spec: its blocks of all stages count alike; heads and epochs.
        epoch: see ``pipeline_loss``.

    Returns:
        A scalar.
    """
    blocks = {block for layers in spec.stages(epoch).values() for block in layers}
    wanted: list[Any] = [entropy[block] for block in sorted(blocks)]
    return _of_heads(torch.stack(wanted), spec).mean()


def background_targets(
    tokens: Int[torch.Tensor, "batch objects tokens"],
    length: int,
    prefix_tokens: int,
) -> Int[torch.Tensor, "batch objects tokens"]:
    """As many tokens of the background in place of those of each object, drawn per image; a control of ours.

    Images with objects in the same places have the same targets, at each step and in each process: they follow from
    the places alone. Different objects of an image have different targets.

    Args:
        tokens: int64 ``(batch, k, p)``, sequence indices; -1 is padding, and stays.
        length: tokens of the sequence.
        prefix_tokens: the first of them, which are no patches.

    Raises:
        RelViTError: fewer background tokens than object tokens.
    """
    batch, objects, size = tokens.shape
    wanted = objects * size
    if length - prefix_tokens < 2 * wanted:
        raise RelViTError(
            f"pipeline.target random_tokens: {length - prefix_tokens} patches with {wanted} of objects leave too few "
            "of the background; choose smaller objects or a finer grid"
        )
    flat = tokens.flatten(1)
    places = torch.arange(length, device=tokens.device)
    powers = _MIXER * torch.arange(1, wanted + 1, device=tokens.device)
    image = (flat * powers).sum(1, keepdim=True) % _MODULUS
    mixed = image + places * _MIXER
    for _ in range(2):
        mixed = (mixed * mixed + places) % _MODULUS
    mixed[:, :prefix_tokens] = _MODULUS
    order = mixed.scatter(1, flat.clamp(min=0), _MODULUS)  # padding names the first token
    drawn = order.sort(dim=1, stable=True).indices[:, :wanted]
    return torch.where(flat >= 0, drawn, -1).view(batch, objects, size)


def _score(mass: torch.Tensor, stage: str, spec: Pipeline) -> torch.Tensor:
    """Share of attention on target, ``(blocks, batch, heads)``, from ``(blocks, batch, heads, k, k + 3)``."""
    objects = mass.shape[-2]
    if stage == "between_pair" and objects < 4:
        raise RelViTError(
            f"pipeline.between_pair with {objects} objects per image: expected two pairs; train it on the rmts task, "
            "or leave between_pair empty"
        )
    mass = _of_heads(mass, spec)
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


def _of_heads(values: torch.Tensor, spec: Pipeline) -> torch.Tensor:
    """Those of the heads that the loss acts on, of ``(blocks, batch, heads, ...)``."""
    if spec.heads is None:
        return values
    chosen = [
        values[:, :, head] for head in spec.heads
    ]  # a list as index would be copied each step
    return torch.stack(chosen, 2)


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
