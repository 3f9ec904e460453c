"""Subspaces to intervene on: how they are swapped, and baselines that nobody trains.

A subspace is a rotation R, orthonormal rows ``(k, hidden)``, and a mask m ``(k,)``: which of the rows count.

1. ``interchange`` swaps it: ``b + R^T[m R (s - b)]``.
2. ``baseline_subspace`` learns nothing: principal directions of the states, differences of means, random directions,
   or all of them (the full swap).

Learned ones: ``das_rotation``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import torch

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Shaped

Learned = Literal["das", "identity", "low_rank", "boundless", "oblique"]
Baseline = Literal["pca", "mean_difference", "random_subspace", "full_swap"]
Method = Literal[Learned, "closed_form", "dictionary", Baseline]
LEARNED: tuple[str, ...] = get_args(Learned)
BASELINES: tuple[str, ...] = get_args(Baseline)
METHODS: tuple[str, ...] = get_args(Method)
SIZED = ("low_rank", "pca", "mean_difference", "random_subspace")
"""Methods whose number of dimensions the caller chooses."""
WITHOUT_LABELS = ("pca", "random_subspace", "full_swap")
"""Methods that take states alone, so that shuffled labels change nothing."""


def interchange(
    base: Float[torch.Tensor, "*leading hidden"],
    source: Float[torch.Tensor, "*leading hidden"],
    rotation: Float[torch.Tensor, "k hidden"],
    mask: Shaped[torch.Tensor, " k"],
    write: Float[torch.Tensor, "k hidden"] | None = None,
) -> Float[torch.Tensor, "*leading hidden"]:
    """``R^T[(1 - m) R b + m R s]``, the intervention of the paper (section 5), for all tokens as one product.

    Written as ``b + R^T[m R (s - b)]``, it leaves ``b`` alone to the last bit where ``s`` equals it, and needs no
    more rows of R than those of the subspace. An oblique swap, ``b + W^T[m R (s - b)]``, writes other directions than
    it reads (see ``closed_form``).

    Args:
        base, source: ``(..., hidden)``.
        rotation: ``(k, hidden)``, the rows that are read; orthonormal unless there is ``write``.
        mask: ``(k,)``, 0 keeps the base's coordinate, 1 takes the source's.
        write: ``(k, hidden)``, the rows that are written; by default those that are read.
    """
    difference = (source - base).to(rotation.dtype)
    coordinates = difference @ rotation.T * mask
    change = coordinates @ (rotation if write is None else write)
    return base + change.to(base.dtype)


def random_rotation(
    k: int, width: int, generator: torch.Generator
) -> Float[torch.Tensor, "k hidden"]:
    """``k`` random orthonormal rows ``(k, width)``."""
    drawn = torch.randn(width, k, generator=generator)
    q, r = torch.linalg.qr(drawn)
    signs = r.diagonal().sign()
    columns = q * signs
    return columns.T.contiguous()


def baseline_subspace(
    method: str,
    states: Float[torch.Tensor, "n hidden"],
    values: Int[torch.Tensor, " n"],
    size: int | None,
    generator: torch.Generator,
) -> tuple[Float[torch.Tensor, "k hidden"], Bool[torch.Tensor, " k"]]:
    """A subspace without training.

    "pca": the directions of largest variance of object states. "mean_difference": the directions in which the mean
    states of the property's values differ most (at most one fewer than there are values). "random_subspace".
    "full_swap": all of it.

    Args:
        method: one of BASELINES.
        states: ``(n, hidden)``, of object tokens.
        values: ``(n,)``, the property's value of each.
        size: number of directions; ignored by "full_swap".
        generator: of the random directions.

    Returns:
        rotation float32 ``(k, hidden)`` and mask bool ``(k,)``, all true.
    """
    width = states.shape[1]
    if method == "full_swap":
        rotation = torch.eye(width)
    elif method == "random_subspace":
        rotation = random_rotation(size or width, width, generator)
    else:
        exact = states.double()
        centered = exact - exact.mean(0)
        if method == "mean_difference":
            centered = _means(centered, values)
            size = min(size or width, len(centered) - 1)
        directions = torch.linalg.svd(centered, full_matrices=False).Vh
        rotation = directions[:size].float()
    mask = torch.ones(len(rotation), dtype=torch.bool)
    return rotation, mask


def _means(states: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The mean state of each value, float64 ``(values, hidden)``."""
    kinds, member = values.unique(return_inverse=True)
    width = states.shape[1]
    sums = torch.zeros(len(kinds), width, dtype=torch.float64)
    sums.index_add_(0, member, states)
    counts = member.bincount()
    return sums / counts[:, None]
