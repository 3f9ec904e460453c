"""Zero-shot accuracy on photorealistic pairs (paper, Table 2, "Realistic acc."), and what makes them hard."""

from __future__ import annotations

import numpy as np
import pandas as pd
from torch.utils.data import Dataset

from ..analysis.statistics import wilson
from ..errors import RelViTError
from ..modeling.processing import PixelProcessor
from ..stimuli.photorealistic.pairs import PhotoPairs
from .evaluation import predict, random_twin
from .metrics import accuracy_table

SPLIT = "photorealistic"
_BINS = {  # our choice: thirds of what the scenes are drawn from, and steps of occlusion
    "occlusion": ((0.02, 0.25), ("none", "some", "much")),
    "distance": ((6.6, 7.8), ("near", "middle", "far")),
    "rotation_difference": ((60, 120), ("to_60", "to_120", "to_180")),
}


class _Pictures(Dataset):
    def __init__(self, pairs: PhotoPairs):
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {"image": self.pairs.images[index], "label": self.pairs.labels[index]}


def conditions(pairs: PhotoPairs) -> dict[str, np.ndarray]:
    """Which scenes belong to which condition, bool ``(n,)`` each; those that no scene belongs to are left out.

    "all"; "difference_none", same pairs, and "difference_object" and "_color", pairs that differ in it; "level_object"
    and "level_color", scenes and twins about objects or paint; "occlusion_none", "_some" and
    "_much" (an object is hidden by less than 2, less than 25 or more percent); "distance_near", "_middle" and "_far"
    (below 6.6, below 7.8, and above, in object radii); "rotation_difference_to_60", "_to_120" and "_to_180" degrees.
    """
    facts, same = pairs.facts, pairs.labels == 1
    levels = {level: (facts.level == level).to_numpy() for level in ("object", "color")}
    found = {"all": np.ones(len(facts), dtype=bool), "difference_none": same}
    found |= {f"difference_{level}": rows & ~same for level, rows in levels.items()}
    found |= {f"level_{level}": rows for level, rows in levels.items()}
    for name, (edges, words) in _BINS.items():
        place = np.digitize(facts[name], edges)
        found |= {f"{name}_{word}": place == i for i, word in enumerate(words)}
    return {name: rows for name, rows in found.items() if rows.any()}


def evaluate_photorealistic(
    model, processor: PixelProcessor, pairs: PhotoPairs, *, progress: bool = False
) -> pd.DataFrame:
    """Accuracy of a discrimination checkpoint that never saw such images.

    Args:
        model: a classifier of ours, fine-tuned on discrimination; nothing is trained here.
        processor: of the checkpoint.
        pairs: ``PhotoPairs.from_dataset(data, model.config.geometry)``.
        progress: show a bar.

    Returns:
        One row a condition (see ``conditions``), with the columns of ``evaluation.evaluate``: ``split`` is
        "photorealistic". Twins are not independent, so the Wilson interval counts a scene and its twin once: it is
        never too narrow. ``n`` counts images.

    Raises:
        RelViTError: a checkpoint of another task.
    """
    if (task := (model.config.scenes or {}).get("task", "discrimination")) != "discrimination":
        raise RelViTError(f"a checkpoint of {task} on photorealistic pairs: expected one of discrimination")
    base, logits = (
        predict(net, processor, _Pictures(pairs), batch_size=64, progress=SPLIT if progress else "")
        for net in (random_twin(model), model)
    )
    rows = []
    for name, where in conditions(pairs).items():
        row, other = (accuracy_table(scores[where], pairs.labels[where])[0] for scores in (logits, base))
        scenes = pairs.facts.pair[where].nunique()
        low, high = wilson(row["accuracy"] * scenes, scenes)
        interval = {"ci_low": float(low), "ci_high": float(high)}
        rows.append({"split": SPLIT, **row, **interval, "condition": name, "base_accuracy": other["accuracy"]})
    return pd.DataFrame(rows)
