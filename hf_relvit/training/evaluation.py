"""Accuracy on every split that tests something, beside its floor and controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from ..errors import RelViTError
from ..limits import check_count
from ..modeling.checkpoints import Checkpoint
from ..progress import batches
from ..stimuli.distribution import SceneDistribution
from ..stimuli.own_pictures import TASK as OWN
from ..stimuli.own_pictures import OwnPictures
from ..stimuli.photorealistic.pairs import PhotoPairs
from ..stimuli.scenes import SceneTable
from ..stimuli.splits import Split
from .data import PublishedScenes
from .metrics import condition_table

PHOTOREALISTIC = "photorealistic"
"""The name of the split of ``PhotoPairs`` in tables."""


@dataclass(frozen=True)
class EvaluationConfig:
    """How much is evaluated."""

    scenes: int = 1024
    """Of each split."""
    splits: tuple[Split, ...] = ()
    """Splits to draw scenes of; all but train by default."""
    batch_size: int = 256
    """Images at once. Does not change the result beyond rounding."""

    def __post_init__(self):
        for name in ("scenes", "batch_size"):
            check_count(name, getattr(self, name), least=1)


@torch.inference_mode()
def predict(
    checkpoint: Checkpoint, scenes: Any, *, batch_size: int = 256, progress: str = ""
) -> np.ndarray:
    """Logits of scenes, float32 ``(n, 2)``: different, same.

    Args:
        checkpoint: whose answers are wanted.
        scenes: ``SceneTable``, ``PhotoPairs`` or ``PublishedScenes``.
        batch_size: does not change the result beyond rounding.
        progress: label of a progress bar; none if empty.

    Raises:
        RelViTError: a processor that the model was not trained with, or scenes of another geometry.
    """
    model = checkpoint.model
    model.eval()
    parts = []
    for rows in batches(len(scenes), batch_size, progress, bool(progress)):
        batch = scenes[rows]
        logits = model(pixel_values=checkpoint.pixel_values(batch)).logits
        parts.append(logits.float())
    return torch.cat(parts).cpu().numpy()


def sample_splits(
    distribution: SceneDistribution, n: int, splits: tuple[str, ...] = ()
) -> dict[str, SceneTable]:
    """``n`` scenes of each evaluation split: all but "train", unless named.

    Raises:
        RelViTError: a split that does not exist for this number of combinations.
    """
    for split in splits:
        if split not in distribution.splits:
            raise RelViTError(
                f"unknown split {split!r}: expected some of {', '.join(distribution.splits)}"
            )
    wanted = splits or [split for split in distribution.splits if split != "train"]
    return {split: distribution.sample(split, n) for split in wanted}


def evaluate(
    checkpoint: Checkpoint,
    data: Mapping[str, Any],
    *,
    batch_size: int = EvaluationConfig.batch_size,
    progress: bool = False,
) -> pd.DataFrame:
    """Accuracy on named sets of scenes.

    Args:
        checkpoint: a classifier and its processor.
        data: split name -> scenes: ``sample_splits``, ``PhotoPairs`` (zero-shot; paper, Table 2, "Realistic acc."),
            ``OwnPictures``, or a published dataset (``datasets.load_dataset``).
        batch_size: does not change the result beyond rounding.
        progress: show a bar.

    Returns:
        One row per split and condition ("all" and the kinds of scenes, see ``conditions`` of the scenes): ``split,
        condition, accuracy, n, ci_low, ci_high`` (Wilson, 95 %; scenes that are not independent, such as
        photorealistic twins, count once in it, so it is never too narrow), ``auc``, ``base_accuracy`` (the same
        architecture with random weights; our choice, as it exists for every checkpoint) and ``floor`` (guessing).

    Raises:
        RelViTError: no scenes, images of another size than the model's, a foreign processor, photorealistic pairs for
            a model of another task than discrimination.
    """
    if not data:
        raise RelViTError("no splits to evaluate on: expected at least one, such as test")
    random = checkpoint.randomly_initialized()
    frames = []
    for split, given in data.items():
        scenes = given
        if not isinstance(given, SceneTable | PhotoPairs | OwnPictures):
            scenes = PublishedScenes(given, checkpoint.geometry.image_size)
        if len(scenes) == 0:
            raise RelViTError(f"split {split!r} holds no scenes: expected at least one")
        _check_task(checkpoint, scenes)
        tables = []
        for one, label in ((checkpoint, split), (random, f"{split}, random weights")):
            scores = predict(one, scenes, batch_size=batch_size, progress=progress * label)
            tables.append(
                pd.DataFrame(
                    condition_table(scores, scenes.label, scenes.conditions(), scenes.clusters)
                )
            )
        frame, base = tables
        base = base[["condition", "accuracy"]].rename(columns={"accuracy": "base_accuracy"})
        frames.append(frame.merge(base, on="condition").assign(split=split))
    frame = pd.concat(frames, ignore_index=True)
    frame.insert(0, "split", frame.pop("split"))
    return frame


def _check_task(checkpoint: Checkpoint, scenes: Any) -> None:
    task = (getattr(checkpoint.config, "scenes", None) or {}).get("task", "discrimination")
    if scenes.task in (PHOTOREALISTIC, OWN) and task != "discrimination":
        raise RelViTError(
            f"a checkpoint of {task} on {scenes.task} pairs: expected one of discrimination"
        )
