"""Intervals that numbers carry: Wilson for proportions, cluster bootstrap for everything drawn in groups."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import special

from .errors import RelViTError


def wilson(successes, n, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Wilson score interval of a proportion (Wilson 1927; no continuity correction).

    It keeps its coverage near 0 and 1, where trained models live and the textbook interval collapses.

    Args:
        successes: integers of any shape.
        n: trials, broadcast against ``successes``; 0 trials give (0, 1).
        level: of confidence, between 0 and 1.

    Returns:
        (low, high), float64 in the broadcast shape, within 0..1.

    Raises:
        RelViTError: more successes than trials, negative counts, a level outside (0, 1).
    """
    _check_level(level)
    successes, n = np.broadcast_arrays(
        np.asarray(successes, dtype=np.float64), np.asarray(n, dtype=np.float64)
    )
    if not ((successes >= 0) & (successes <= n)).all():
        raise RelViTError(
            f"successes {successes.tolist()} of n {n.tolist()}: expected 0 <= successes <= n"
        )
    z = special.ndtri((1 + level) / 2)
    denominator = n + z**2
    center = (successes + z**2 / 2) / denominator
    half = z / denominator * np.sqrt(successes * (n - successes) / np.maximum(n, 1) + z**2 / 4)
    # rounding must not turn "none" and "all" into 1e-17 and 1 - 1e-16
    low = np.where(successes == 0, 0.0, center - half)
    high = np.where(successes == n, 1.0, center + half)
    return low, high


def cluster_bootstrap(
    values,
    clusters,
    statistic: Callable[[np.ndarray], float | np.ndarray] = np.mean,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float | np.ndarray, float | np.ndarray]:
    """Bootstrap interval where rows of one cluster (a seed, a draw, a twin pair) are not independent.

    Whole clusters are drawn with replacement. The quantiles are those of the expanded percentile interval (Hesterberg
    2015, "What teachers should know about the bootstrap"): with few clusters the plain percentile interval is too
    narrow; a t quantile and the factor sqrt(k / (k - 1)) make up for it. Our choice: results often rest on few
    seeds. No bootstrap exceeds the range of the data: in simulation the 95 % interval of a mean covers 0.95 with
    20 clusters, 0.92 with 10 or 5, but only 0.7 with 3.

    Args:
        values: ``(n, ...)``.
        clusters: ``(n,)``, any labels.
        statistic: of rows ``(m, ...)``, to a number or an array; ``m`` varies when clusters differ in size.
        draws: bootstrap samples.
        seed: of the samples; the global generator is not touched.
        level: of confidence, between 0 and 1.

    Returns:
        (low, high), each in the shape of the statistic.

    Raises:
        RelViTError: lengths that differ, fewer than 2 clusters, values that are not finite, a level outside (0, 1).
    """
    _check_level(level)
    values = np.asarray(values)
    clusters = np.asarray(clusters)
    if clusters.shape != values.shape[:1]:
        raise RelViTError(
            f"clusters {clusters.shape} for values {values.shape}: expected one label a row"
        )
    if draws < 1:
        raise RelViTError(
            f"{draws} bootstrap draws: expected at least 1 (2000 for a stable 95 % interval)"
        )
    missing = np.count_nonzero(~np.isfinite(values))
    if missing:
        raise RelViTError(
            f"{missing} of {values.size} values are not finite: drop or repair them first"
        )
    names, member = np.unique(clusters, return_inverse=True)
    k = len(names)
    if k < 2:
        raise RelViTError(
            f"{k} cluster: an interval needs at least 2 (more seeds, or a finer grouping)"
        )
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(k, np.full(k, 1 / k), draws)
    sampled = [statistic(np.repeat(values, count[member], axis=0)) for count in counts]
    tail = _expanded_tail(k, level)
    low, high = np.quantile(np.array(sampled), [tail, 1 - tail], axis=0)
    return low, high


def _expanded_tail(k: int, level: float) -> float:
    """Share of the bootstrap samples beyond either end of the expanded percentile interval of ``k`` clusters."""
    quantile = special.stdtrit(k - 1, (1 - level) / 2)
    return special.ndtr(np.sqrt(k / (k - 1)) * quantile)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise RelViTError(
            f"confidence level {level}: expected a number between 0 and 1, such as 0.95"
        )
