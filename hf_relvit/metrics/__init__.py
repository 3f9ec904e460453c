"""The `evaluate` module of relational accuracy, found by path: no Hub, no network."""

from __future__ import annotations

from pathlib import Path


def load_metric():
    """``evaluate.Metric`` around ``hf_relvit.training.metrics.relational_accuracy``; works offline.

    Scores stay in memory, so that parallel runs do not lock each other's cache files.
    """
    import evaluate

    return evaluate.load(str(Path(__file__).parent / "relational_accuracy"), keep_in_memory=True)
