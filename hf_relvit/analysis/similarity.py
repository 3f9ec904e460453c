"""Is a set solvable at all? How well the likeness of two objects' tokens, without any training, tells the answer.

1. Run ``n`` photorealistic pairs and keep the hidden states of all layers, ``(n, tokens, hidden)``, embeddings first.
2. Per layer average the tokens of each object, ``(n, 2, hidden)``; the score is the cosine of the two means, ``(n,)``.
3. AUC of the score: the chance that a same pair looks more alike than a different one. Guessing gives 0.5.
4. Intervals by a bootstrap over scenes, twins together. Compare the checkpoint, its backbone before fine-tuning and
   random weights (our choice of baselines).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata
from torch.nn.functional import cosine_similarity

from ..errors import RelViTError
from ..modeling.checkpoints import Checkpoint
from ..progress import progress_bar
from ..provenance import provenance
from ..statistics import cluster_bootstrap
from ..stimuli.photorealistic.pairs import PhotoPairs
from .choices import check_counts
from .result import TableResult

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Int
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class SimilarityConfig:
    """How a similarity is measured."""

    batch_size: int = 64
    """Images at once. Does not change the result beyond rounding."""
    draws: int = 500
    """Of the bootstrap over scenes."""

    def __post_init__(self):
        check_counts(self)


@dataclass(frozen=True)
class Similarity(TableResult):
    """AUC of the cosine of the objects' mean tokens.

    Attributes:
        frame: one row a model, level and layer: ``model, level`` ("all", "object", "color": what "different" means),
            ``layer`` (block, from 0; -1 the embeddings), ``auc, ci_low, ci_high, n, floor`` (guessing, 0.5).
        facts: provenance.
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
    data: PhotoPairs | Mapping[str, PhotoPairs],
    config: SimilarityConfig = SimilarityConfig(),
    *,
    progress: bool = False,
) -> Similarity:
    """Compare models by their untrained judgement of likeness (our choice of baseline).

    In each image and layer the tokens of each object are averaged; the cosine of the two means is the score. Its AUC
    is the chance that a same pair looks more alike than a different one. The interval is a bootstrap over scenes,
    twins together.

    Args:
        models: name -> checkpoint: such as "checkpoint", "base" (the backbone before fine-tuning) and "random"
            (``Checkpoint.randomly_initialized``).
        data: the scenes; for models of different geometry, name -> scenes.
        config: batches and bootstrap.
        progress: show bars.

    Raises:
        RelViTError: no models, or scenes of another geometry than a model's.
    """
    if not models:
        raise RelViTError("no models to compare: expected at least one")
    frames, seeds = [], set()
    for name, checkpoint in models.items():
        pairs = data[name] if isinstance(data, Mapping) else data
        batch_size = config.batch_size
        likeness = object_similarity(checkpoint, pairs, batch_size=batch_size, progress=progress)
        frames.append(_table(likeness, pairs.facts, config.draws).assign(model=name))
        seeds.add(pairs.seed)
    frame = pd.concat(frames, ignore_index=True)
    frame.insert(0, "model", frame.pop("model"))
    return Similarity(frame, {"provenance": provenance(seed=sorted(seeds))})


@torch.inference_mode()
def object_similarity(
    checkpoint: Checkpoint, pairs: PhotoPairs, *, batch_size: int = 64, progress: bool = False
) -> Float32[np.ndarray, "pairs states"]:
    """Cosine of the two objects' mean tokens, float32 ``(n, layers + 1)``, the embeddings first.

    Args:
        checkpoint: a classifier and its processor.
        pairs: scenes, read for this model's geometry.
        batch_size: does not change the result beyond rounding.
        progress: show a bar.

    Raises:
        RelViTError: scenes of another geometry.
    """
    model = checkpoint.model
    checkpoint.check(pairs)
    geometry = checkpoint.geometry
    model.eval()
    parts = []
    starts = range(0, len(pairs), batch_size)
    for start in progress_bar(starts, desc="similarity", disable=not progress, leave=False):
        batch = pairs[slice(start, start + batch_size)]
        tokens = torch.from_numpy(geometry.tokens(batch.patches())).to(checkpoint.device)
        hidden = model(
            pixel_values=checkpoint.pixel_values(batch), output_hidden_states=True
        ).hidden_states
        first, second = (
            torch.stack([object_mean(layer, tokens[:, i]) for layer in hidden], 1) for i in (0, 1)
        )
        parts.append(cosine_similarity(first, second, dim=-1).float().cpu().numpy())
    return np.concatenate(parts)


def object_mean(
    hidden: Float[torch.Tensor, "batch tokens hidden"], tokens: Int[torch.Tensor, "batch positions"]
) -> Float[torch.Tensor, "batch hidden"]:
    """Mean of some tokens of each image: ``(batch, tokens, hidden)``, indices ``(batch, p)``, -1 ignored."""
    there = (tokens >= 0).to(hidden.dtype)[..., None]
    picked = hidden.gather(1, tokens.clamp(min=0)[..., None].expand(-1, -1, hidden.shape[-1]))
    return (picked * there).sum(1) / there.sum(1).clamp(min=1)


def _table(likeness: np.ndarray, facts: pd.DataFrame, draws: int) -> pd.DataFrame:
    rows = []
    levels = {"all": np.ones(len(facts), dtype=bool)}
    levels |= {level: (facts.level == level).to_numpy() for level in ("object", "color")}
    for level, where in levels.items():
        if facts.label[where].nunique() < 2:
            continue
        values = np.column_stack([facts.label[where], likeness[where]])
        scenes = facts.pair[where].to_numpy()
        interval = np.full((2, likeness.shape[1]), np.nan)
        if len(set(scenes)) > 1:
            interval = np.stack(cluster_bootstrap(values, scenes, _aucs, draws))
        low, high = interval
        for i, auc in enumerate(_aucs(values)):
            row = {"level": level, "layer": i - 1, "auc": auc, "ci_low": low[i], "ci_high": high[i]}
            rows.append(row | {"n": int(where.sum()), "floor": 0.5})
    return pd.DataFrame(rows)


def _aucs(values: np.ndarray) -> np.ndarray:
    """Of the columns behind the first, which is the label; 0.5 where a sample has but one label."""
    same = values[:, 0] == 1
    positives, negatives = same.sum(), (~same).sum()
    if not positives or not negatives:
        return np.full(values.shape[1] - 1, 0.5)
    ranks = rankdata(values[:, 1:], axis=0)
    return (ranks[same].sum(0) - positives * (positives + 1) / 2) / (positives * negatives)
