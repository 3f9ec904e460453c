"""How natural are edited states? Two distances from states of objects that take no part.

Symbols: x ``(n, p, hidden)``, states; r ``(N, hidden)``, natural ones.

1. ``mahalanobis_divergence`` judges one token at a time: dimensions of r are standardized, the covariance is Ledoit
   and Wolf's, and the squared distance of each x from the mean of r is averaged over tokens.
2. ``earth_movers_distance`` judges all of them: as many x and r are matched so that the moves are shortest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

if TYPE_CHECKING:
    from jaxtyping import Float, Float64

_MATCHED = 512


def mahalanobis_divergence(
    states: Float[torch.Tensor, "n positions hidden"],
    reference: Float[torch.Tensor, "states hidden"],
) -> Float64[np.ndarray, " n"]:
    """Squared Mahalanobis distance of states from a natural distribution, mean over tokens: float64 ``(n,)``.

    Dimensions are standardized first; the covariance is Ledoit and Wolf's, which few states suffice for. Computed on
    the device of the states.

    Args:
        states: ``(n, p, hidden)``.
        reference: ``(N, hidden)``, natural states.
    """
    natural = reference.to(states.device, torch.float64)
    mean = natural.mean(0)
    spread = natural.std(0, correction=0)
    spread[spread == 0] = 1
    covariance = _ledoit_wolf((natural - mean) / spread)
    flat = states.double().flatten(0, 1)
    standardized = (flat - mean) / spread
    whitened = torch.linalg.solve(covariance, standardized.T)
    distances = (standardized * whitened.T).sum(1)
    by_token = distances.unflatten(0, states.shape[:2])
    mean_distance = by_token.mean(1)
    return mean_distance.cpu().numpy()


def earth_movers_distance(
    states: Float[torch.Tensor, "n positions hidden"],
    reference: Float[torch.Tensor, "states hidden"],
) -> float:
    """How far states must be moved to become natural ones, in the unit of Grant et al. (arXiv 2511.04638).

    Each set is standardized by itself, as in their code; half the mean squared length of the shortest moves, over the
    square root of the dimensions. Theirs is a Sinkhorn divergence of small blur, ours its limit: the exact matching.
    Finite samples of one distribution are apart, too: read it beside the value of unedited states.

    Args:
        states: ``(n, p, hidden)``.
        reference: ``(N, hidden)``, natural states. At most 512 of each are matched.
    """
    flat = states.flatten(0, 1)
    count = min(len(flat), len(reference), _MATCHED)
    moved = _standardized(flat, count)
    goals = _standardized(reference, count)
    costs = torch.cdist(moved, goals).square() / 2
    rows, columns = linear_sum_assignment(costs.numpy())
    shortest = costs[rows, columns]
    width = states.shape[-1]
    return shortest.mean().item() / width**0.5


def _standardized(states: torch.Tensor, count: int) -> torch.Tensor:
    """Some states ``(count, hidden)``, evenly taken, of mean 0 and spread 1 in each dimension; on the CPU."""
    last = len(states) - 1
    every = torch.linspace(0, last, count)
    rows = every.long().to(states.device)
    chosen = states[rows].double()
    mean = chosen.mean(0)
    spread = chosen.std(0, correction=0) + 1e-5
    standardized = (chosen - mean) / spread
    return standardized.cpu()


def _ledoit_wolf(centered: torch.Tensor) -> torch.Tensor:
    """Covariance ``(p, p)`` of centered rows ``(N, p)``, shrunk (Ledoit and Wolf, 2004), as scikit-learn does it."""
    n, p = centered.shape
    empirical = centered.T @ centered / n
    level = empirical.trace() / p
    strength = empirical.square().sum()
    apart = strength - p * level**2
    squared = centered.square()
    products = squared.T @ squared
    fourth = products.sum() / n
    noise = (fourth - strength) / n
    share = (noise / apart).clamp(0, 1)
    shrinkage = share.nan_to_num(1.0)
    own = (1 - shrinkage) * empirical
    identity = torch.eye(p).to(centered)
    return own + shrinkage * level * identity
