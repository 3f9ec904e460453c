import numpy as np
import pytest
from scipy.stats import binomtest

from hf_relvit.errors import RelViTError
from hf_relvit.statistics import cluster_bootstrap, wilson


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
@pytest.mark.parametrize(
    "successes, n", [(0, 10), (10, 10), (1, 1), (3, 7), (50, 100), (6399, 6400)]
)
def test_wilson_is_scipys(successes, n, level):
    expected = binomtest(successes, n).proportion_ci(level, "wilson")
    np.testing.assert_allclose(
        wilson(successes, n, level), (expected.low, expected.high), rtol=1e-12, atol=1e-15
    )


def test_wilson_on_arrays():
    low, high = wilson(np.array([[0, 5], [9, 10]]), 10)
    assert low.shape == high.shape == (2, 2)
    assert (low[0, 1], high[0, 1]) == tuple(map(float, wilson(5, 10)))
    assert low[0, 0] == 0 and high[1, 1] == 1
    assert tuple(map(float, wilson(0, 0))) == (0, 1)


@pytest.mark.parametrize(
    "successes, n, level", [(3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0), (1, 2, 95)]
)
def test_wilson_refuses(successes, n, level):
    with pytest.raises(RelViTError, match="expected"):
        wilson(successes, n, level)


@pytest.mark.parametrize(
    "k, at_least", [(5, 0.88), (20, 0.915)]
)  # nominal less 3 standard errors, 0.038; 5 are few
def test_cluster_bootstrap_covers_at_its_level(k, at_least):
    """Rows share their cluster's offset: the right interval covers 95 %, one that ignores clusters far less."""
    rng = np.random.default_rng(1)
    runs, size = 300, 8
    covered = ignorant = 0
    for seed in range(runs):
        clusters = np.repeat(np.arange(k), size)
        values = rng.normal(size=k)[clusters] + rng.normal(scale=0.5, size=k * size)
        low, high = cluster_bootstrap(values, clusters, draws=400, seed=seed)
        covered += low <= 0 <= high
        low, high = cluster_bootstrap(values, np.arange(k * size), draws=200, seed=seed)
        ignorant += low <= 0 <= high
    assert at_least <= covered / runs <= 0.985, covered / runs
    assert ignorant / runs < 0.75


def test_cluster_bootstrap_level_narrows():
    values = np.random.default_rng(0).normal(size=200)
    wide, narrow = (
        np.ptp(cluster_bootstrap(values, np.arange(200), level=level)) for level in (0.95, 0.5)
    )
    # a normal mean: 1.96 and 0.674 standard errors to each side
    np.testing.assert_allclose(
        [wide, narrow], 2 * values.std() / 200**0.5 * np.array([1.96, 0.674]), rtol=0.1
    )


def test_cluster_bootstrap_resamples_whole_clusters():
    """Unequal clusters that balance only inside themselves: any draw of whole ones gives the same mean."""
    values = np.array([1.0, 3.0, 0.0, 4.0, 2.0, 2.0])
    clusters = np.array(["b", "b", "a", "a", "a", "c"])
    assert cluster_bootstrap(values, clusters) == (2, 2)


def test_cluster_bootstrap_of_any_statistic_and_shape():
    values = np.random.default_rng(0).normal([0, 5], size=(60, 2))
    clusters = np.arange(60) // 3
    low, high = cluster_bootstrap(
        values, clusters, lambda rows: np.median(rows, axis=0), draws=300, seed=7
    )
    assert low.shape == high.shape == (2,)
    assert (low < np.median(values, axis=0)).all() and (np.median(values, axis=0) < high).all()
    again = cluster_bootstrap(
        values, clusters, lambda rows: np.median(rows, axis=0), draws=300, seed=7
    )
    np.testing.assert_array_equal(again, (low, high))


@pytest.mark.parametrize(
    "values, clusters, options, message",
    [
        ([1.0, 2.0], [0], {}, "one label a row"),
        ([1.0, 2.0], [0, 0], {}, "1 cluster: an interval needs at least 2"),
        ([], [], {}, "0 cluster"),
        ([1.0, np.nan, np.inf], [0, 1, 2], {}, "2 of 3 values are not finite"),
        ([1.0, 2.0], [0, 1], {"draws": 0}, "0 bootstrap draws"),
        ([1.0, 2.0], [0, 1], {"level": 0}, "confidence level 0"),
    ],
)
def test_cluster_bootstrap_refuses(values, clusters, options, message):
    with pytest.raises(RelViTError, match=message):
        cluster_bootstrap(values, clusters, **options)
