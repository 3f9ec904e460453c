"""The parameters of a subspace that is learned: a rotation and a mask (DAS and its relatives).

1. The rotation is R = Q C: Q ``(hidden, hidden)`` is random or a start, C the Cayley transform of a skew-symmetric
   matrix that is learned.
2. The mask m ``(hidden,)`` is the sigmoid of logits over a temperature; at the end it is 0 or 1.
3. The relatives learn less: only a mask, only a few rows, one boundary; or more: rows to read and rows to write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from .subspaces import random_rotation

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

_EDGE = 20
"""At temperature 1 the edge of a boundless mask is a twentieth of the directions wide (our choice)."""
START_LOGIT = 1.0
"""Of the mask of directions that a search starts from; less 1 of the others (our choice)."""


class LearnedSubspace(nn.Module):
    """Parameters of a rotation and of a mask.

    "das": a full rotation and one mask logit a direction (the paper). "identity": a mask on the standard basis.
    "low_rank": ``size`` orthonormal directions, all of them in. "boundless": a full rotation and one boundary, below
    which directions are in (Boundless DAS, arXiv 2305.08809).

    The rotation is ``Q C``: Q is random and fixed, C the Cayley transform of a learned skew-symmetric matrix, 0 at
    first. The official code takes the matrix exponential instead; both reach the rotations around Q. Our choice: the
    Cayley transform and its gradient take a fifth of the time at 768 dimensions, and wait for no device.

    "oblique": rows that are read and rows that are written, from a closed form on; all of them in.

    Args:
        method: one of LEARNED.
        width: of the residual stream.
        size: directions, for "low_rank".
        generator: of the random start.
        start: rows ``(r, hidden)`` to read and orthonormal rows to write, to start from: the first directions of
            "das", more in than out; all of "low_rank" and "oblique". The search starts at random without them.
    """

    def __init__(
        self,
        method: str,
        width: int,
        size: int | None,
        generator: torch.Generator,
        start: tuple[torch.Tensor, torch.Tensor] | None = None,
    ):
        super().__init__()
        self.method = method
        self.width = width
        rotation = random_rotation(width, width, generator)
        logits = torch.zeros(width)  # every mask starts at 0.5
        if start is not None and method != "oblique":
            written = start[1][:size]
            rotation = _completed(written, rotation)
            logits = torch.full_like(logits, -START_LOGIT)
            logits[: len(written)] = START_LOGIT
            size = len(written)
        if method == "oblique":
            read, written = start or (rotation[:size], rotation[:size])
            self.read = nn.Parameter(read.clone())
            self.write = nn.Parameter(written.clone())
        elif method == "low_rank":
            self.frame = nn.Parameter(rotation[:size].T.contiguous())
        else:
            first = torch.eye(width) if method == "identity" else rotation
            self.register_buffer("start", first)
        if method in ("das", "boundless"):
            self.skew = nn.Parameter(torch.zeros(width, width))
        if method in ("das", "identity"):
            self.logits = nn.Parameter(logits)
        if method == "boundless":
            self.boundary = nn.Parameter(torch.tensor(0.5))  # as a share of the directions

    def rotation(self) -> Float[torch.Tensor, "k hidden"]:
        """The rows that are read, ``(k, hidden)``. Costly: evaluate it once a step."""
        if self.method == "low_rank":
            return torch.linalg.qr(self.frame).Q.T
        if self.method == "identity":
            return self.get_buffer("start")
        if self.method == "oblique":  # so that what is written is read as it is
            return torch.linalg.solve(self.read @ self.write.T, self.read)
        upper = self.skew.triu(1)
        antisymmetric = upper - upper.T
        identity = torch.eye(self.width, device=upper.device)
        never_singular = identity - antisymmetric / 2
        inverse = torch.linalg.inv_ex(never_singular).inverse  # inv would check
        cayley = 2 * inverse - identity
        return self.get_buffer("start") @ cayley

    def written(self) -> Float[torch.Tensor, "k hidden"] | None:
        """The rows that are written, ``(k, hidden)``; None where those that are read are."""
        return self.write if self.method == "oblique" else None

    def mask(self, temperature: float) -> Float[torch.Tensor, " k"]:
        """Soft mask ``(k,)`` in 0..1, harder with lower temperature."""
        if self.method == "low_rank":
            return self.frame.new_ones(self.frame.shape[1])
        if self.method == "oblique":
            return self.write.new_ones(len(self.write))
        logits = self._mask_logits()
        if self.method == "boundless":
            logits = logits * _EDGE / self.width
        return torch.sigmoid(logits / temperature)

    @torch.no_grad()
    def hard(self) -> tuple[Float[torch.Tensor, "k hidden"], Bool[torch.Tensor, " k"]]:
        """Rotation, and the mask in the limit of temperature 0, bool ``(k,)``, for evaluation; both on the CPU."""
        rotation = self.rotation().cpu()
        whole = self.method in ("low_rank", "oblique")
        logits = self.mask(1.0) if whole else self._mask_logits()
        inside = logits > 0
        return rotation.contiguous(), inside.cpu()

    def _mask_logits(self) -> torch.Tensor:
        """Above 0 for directions that are in; for "boundless" how many directions below the boundary each is."""
        if self.method != "boundless":
            return self.logits
        directions = torch.arange(self.width, device=self.boundary.device)
        return self.boundary * self.width - 0.5 - directions

    def groups(self, lr_rotation: float, lr_mask: float) -> list[dict]:
        """Parameter groups of an optimizer."""
        masks = []
        rotations = []
        for name, parameter in self.named_parameters():
            group = masks if name in ("logits", "boundary") else rotations
            group.append(parameter)
        return [
            {"params": rotations, "lr": lr_rotation},
            {"params": masks, "lr": lr_mask},
        ]


def _completed(rows: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
    """A rotation whose first rows are given orthonormal ones; the others are those of a rotation, made orthogonal."""
    rest = rotation - rotation @ rows.T @ rows
    directions = torch.linalg.svd(rest, full_matrices=False).Vh
    missing = len(rotation) - len(rows)
    return torch.cat([rows, directions[:missing]])
