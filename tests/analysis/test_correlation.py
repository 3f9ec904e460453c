import numpy as np
import pandas as pd
import pytest
from scipy import stats

from hf_relvit.analysis.correlation import (
    Correlation,
    correlate,
    disentanglement,
    pearson,
    spearman,
)
from hf_relvit.errors import RelViTError
from hf_relvit.statistics import cluster_bootstrap

# The paper's six models, 32 combinations, discrimination (its Fig. 6, from the official results)
MODELS = ("CLIP", "ImageNet", "DINOv2", "DINO", "MAE", "scratch")
X = (0.9325, 0.924, 0.923, 0.921, 0.7665, 0.287)
Y = {
    "test": (0.9847, 0.9572, 0.9854, 0.9228, 0.9487, 0.765),
    "test_compositional": (0.9847, 0.9572, 0.9853, 0.9469, 0.9488, 0.7597),
    "test_ood_shape_color": (0.9516, 0.8789, 0.947, 0.8413, 0.8505, 0.5972),
}


def paper():
    return pd.DataFrame(
        [
            {"run": model, "disentanglement": x, "split": split, "accuracy": y}
            for split, accuracies in Y.items()
            for model, x, y in zip(MODELS, X, accuracies)
        ]
    )


def line(n, noise, seed=0, group=None):
    rng = np.random.default_rng(seed)
    x = rng.random(n)
    frame = pd.DataFrame(
        {
            "run": np.arange(n),
            "disentanglement": x,
            "split": "test",
            "accuracy": x + noise * rng.normal(size=n),
        }
    )
    return frame if group is None else frame.assign(group=frame["run"] // group)


def test_the_papers_correlation_rests_on_one_model():
    result = correlate(paper())
    frame = result.to_frame().set_index(["split", "measure"])
    for split, with_all, without in (("test", 0.95, 0.27), ("test_compositional", 0.97, 0.50)):
        row = frame.loc[split, "pearson"]
        assert row.value == pytest.approx(with_all, abs=0.01)
        assert row.loo_low == pytest.approx(without, abs=0.02)
        assert row.loo_group == "scratch"
        assert row.n == row.groups == 6
        assert "6 independent runs are too few to tell: leaving out scratch alone" in row.warning
    assert frame.loc["test", "spearman"].value == pytest.approx(
        stats.spearmanr(X, Y["test"]).statistic
    )


def test_a_line_is_one_and_noise_is_none():
    row = correlate(line(30, 0.0)).frame.iloc[0]
    assert row.value == pytest.approx(1)
    assert row.ci_low == pytest.approx(1)
    assert row.loo_low == pytest.approx(1)
    assert row.warning == ""
    noise = correlate(line(60, 100.0)).frame
    assert ((noise.ci_low < 0) & (noise.ci_high > 0)).all()


def test_coverage_of_the_interval():
    rng, hits, true = np.random.default_rng(0), 0, 0.6
    for trial in range(40):
        points = rng.multivariate_normal([0, 0], [[1, true], [true, 1]], 25)
        low, high = cluster_bootstrap(points, np.arange(25), pearson, draws=300, seed=trial)
        hits += low <= true <= high
    assert hits >= 34  # 95 % nominal: fewer than 34 of 40 has probability 0.3 %


def test_seeds_of_one_model_are_not_independent():
    alone, grouped = line(24, 0.3), line(24, 0.3, group=4)
    copies = pd.concat(
        [alone.assign(group=alone["run"]), alone.assign(run=alone["run"] + 100, group=alone["run"])]
    )
    one, two = correlate(alone).frame.iloc[0], correlate(copies).frame.iloc[0]
    assert two.n == 48
    assert two.groups == 24
    assert (two.ci_low, two.ci_high) == pytest.approx(
        (one.ci_low, one.ci_high)
    )  # copies add no certainty
    assert correlate(grouped).frame.iloc[0].warning.startswith("6 independent runs")


def test_measures_agree_with_scipy_and_survive_constants():
    rng = np.random.default_rng(1)
    points = np.stack([rng.integers(0, 5, 40), rng.integers(0, 5, 40)], 1).astype(float)
    assert pearson(points) == pytest.approx(stats.pearsonr(*points.T).statistic)
    assert spearman(points) == pytest.approx(stats.spearmanr(*points.T).statistic)
    points[:, 1] = 0.1
    assert pearson(points) == 0


def test_disentanglement_of_a_run():
    das = pd.DataFrame(
        {
            "property": ["shape"] * 3 + ["color"] * 3,
            "layer": [0, 1, 2] * 2,
            "accuracy": [0.5, 0.9, 0.1, 0.6, 0.5, 0.7],
        }
    )
    assert disentanglement(das) == pytest.approx(0.8)
    with pytest.raises(RelViTError, match="no rows of property 'color'"):
        disentanglement(das[das.property == "shape"])
    with pytest.raises(RelViTError, match="several rows of one property and layer"):
        disentanglement(pd.concat([das, das]))
    with pytest.raises(RelViTError, match="column 'layer' is missing"):
        disentanglement(das.drop(columns="layer"))


def test_bad_tables():
    with pytest.raises(
        RelViTError, match="column 'run' is missing: expected a table with run, disentanglement"
    ):
        correlate(paper().drop(columns="run"))
    with pytest.raises(RelViTError, match="run 'CLIP' is there twice for split 'test'"):
        correlate(pd.concat([paper(), paper()]))
    with pytest.raises(RelViTError, match="run 'ImageNet', split 'test' lacks a value"):
        correlate(paper().assign(accuracy=lambda f: f.accuracy.where(f["run"] != "ImageNet")))
    with pytest.raises(RelViTError, match="column 'accuracy' holds text: expected a number"):
        correlate(paper().assign(accuracy="high"))
    with pytest.raises(RelViTError, match="split 'test' has 2 independent runs"):
        correlate(line(2, 0.1))


def test_save_load_and_plot(tmp_path):
    result = correlate(paper())
    result.save(tmp_path)
    again = Correlation.load(tmp_path)
    pd.testing.assert_frame_equal(again.to_frame(), result.frame)
    pd.testing.assert_frame_equal(again.runs, result.runs)
    assert again.facts == result.facts
    again.plot(tmp_path / "correlation.png")
    again.plot(tmp_path / "correlation.svg")
    assert "too few to tell" in (tmp_path / "correlation.svg").read_text()
