import pandas as pd
import pytest
from scipy import stats

from hf_relvit.report.tables import curves, over_seeds, setting_of


def table(**accuracies):
    rows = [{"run": run, "split": "test", "accuracy": a, "n": 50, "ci_low": a - 0.1, "ci_high": a + 0.1,
             "base_accuracy": 0.5, "floor": 0.5} for run, a in accuracies.items()]  # fmt: skip
    return pd.DataFrame(rows)


def test_means_and_intervals_are_over_the_seeds_of_one_setting():
    runs = {"a-seed0": 0.7, "a-seed1": 0.8, "a-seed2": 0.75, "b-seed0": 0.6}
    result = over_seeds(table(**runs)).set_index("setting")
    assert result.accuracy.tolist() == pytest.approx([0.75, 0.6])
    low, high = stats.t.interval(
        0.95, 2, loc=0.75, scale=stats.sem([0.7, 0.8, 0.75])
    )  # wider than Wilson's
    assert (result.ci_low["a"], result.ci_high["a"]) == pytest.approx((low, high))
    assert (result.ci_low["b"], result.ci_high["b"]) == pytest.approx((0.5, 0.7))  # of its scenes
    assert result.seeds.tolist() == [3, 1]
    assert (result.lowest["a"], result.highest["a"]) == (0.7, 0.8)


def test_seeds_that_agree_are_not_certain():
    low, high = stats.binomtest(100, 100).proportion_ci(method="wilson")
    result = over_seeds(table(seed0=1.0, seed1=1.0)).iloc[0]
    assert (result.ci_low, result.ci_high) == pytest.approx((low, high))


def test_intervals_stay_between_0_and_1():
    result = over_seeds(table(seed0=0.99, seed1=1.0)).iloc[0]
    assert (result.setting, result.ci_high) == ("", 1.0)


def test_curves_count_images_and_keep_the_last_of_a_step():
    log = [
        {"step": 2, "loss": 1.0},
        {"step": 2, "eval_validation_accuracy": 0.5, "eval_test_accuracy": 0.4},
        {"step": 4, "eval_validation_accuracy": 0.7},
        {
            "step": 4,
            "eval_validation_accuracy": 0.7,
        },  # the Trainer may evaluate the last step twice
    ]
    table = curves({"log": log, "provenance": {"config": {"batch_size": 16}}})
    assert table.values.tolist() == [
        ["validation", 32, 0.5],
        ["test", 32, 0.4],
        ["validation", 64, 0.7],
    ]


@pytest.mark.parametrize(("run", "setting"), [("seed3", ""), ("rmts-32-seed12", "rmts-32")])
def test_setting_of(run, setting):
    assert setting_of(run) == setting
