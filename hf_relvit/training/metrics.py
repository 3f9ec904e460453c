"""Accuracy on relational judgements, beside floor and base accuracy. numpy only: the `evaluate` module wraps it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import rankdata

from ..errors import RelViTError
from ..statistics import wilson
from ..stimuli.scenes import scene_conditions

FLOOR = 0.5
"""Accuracy of guessing: labels are balanced by construction."""


def accuracy_table(scores, labels, difference=None, relation=None) -> list[dict[str, Any]]:
    """Accuracy over all scenes, by kind of difference and by RMTS cell, a row each.

    Args:
        scores: logits ``(n, 2)``, different and same; or their difference ``(n,)``, positive for same.
        labels: ``(n,)``, 0 different, 1 same.
        difference: ``(n, pairs)`` or ``(n,)``, index into DIFFERENCES; the judged (RMTS: sample) pair counts.
        relation: ``(n, pairs)``, 1 same; two pairs (sample, display) give the four cells of RMTS.

    Returns:
        Rows with ``condition`` ("all"; "difference_none", "..._both", "..._shape", "..._color";
        "sample_same_display_same" and so on; only those that occur), ``accuracy, n, ci_low, ci_high`` (Wilson, 95 %),
        ``auc`` (area under the ROC curve; None where only one label occurs), ``floor`` (guessing: 0.5) and
        ``majority`` (always giving the commoner label of the condition: a model without eyes can reach it there).
        A scene whose two logits are equal counts as judged different.

    Raises:
        RelViTError: no scenes, lengths that differ, labels other than 0 and 1, scores that are not finite.
    """
    n = len(np.asarray(labels))
    kinds = _per_scene(difference, n, "difference")
    relations = _per_scene(relation, n, "relation")
    return condition_table(scores, labels, scene_conditions(kinds, relations))


def condition_table(
    scores: Any,
    labels: Any,
    conditions: Mapping[str, np.ndarray],
    clusters: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """Accuracy over all scenes and by named kinds of scenes.

    Args:
        scores, labels: as in ``accuracy_table``.
        conditions: name -> bool ``(n,)``; those without scenes are left out.
        clusters: ``(n,)``; scenes of one cluster are not independent and count once in the interval.

    Returns:
        As ``accuracy_table``.

    Raises: see ``accuracy_table``.
    """
    margin, labels = _checked(scores, labels)
    groups = np.arange(len(labels)) if clusters is None else clusters
    kinds = {"all": np.ones(len(labels), dtype=bool), **conditions}
    occurring = {name: rows for name, rows in kinds.items() if rows.any()}
    table = []
    for name, rows in occurring.items():
        table.append(_row(name, margin[rows], labels[rows], groups[rows]))
    return table


def relational_accuracy(scores, labels, difference=None, relation=None) -> dict[str, Any]:
    """The same as one flat dict, for ``Trainer(compute_metrics=...)`` and the `evaluate` module.

    Args: see ``accuracy_table``.

    Returns:
        ``accuracy, n, ci_low, ci_high, auc, floor, majority`` over all scenes, and ``accuracy_<condition>`` for each
        further condition, such as ``accuracy_difference_shape``.

    Raises: see ``accuracy_table``.
    """
    everything, *parts = accuracy_table(scores, labels, difference, relation)
    del everything["condition"]
    for row in parts:
        name = f"accuracy_{row['condition']}"
        everything[name] = row["accuracy"]
    return everything


def _row(
    condition: str, margin: np.ndarray, labels: np.ndarray, groups: np.ndarray
) -> dict[str, Any]:
    n = len(labels)
    judged_same = margin > 0
    correct = int((judged_same == labels).sum())
    independent = len(np.unique(groups))
    counted = correct if independent == n else correct / n * independent
    low, high = wilson(counted, independent)
    same = int(labels.sum())
    return {
        "condition": condition,
        "accuracy": correct / n,
        "n": n,
        "ci_low": float(low),
        "ci_high": float(high),
        "auc": _auc(margin, labels),
        "floor": FLOOR,
        "majority": max(same, n - same) / n,
    }


def _auc(margin: np.ndarray, labels: np.ndarray) -> float | None:
    """Probability that a "same" scene scores above a "different" one, ties counting half (Mann-Whitney)."""
    same = int(labels.sum())
    different = len(labels) - same
    if not same or not different:
        return None
    ranks = rankdata(margin)
    lowest = same * (same + 1) / 2
    above = ranks[labels].sum() - lowest
    return float(above / (same * different))


def _checked(scores, labels) -> tuple[np.ndarray, np.ndarray]:
    """Margins float64 ``(n,)`` and labels bool ``(n,)``."""
    scores = np.asarray(scores, dtype=np.float64)
    labels = np.asarray(labels)
    logits_or_margins = scores.shape[1:] in ((), (2,))
    matching = labels.shape == scores.shape[:1]
    if not (logits_or_margins and matching and scores.size):
        raise RelViTError(
            f"scores {scores.shape} and labels {labels.shape}: "
            "expected logits (n, 2) or margins (n,), labels (n,), n > 0"
        )
    unknown = set(np.unique(labels).tolist()) - {0, 1}
    if unknown:
        raise RelViTError(f"labels hold {sorted(unknown)}: expected 0 (different) and 1 (same)")
    finite = np.isfinite(scores.reshape(len(scores), -1))
    bad = int((~finite).any(axis=1).sum())
    if bad:
        raise RelViTError(
            f"scores of {bad} of {len(scores)} scenes are not finite: the model diverged; "
            "lower the learning rate or train in float32"
        )
    margin = scores if scores.ndim == 1 else scores[:, 1] - scores[:, 0]
    return margin, labels.astype(bool)


def _per_scene(values, n: int, name: str) -> np.ndarray | None:
    """``(n, pairs)``; None where nothing was given."""
    if values is None:
        return None
    values = np.asarray(values)
    if values.ndim not in (1, 2) or len(values) != n:
        raise RelViTError(f"{name} {values.shape} for {n} scenes: expected ({n}, pairs)")
    return values.reshape(n, -1)
