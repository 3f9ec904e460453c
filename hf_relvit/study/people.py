"""People and models on the same pictures: how often each is right, and whether two of them err on the same ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from ..analysis.consistency import error_consistency
from ..errors import RelViTError
from ..modeling.checkpoints import Checkpoint
from ..report.experiment import open_experiment, read_answers
from ..statistics import wilson
from ..stimuli.scenes import SceneTable
from ..training.evaluation import predict
from ..training.precision import checkpoint_autocast

KINDS = {
    ("person", "person"): "two people",
    ("person", "model"): "person and model",
    ("model", "model"): "two models",
}


def compare_people(
    folder: Path,
    answers: Sequence[Path],
    models: Mapping[str, Checkpoint],
    *,
    seed: int = 0,
    progress: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Accuracy of every observer, and error consistency of every two on the pictures that both answered.

    Args:
        folder: of the experiment, see ``report.experiment``.
        answers: files that people kept.
        models: by name; they answer the same pictures.
        seed: of the bootstrap.
        progress: show a bar.

    Returns:
        Observers: ``observer, kind`` ("person", "model"), ``condition`` ("all" and the kinds of scenes), ``accuracy,
        n, ci_low, ci_high`` (Wilson, 95 %), ``floor``, ``median_rt`` (milliseconds; NaN for models).
        Pairs: ``first, second, kind``, and ``kappa, ci_low, ci_high, agreement, expected, n`` of
        ``analysis.consistency``.

    Raises:
        RelViTError: as ``read_answers`` and ``predict``; a model that is called like a person; two observers without
            2 pictures in common.
    """
    scenes = open_experiment(folder)
    people = read_answers(answers, scenes)
    observers = {str(name): own.set_index("row") for name, own in people.groupby("participant")}
    if taken := set(observers) & set(models):
        raise RelViTError(f"{min(taken)} is a person and a model: give the model another name")
    kinds = {**dict.fromkeys(observers, "person"), **dict.fromkeys(models, "model")}
    for name, checkpoint in models.items():
        with checkpoint_autocast(checkpoint):
            logits = predict(checkpoint, scenes, progress=name * progress)
        right = logits.argmax(-1) == scenes.label
        observers[name] = pd.DataFrame({"right": right, "rt": np.nan})
    table = pd.concat([_accuracy(name, own, scenes) for name, own in observers.items()])
    table.insert(1, "kind", table.observer.map(kinds))
    pairs = pd.DataFrame(
        [_pair(one, two, observers, kinds, seed) for one, two in combinations(observers, 2)]
    )
    return table.reset_index(drop=True), pairs


def _accuracy(name: str, own: pd.DataFrame, scenes: SceneTable) -> pd.DataFrame:
    """Rows of one observer: all of its pictures, and those of each kind."""
    rows = []
    answered = own.index.to_numpy()
    for condition, member in {"all": scenes.label >= 0, **scenes.conditions()}.items():
        chosen = own[member[answered]]
        if chosen.empty:
            continue
        low, high = wilson(int(chosen.right.sum()), len(chosen))
        row = {
            "observer": name,
            "condition": condition,
            "accuracy": chosen.right.mean(),
            "n": len(chosen),
            "ci_low": float(low),
            "ci_high": float(high),
            "floor": 0.5,
            "median_rt": chosen.rt.dropna().median(),
        }
        rows.append(row)
    return pd.DataFrame(rows)


def _pair(
    first: str,
    second: str,
    observers: Mapping[str, pd.DataFrame],
    kinds: Mapping[str, str],
    seed: int,
) -> dict[str, object]:
    common = observers[first].index.intersection(observers[second].index)
    if len(common) < 2:
        raise RelViTError(
            f"{first} and {second} answered {len(common)} pictures in common: expected at least 2"
        )
    one, two = (observers[name].right.loc[common].to_numpy(bool) for name in (first, second))
    kind = KINDS[kinds[first], kinds[second]]
    return {
        "first": first,
        "second": second,
        "kind": kind,
        **error_consistency(one, two, seed=seed),
    }
