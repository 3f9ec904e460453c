"""Do two observers err on the same pictures? Error consistency of people and models.

Symbols: n pictures; r_a, r_b ``(n,)``, whether observers a and b are right; p_a, p_b, their means.

1. Observed agreement: o, the share of pictures on which r_a = r_b.
2. Agreement of independent observers of the same accuracies: e = p_a p_b + (1 - p_a)(1 - p_b).
3. kappa = (o - e) / (1 - e): 0 for independent errors, 1 for the same ones, below 0 for opposite ones (Geirhos et al.,
   arXiv 2006.16736). Not defined where e = 1: two observers without an error agree by their accuracy alone.
4. Interval: a bootstrap over pictures (our choice).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import RelViTError

if TYPE_CHECKING:
    from jaxtyping import Bool

DEFINED = 0.75
"""Share of the draws of the bootstrap that must have a kappa for an interval. Our choice."""


def error_consistency(
    first: Bool[np.ndarray, " pictures"],
    second: Bool[np.ndarray, " pictures"],
    *,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, float]:
    """Kappa of two observers on the same pictures, see the head of this module.

    Args:
        first, second: whether each is right, bool ``(n,)``, in one order.
        draws: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        ``kappa, ci_low, ci_high`` (95 %), ``agreement`` (o), ``expected`` (e), ``n``. Kappa is NaN where e = 1, its
        interval where too few draws have one (DEFINED).

    Raises:
        RelViTError: fewer than 2 pictures, or observers of different ones.
    """
    if first.shape != second.shape or len(first) < 2:
        raise RelViTError(
            f"{len(first)} and {len(second)} answers: expected answers to the same pictures, at least 2"
        )
    right = np.stack([first, second], axis=1)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(right), size=(draws, len(right)))
    sampled = np.array([kappa(right[rows]) for rows in drawn])
    defined = sampled[np.isfinite(sampled)]
    low = high = np.nan
    if len(defined) > DEFINED * draws:
        low, high = np.quantile(defined, [0.025, 0.975])
    agreement, expected = _agreements(right)
    return {
        "kappa": kappa(right),
        "ci_low": float(low),
        "ci_high": float(high),
        "agreement": agreement,
        "expected": expected,
        "n": len(right),
    }


def kappa(right: Bool[np.ndarray, "pictures 2"]) -> float:
    """Error consistency; NaN where it is not defined."""
    agreement, expected = _agreements(right)
    return (agreement - expected) / (1 - expected) if expected < 1 else np.nan


def _agreements(right: np.ndarray) -> tuple[float, float]:
    first, second = right.mean(0)
    expected = first * second + (1 - first) * (1 - second)
    agreement = (right[:, 0] == right[:, 1]).mean()
    return float(agreement), float(expected)
