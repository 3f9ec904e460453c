"""Error consistency: the values that its definition gives, and what it must not say."""

from __future__ import annotations

import numpy as np
import pytest

from hf_relvit.analysis.consistency import error_consistency
from hf_relvit.errors import RelViTError


def observer(accuracy: float, n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(n) < accuracy


def test_the_definition_on_counted_answers():
    """40 pictures: both right 25, both wrong 5, one of them right 5 each."""
    first = np.repeat([True, False, True, False], [25, 5, 5, 5])
    second = np.repeat([True, False, False, True], [25, 5, 5, 5])
    found = error_consistency(first, second)
    assert found["agreement"] == 0.75
    assert found["expected"] == pytest.approx(0.75**2 + 0.25**2)
    assert found["kappa"] == pytest.approx((0.75 - 0.625) / 0.375)
    assert found["ci_low"] < found["kappa"] < found["ci_high"]
    assert found["n"] == 40


def test_the_same_errors_are_1_and_independent_ones_are_near_0():
    first = observer(0.8, 2000, 0)
    assert error_consistency(first, first)["kappa"] == 1
    found = error_consistency(first, observer(0.7, 2000, 1))
    assert found["ci_low"] < 0 < found["ci_high"]
    opposite = error_consistency(observer(0.5, 2000, 2), ~observer(0.5, 2000, 2))
    assert opposite["kappa"] < -0.9


def test_the_interval_covers_as_often_as_it_says():
    covered = []
    for seed in range(100):
        first, second = observer(0.8, 200, 2 * seed), observer(0.7, 200, 2 * seed + 1)
        found = error_consistency(first, second, draws=200, seed=seed)
        covered.append(found["ci_low"] <= 0 <= found["ci_high"])
    assert 0.88 <= np.mean(covered) <= 1


def test_two_observers_without_errors_have_no_kappa():
    perfect = np.ones(20, dtype=bool)
    found = error_consistency(perfect, perfect)
    assert np.isnan([found["kappa"], found["ci_low"], found["ci_high"]]).all()
    assert found["agreement"] == 1


def test_answers_to_other_pictures_are_refused():
    with pytest.raises(RelViTError, match="same pictures"):
        error_consistency(np.ones(3, dtype=bool), np.ones(4, dtype=bool))
