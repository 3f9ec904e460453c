import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

import hf_relvit.metrics
from hf_relvit.errors import RelViTError
from hf_relvit.metrics import load_metric
from hf_relvit.stimuli.scenes import DIFFERENCES
from hf_relvit.training.metrics import accuracy_table, relational_accuracy

# six scenes of one pair: margins, labels, kinds of difference
LOGITS = np.array(
    [[0.0, 2.0], [1.0, 0.5], [3.0, 0.0], [0.0, 1.0], [2.0, 0.0], [1.0, 1.0]], dtype=np.float32
)
LABELS = np.array([1, 1, 0, 0, 0, 0])
KIND = np.array([0, 0, 1, 2, 2, 3])


def by_condition(*args, **kwargs):
    return {row["condition"]: row for row in accuracy_table(*args, **kwargs)}


def test_by_hand():
    rows = by_condition(LOGITS, LABELS, difference=KIND[:, None], relation=LABELS[:, None])
    assert list(rows) == ["all", *(f"difference_{name}" for name in DIFFERENCES)]
    assert {name: (row["accuracy"], row["n"]) for name, row in rows.items()} == {
        "all": (4 / 6, 6),
        "difference_none": (0.5, 2),
        "difference_both": (1.0, 1),
        "difference_shape": (0.5, 2),
        "difference_color": (1.0, 1),  # equal logits: judged different
    }
    everything = rows["all"]
    interval = binomtest(4, 6).proportion_ci(method="wilson")
    assert (everything["ci_low"], everything["ci_high"]) == pytest.approx(
        (interval.low, interval.high)
    )
    # margins 2, -0.5 against -3, 1, -2, 0: 4 + 2 of 8 comparisons are won
    assert everything["auc"] == pytest.approx(6 / 8)
    assert (everything["floor"], everything["majority"]) == (0.5, 4 / 6)
    assert rows["difference_none"]["auc"] is None and rows["difference_none"]["majority"] == 1


def test_auc_with_ties_is_sklearns():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 500)
    scores = np.round(rng.normal(size=500) + labels, 1)
    assert relational_accuracy(scores, labels)["auc"] == pytest.approx(
        roc_auc_score(labels, scores), abs=1e-12
    )


def test_logits_and_margins_agree():
    assert relational_accuracy(LOGITS, LABELS) == relational_accuracy(
        LOGITS[:, 1] - LOGITS[:, 0], LABELS
    )


def test_rmts_cells():
    relation = np.array([[1, 1], [1, 1], [1, 0], [0, 1], [0, 0], [0, 0]])
    labels = (relation[:, 0] == relation[:, 1]).astype(int)
    margin = np.array([1, -1, -1, 1, 1, 1.0])
    difference = np.array([[0, 0], [0, 0], [0, 1], [2, 0], [3, 2], [2, 3]])
    rows = by_condition(margin, labels, difference, relation)
    assert {name: (row["accuracy"], row["n"]) for name, row in rows.items()} == {
        "all": (4 / 6, 6),
        "difference_none": (2 / 3, 3),
        "difference_shape": (0.5, 2),
        "difference_color": (1.0, 1),
        "sample_same_display_same": (0.5, 2),
        "sample_same_display_different": (1.0, 1),
        "sample_different_display_same": (0.0, 1),
        "sample_different_display_different": (1.0, 2),
    }
    assert rows["difference_none"]["auc"] is not None  # of the sample pair: both labels occur


def test_flat_dict_says_the_same():
    flat = relational_accuracy(LOGITS, LABELS, KIND)
    assert set(flat) == {"accuracy", "n", "ci_low", "ci_high", "auc", "floor", "majority"} | {
        f"accuracy_difference_{name}" for name in DIFFERENCES
    }
    assert flat["accuracy_difference_shape"] == 0.5 and flat["accuracy"] == 4 / 6
    assert all(
        type(value) in (int, float) for value in flat.values()
    )  # JSON and trackers take them as they are
    assert relational_accuracy(LOGITS[:2], LABELS[:2])["auc"] is None


@pytest.mark.parametrize(
    "scores, labels, options, message",
    [
        (
            [[0.0, np.nan], [np.inf, 0.0], [0.0, 1.0]],
            [0, 1, 1],
            {},
            "scores of 2 of 3 scenes are not finite",
        ),
        ([np.nan, 0.0], [0, 1], {}, "scores of 1 of 2 scenes"),
        ([[0.0, 1.0]], [0, 1], {}, r"scores \(1, 2\) and labels \(2,\)"),
        ([[0.0, 1.0, 2.0]], [0], {}, r"scores \(1, 3\)"),
        ([], [], {}, "n > 0"),
        ([0.0, 1.0], [0, 2], {}, r"labels hold \[2\]"),
        ([0.0, 1.0], [0, -100], {}, r"labels hold \[-100\]"),
        ([0.0, 1.0], [0, 1], {"difference": [0]}, r"difference \(1,\) for 2 scenes"),
        ([0.0, 1.0], [0, 1], {"relation": [[0, 1]]}, r"relation \(1, 2\) for 2 scenes"),
    ],
)
def test_bad_input(scores, labels, options, message):
    with pytest.raises(RelViTError, match=message):
        relational_accuracy(scores, labels, **options)


def test_evaluate_module_is_the_function():
    metric = load_metric()
    expected = relational_accuracy(LOGITS, LABELS, KIND[:, None])
    assert (
        metric.compute(predictions=LOGITS, references=LABELS, difference=KIND[:, None]) == expected
    )
    for start in (0, 3):  # in batches, as an evaluation loop gives them
        metric.add_batch(
            predictions=LOGITS[start : start + 3], references=LABELS[start : start + 3]
        )
    assert metric.compute(difference=KIND) == expected
    margins = LOGITS[:, 1] - LOGITS[:, 0]
    assert metric.compute(predictions=margins, references=LABELS, difference=KIND) == expected
    with pytest.raises(RelViTError, match="not finite"):
        metric.compute(predictions=[[0.0, np.nan]], references=[1])


@pytest.mark.long
def test_evaluate_loads_it_by_path_in_a_fresh_process_offline(tmp_path):
    """No cache, no network, not our helper: what a user types."""
    folder = Path(hf_relvit.metrics.__file__).parent / "relational_accuracy"
    code = (
        "import socket\n"
        "def refuse(*args, **kwargs): raise AssertionError('network')\n"
        "socket.socket.connect = refuse\n"
        "import evaluate\n"
        f"metric = evaluate.load({str(folder)!r})\n"
        "print(metric.compute(predictions=[[2.0, 0.5], [0.1, 0.9]], references=[0, 1])['accuracy'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PATH": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "1.0", done.stderr


def test_metrics_need_no_torch():
    code = (
        "import sys, hf_relvit.training.metrics, hf_relvit.metrics; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
