"""Is a set solvable at all? How well the likeness of two objects' tokens, without any training, tells the answer.

1. Run ``n`` photorealistic pairs, or your own pictures, and keep the hidden states of all layers, embeddings first,
   ``(n, tokens, hidden)``.
2. Per layer average the tokens of each object, ``(n, 2, hidden)``; the score is the cosine of the two means, ``(n,)``.
3. AUC of the score: the chance that a same pair looks more alike than a different one. Guessing gives 0.5.
4. Intervals by a bootstrap over scenes, twins together. Compare the checkpoint, its backbone before fine-tuning and
   random weights (our choice of baselines).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata
from torch.nn.functional import cosine_similarity

from ..errors import RelViTError
from ..modeling.checkpoints import Checkpoint
from ..modeling.finite import FiniteWatch
from ..progress import batches
from ..provenance import provenance
from ..statistics import cluster_bootstrap
from ..stimuli.own_pictures import OwnPictures
from ..stimuli.photorealistic.pairs import PhotoPairs
from .activations import object_mean
from .choices import check_counts
from .result import TableResult

if TYPE_CHECKING:
    from jaxtyping import Float, Float32
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class SimilarityConfig:
    """How a similarity is measured.

    Raises:
        RelViTError: a number below 1.
    """

    batch_size: int = 64
    """Images at once. Does not change the result beyond rounding."""
    draws: int = 500
    """Of the bootstrap over scenes."""
    seed: int = 0
    """Of the bootstrap."""

    def __post_init__(self):
        check_counts(self)


@dataclass(frozen=True)
class Similarity(TableResult):
    """AUC of the cosine of the objects' mean tokens.

    Attributes:
        frame: one row per model, level and layer: ``model, level`` ("all", "object", "color": in this "different"),
            ``layer`` (block, from 0; -1 the embeddings), ``auc, ci_low, ci_high, n, floor`` (guessing, 0.5).
        facts: config, names of the models, provenance.
    """

    TITLE: ClassVar[str] = "object similarity"
    STEM: ClassVar[str] = "frozen"
    TABLES: ClassVar[tuple[str, ...]] = ("frozen",)
    EXAMPLE: ClassVar[str] = "photorealistic/frozen"

    frame: pd.DataFrame
    facts: dict[str, Any] = field(default_factory=dict)

    def figure(self) -> Figure:
        """AUC by layer, a line per model."""
        from ..figures.photorealistic import frozen_figure

        return frozen_figure(self.frame)


def measure_similarity(
    models: Mapping[str, Checkpoint],
    data: PhotoPairs | OwnPictures | Mapping[str, PhotoPairs | OwnPictures],
    config: SimilarityConfig | None = None,
    *,
    progress: bool = False,
) -> Similarity:
    """Compare models by their untrained judgement of likeness; see the head of this module.

    Args:
        models: name -> checkpoint: such as "checkpoint", "base" (the backbone before fine-tuning) and "random"
            (``Checkpoint.randomly_initialized``).
        data: the scenes; for models of different geometry, name -> scenes.
        config: see SimilarityConfig.
        progress: show bars.

    Raises:
        RelViTError: no models, or scenes of another geometry than a model's.
    """
    config = config or SimilarityConfig()
    if not models:
        raise RelViTError("no models to compare: expected at least one")
    frames = []
    seeds = set()
    for name, checkpoint in models.items():
        pairs = data[name] if isinstance(data, Mapping) else data
        likeness = object_similarity(
            checkpoint,
            pairs,
            batch_size=config.batch_size,
            progress=progress,
        )
        frame = _table(likeness, pairs, config)
        frame.insert(0, "model", name)
        frames.append(frame)
        seeds.add(pairs.seed)
    facts = {
        "config": asdict(config),
        "models": list(models),
        "provenance": provenance(seed=sorted(seeds)),
    }
    return Similarity(pd.concat(frames, ignore_index=True), facts)


@torch.inference_mode()
def object_similarity(
    checkpoint: Checkpoint,
    pairs: PhotoPairs | OwnPictures,
    *,
    batch_size: int = 64,
    progress: bool = False,
) -> Float32[np.ndarray, "pairs states"]:
    """Cosine of the two objects' mean tokens, float32 ``(n, layers + 1)``, the embeddings first.

    Args:
        checkpoint: a classifier and its processor.
        pairs: scenes, read for this model's geometry.
        batch_size: does not change the result beyond rounding.
        progress: show a bar.

    Raises:
        RelViTError: scenes of another geometry, or states that are not finite.
    """
    checkpoint.check(pairs)
    checkpoint.model.eval()
    watch = FiniteWatch("likenesses of objects")
    parts = []
    for rows in batches(len(pairs), batch_size, "similarity", progress):
        likeness = _likeness(checkpoint, pairs[rows])
        watch.see(likeness)
        parts.append(likeness.float().cpu().numpy())
    watch.check()
    return np.concatenate(parts)


def _likeness(checkpoint: Checkpoint, batch: PhotoPairs | OwnPictures) -> torch.Tensor:
    """Cosines of a batch, ``(batch, layers + 1)``, on the device of the model."""
    tokens = checkpoint.geometry.tokens(batch.patches())
    objects = torch.from_numpy(tokens).to(checkpoint.device)
    pixels = checkpoint.pixel_values(batch)
    states = checkpoint.model(pixel_values=pixels, output_hidden_states=True).hidden_states
    means = []
    for number in (0, 1):
        by_layer = [object_mean(layer, objects[:, number]) for layer in states]
        means.append(torch.stack(by_layer, 1))
    return cosine_similarity(*means, dim=-1)


def _interval(values: np.ndarray, scenes: np.ndarray, config: SimilarityConfig) -> np.ndarray:
    """Bounds of the AUC by layer, ``(2, layers)``; NaN for a single scene. The first column of values is the label."""
    if len(set(scenes)) < 2:
        return np.full((2, values.shape[1] - 1), np.nan)
    bounds = cluster_bootstrap(values, scenes, aucs, config.draws, config.seed)
    return np.stack(bounds)


def _table(
    likeness: np.ndarray,
    pairs: PhotoPairs | OwnPictures,
    config: SimilarityConfig,
) -> pd.DataFrame:
    """AUC by level and layer, see ``Similarity.frame``; a level with one answer only is left out."""
    levels = {"all": np.ones(len(pairs), dtype=bool), **pairs.levels()}
    rows = []
    for level, where in levels.items():
        label = pairs.label[where]
        if len(set(label)) < 2:
            continue
        values = np.column_stack([label, likeness[where]])
        scenes = pairs.clusters[where]
        interval = _interval(values, scenes, config)
        for layer, (auc, low, high) in enumerate(zip(aucs(values), *interval), start=-1):
            row = {
                "level": level,
                "layer": layer,
                "auc": auc,
                "ci_low": low,
                "ci_high": high,
                "n": int(where.sum()),
                "floor": 0.5,
            }
            rows.append(row)
    return pd.DataFrame(rows)


def aucs(values: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, " scores"]:
    """Of the columns behind the first, which is the label; 0.5 where a sample has but one label."""
    same = values[:, 0] == 1
    positives = same.sum()
    negatives = len(same) - positives
    if not positives or not negatives:
        return np.full(values.shape[1] - 1, 0.5)
    ranks = rankdata(values[:, 1:], axis=0)
    least = positives * (positives + 1) / 2
    return (ranks[same].sum(0) - least) / (positives * negatives)
