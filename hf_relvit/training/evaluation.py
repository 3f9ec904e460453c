"""Accuracy on every split that tests something, with what it must be read against."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from ..errors import RelViTError
from ..geometry import SceneGeometry
from ..modeling.processing import PixelProcessor
from ..stimuli.objects import ObjectSet
from ..stimuli.splits import split_names
from .data import RelViTCollator, SceneDataset
from .metrics import accuracy_table


@torch.inference_mode()
def predict(model, processor: PixelProcessor, dataset, *, batch_size: int = 256, progress: str = "") -> np.ndarray:
    """Logits of a dataset in float32, whatever the training precision was: float32 ``(n, 2)``, different and same.

    Args:
        model: our classifier or any that returns ``logits (batch, 2)`` from ``pixel_values``.
        processor: of the checkpoint.
        dataset: ``SceneDataset`` or a published dataset.
        batch_size: does not change the result beyond rounding.
        progress: label of a progress bar; none if empty.
    """
    device = next(model.parameters()).device
    model.eval()
    loader = DataLoader(
        dataset, batch_size, collate_fn=RelViTCollator(processor, model.config.geometry, device=device)
    )
    parts = [
        model(pixel_values=batch["pixel_values"]).logits.float()
        for batch in tqdm(loader, desc=progress, disable=not progress, leave=False)
    ]
    return torch.cat(parts).cpu().numpy()


TWIN_SEED = 0x7E11  # no training run's, or the twin of a model from scratch would be that model before training


def random_twin(model, seed: int = TWIN_SEED):
    """The same architecture with random weights: what the task gives away without learning."""
    devices = [] if next(model.parameters()).device.type == "cpu" else None
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        twin = type(model)(copy.deepcopy(model.config))
    return twin.to(next(model.parameters()).device)


def scene_splits(
    task: str,
    geometry: SceneGeometry,
    n: int,
    *,
    combinations: int = 256,
    seed: int = 0,
    splits: tuple[str, ...] = (),
    objects: ObjectSet | None = None,
) -> dict[str, SceneDataset]:
    """The evaluation splits (all but "train", unless named), rendered on the fly.

    Raises:
        RelViTError: a split that does not exist for this number of combinations.
    """
    objects = objects or ObjectSet.default()
    known = split_names(combinations, objects)
    for split in splits:
        if split not in known:
            raise RelViTError(f"unknown split {split!r}: expected some of {', '.join(known)}")
    return {
        split: SceneDataset(task, geometry, split, n, combinations=combinations, seed=seed, objects=objects)
        for split in splits or [s for s in known if s != "train"]
    }


def evaluate(model, processor: PixelProcessor, data: Mapping[str, Dataset], *, progress: bool = False) -> pd.DataFrame:
    """Accuracy on named splits.

    Args:
        model: a classifier of ours.
        processor: of the checkpoint.
        data: split name -> scenes (``scene_splits``) or published dataset (``datasets.load_dataset``).
        progress: show a bar.

    Returns:
        One row a split and condition ("all", kinds of difference, RMTS cells): ``split, condition, accuracy, n,
        ci_low, ci_high`` (Wilson, 95 %), ``auc``, ``base_accuracy`` (the same architecture with random weights; our
        choice, as it exists for every checkpoint) and ``floor`` (guessing).

    Raises:
        RelViTError: images of another size than the model's.
    """
    twin = random_twin(model)
    frames = []
    for split, scenes in data.items():
        columns = scenes.table().__dict__ if isinstance(scenes, SceneDataset) else scenes.with_format("numpy")
        label, difference, relation = (np.asarray(columns[name]) for name in ("label", "difference", "relation"))
        rows, base = (
            accuracy_table(
                predict(net, processor, scenes, progress=split if progress else ""),
                label,
                difference=difference,
                relation=relation,
            )
            for net in (model, twin)
        )
        frame = pd.DataFrame(rows).merge(
            pd.DataFrame(base)[["condition", "accuracy"]].rename(columns={"accuracy": "base_accuracy"}), on="condition"
        )
        frames.append(frame.assign(split=split))
    frame = pd.concat(frames, ignore_index=True)
    frame.insert(0, "split", frame.pop("split"))
    return frame
