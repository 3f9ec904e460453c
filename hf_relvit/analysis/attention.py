"""Attention stages: within objects, within and between pairs, background (paper, section 4, Figs 2 and 10-15)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from ..errors import RelViTError
from ..figures.style import attention_figure, attention_grid
from ..geometry import PatchGeometry
from ..modeling.attention_mass import record_object_attention
from ..modeling.checkpoints import Checkpoint
from ..provenance import provenance
from ..stimuli.photorealistic.pairs import PhotoPairs
from ..stimuli.scenes import SceneTable
from .choices import Compat, check_choices
from .result import Contents, TableResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("within_object", "within_pair", "between_pair", "background", "cls", "registers")
_Z = 1.959963984540054


@dataclass(frozen=True)
class AttentionConfig:
    """How attention is measured."""

    compat: Compat = "corrected"
    """"corrected", or "official" for the official code's quirks: the larger of two directions instead of their mean,
    and within-object attention as the remainder, which swallows CLS, registers and the display pair."""
    batch_size: int = 64
    """Does not change the result."""

    def __post_init__(self):
        check_choices(self)


@dataclass(frozen=True)
class AttentionStages(TableResult):
    """Where the object tokens of each layer and head look.

    Attributes:
        frame: one row a layer, head and kind: ``layer, head, kind, mean, n, ci_low, ci_high, chance``; the last is the
            mean if every token were attended to alike, which grows with the objects: compare sets of scenes with
            objects of different sizes by ``mean / chance``.
        scores: ``perceptual_score`` and ``relational_score`` (see ``stage_scores``), ``crossover_layer`` and, for the
            scores, ``_ci_low`` and ``_ci_high`` by bootstrap over images.
        facts: config and provenance.
    """

    TITLE: ClassVar[str] = "attention stages"
    STEM: ClassVar[str] = "attention"
    TABLES: ClassVar[tuple[str, ...]] = ("attention",)
    EXAMPLE: ClassVar[str] = "attention"

    frame: pd.DataFrame
    scores: dict[str, float]
    facts: dict[str, Any] = field(default_factory=dict)

    def grid(self, kind: str) -> np.ndarray:
        """Means of one kind, float64 ``(layers, heads)``."""
        return attention_grid(self.frame, kind)

    def figure(self) -> Figure:
        """Heat map and line chart, as in the paper's Fig. 2."""
        return attention_figure(self.frame)

    def contents(self) -> Contents:
        return Contents({"scores": self.scores, "facts": self.facts}, {self.STEM: self.frame})

    @classmethod
    def restore(cls, contents: Contents) -> AttentionStages:
        values = contents.values
        return cls(contents.tables[cls.STEM], values["scores"], values["facts"])


@torch.inference_mode()
def measure_attention(
    checkpoint: Checkpoint,
    scenes: SceneTable | PhotoPairs,
    config: AttentionConfig | None = None,
    *,
    progress: bool = False,
) -> AttentionStages:
    """Measure where objects look, without ever making a full attention map.

    For object tokens S and a set of tokens T, ``p(S -> T)`` is the mass of the rows of S on T over the whole mass of
    these rows, CLS included (as in the official code). Within-object attention of a pair is the mean of p(o -> o)
    over its two objects, within-pair the mean of p(o1 -> o2) and p(o2 -> o1), between-pair the mean mass on the other
    pair's objects, background that on patches of no object; CLS and registers stand for themselves. These six add up
    to 1 (our correction: the official code takes maxima, and the remainder as within-object). For RMTS the pair is the
    sample pair, as in the paper's figures.

    Objects of photorealistic scenes own the patches that their mask covers by half at least (paper, Fig. 10, which
    does not say how; ours), so their numbers differ. Each row of S counts alike within its object, and each of the two
    objects alike in the mean, however many tokens it has; mass on a larger object is larger by that alone, and
    ``chance`` says by how much.

    Args:
        checkpoint: a classifier of any supported family, with its processor.
        scenes: ``n`` scenes; the paper takes 250 same and 250 different ones of the test split.
            Or photorealistic ones, read for this model.
        config: see AttentionConfig.
        progress: show a bar.

    Raises:
        RelViTError: scenes of another geometry than the model's; a model that records no attention.
    """
    config = config or AttentionConfig()
    model = checkpoint.model
    checkpoint.check(scenes)
    geometry = checkpoint.geometry
    model.eval()
    parts, chances = [], []
    for start in tqdm(
        range(0, len(scenes), config.batch_size),
        desc="attention",
        disable=not progress,
        leave=False,
    ):
        batch = scenes[slice(start, start + config.batch_size)]
        patches = batch.patches()
        tokens = torch.from_numpy(geometry.tokens(patches)).to(checkpoint.device)
        with record_object_attention(tokens, geometry.prefix_tokens) as record:
            model(pixel_values=checkpoint.pixel_values(batch))
        if not record.mass:
            raise RelViTError(
                f"{type(model).__name__} recorded no attention: set model.set_attn_implementation('relvit') first"
            )
        parts.append(
            torch.stack([attention_shares(mass, config.compat) for mass in record.mass], 1)
        )
        chances.append(attention_shares(_even(patches, geometry), config.compat)[:, 0].numpy())
    shares = torch.cat(parts).cpu().numpy()  # (images, layers, heads, kinds)
    frame = _tidy(shares, between=scenes.patches().shape[1] > 2)
    frame["chance"] = frame.kind.map(
        dict(zip(KINDS, np.concatenate(chances).mean(0, dtype=np.float64)))
    )
    facts = {
        "config": config.__dict__,
        "task": scenes.task,
        "geometry": scenes.name,
        "n": len(scenes),
    }
    return AttentionStages(
        frame, stage_scores(shares), facts | {"provenance": provenance(seed=scenes.seed)}
    )


def _even(patches: np.ndarray, geometry: PatchGeometry) -> torch.Tensor:
    """The mass that is recorded if every token were attended to alike, float64 ``(batch, 1, k, k + 3)``."""
    sizes = (patches >= 0).sum(-1).astype(np.float64)
    prefix = np.broadcast_to(
        [min(geometry.prefix_tokens, 1), max(geometry.prefix_tokens - 1, 0)], (len(sizes), 2)
    )
    sets = (
        np.column_stack([sizes, prefix, geometry.num_patches - sizes.sum(1)])
        / geometry.sequence_length
    )
    return torch.from_numpy(sets)[:, None, None].expand(-1, 1, sizes.shape[1], -1)


def attention_shares(mass: torch.Tensor, compat: str) -> torch.Tensor:
    """Set-to-set mass ``(batch, heads, k, k + 3)`` to shares ``(batch, heads, 6)`` in the order of KINDS."""
    k = mass.shape[2]
    cls, registers, background = (
        mass[:, :, :2, k].mean(-1),
        mass[:, :, :2, k + 1].mean(-1),
        mass[:, :, :2, k + 2],
    )
    straight, crossed = mass[..., [0, 1], [0, 1]], mass[..., [0, 1], [1, 0]]
    to_display = mass[:, :, :2, 2:k].sum(-1).mean(-1)
    if compat == "official":
        within_pair, far = crossed.amax(-1), background.amax(-1)
        between = (
            torch.maximum(to_display, mass[:, :, 2:, :2].sum(-1).mean(-1)) if k > 2 else to_display
        )
        return torch.stack([1 - within_pair - far, within_pair, between, far, cls, registers], -1)
    own, within_pair, far = straight.mean(-1), crossed.mean(-1), background.mean(-1)
    return torch.stack([own, within_pair, to_display, far, cls, registers], -1)


def _tidy(shares: np.ndarray, between: bool) -> pd.DataFrame:
    n, layers, heads, _ = shares.shape
    mean = shares.mean(0, dtype=np.float64)
    half = (
        _Z * shares.std(0, ddof=1, dtype=np.float64) / np.sqrt(n)
        if n > 1
        else np.full_like(mean, np.nan)
    )
    layer, head, kind = np.meshgrid(range(layers), range(heads), KINDS, indexing="ij")
    frame = pd.DataFrame(
        {
            "layer": layer.ravel().astype(int),
            "head": head.ravel().astype(int),
            "kind": kind.ravel(),
            "mean": mean.ravel(),
            "n": n,
            "ci_low": (mean - half).ravel(),
            "ci_high": (mean + half).ravel(),
        }
    )
    return frame if between else frame.query("kind != 'between_pair'").reset_index(drop=True)


def stage_scores(shares: np.ndarray, draws: int = 500, seed: int = 0) -> dict[str, float]:
    """Perceptual and relational score (named in the paper's captions, never defined there: ours).

    Of each layer take the head that looks most within objects and the head that looks most between them (within-pair
    plus between-pair). The crossover is the first layer whose between-object head is the stronger and stays so in
    half of the layers that follow. The perceptual score is the mean within-object share of the strongest heads of
    the layers before it, the relational score the mean between-object share of the strongest heads from it on:
    both 0 to 1, high in a model that first makes objects and then compares them. Without a crossover the relational
    score is that of the last layer.

    Args:
        shares: ``(images, layers, heads, kinds)``.
        draws: bootstrap samples of the images, for the intervals.
        seed: of the bootstrap.
    """

    def of(mean: np.ndarray) -> tuple[float, float, int]:
        local = mean[..., 0].max(-1)
        between = (mean[..., 1] + mean[..., 2]).max(-1)
        stronger = between > local
        cross = next(
            (i for i in range(len(local)) if stronger[i] and stronger[i:].mean() >= 0.5), len(local)
        )
        perceptual = local[:cross].mean() if cross else 0.0
        return float(perceptual), float(between[min(cross, len(local) - 1) :].mean()), cross

    rng = np.random.default_rng(seed)
    flat = shares.reshape(len(shares), -1)
    weights = rng.multinomial(len(shares), np.full(len(shares), 1 / len(shares)), draws) / len(
        shares
    )
    sampled = [of(mean.reshape(shares.shape[1:])) for mean in weights @ flat]
    perceptual, relational, cross = of(shares.mean(0))
    scores = {
        "perceptual_score": perceptual,
        "relational_score": relational,
        "crossover_layer": float(cross),
    }
    for i, name in enumerate(("perceptual_score", "relational_score")):
        low, high = np.quantile([draw[i] for draw in sampled], [0.025, 0.975])
        scores |= {f"{name}_ci_low": float(low), f"{name}_ci_high": float(high)}
    return scores


@torch.inference_mode()
def attention_maps(checkpoint: Checkpoint, scene: SceneTable) -> np.ndarray:
    """Full attention maps of one scene, for looking at (paper, Figs 21 and 22): float32 ``(layers, heads, S, S)``."""
    model = checkpoint.model
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        maps = model(
            pixel_values=checkpoint.pixel_values(scene[[0]]), output_attentions=True
        ).attentions
    finally:
        model.set_attn_implementation(before)
    if not maps:
        raise RelViTError(
            f"{type(model).__name__} returned no attention maps: its family must support eager attention"
        )
    return torch.stack([layer[0] for layer in maps]).float().cpu().numpy()


def save_viewer(
    checkpoint: Checkpoint, scenes: SceneTable, stages: AttentionStages, path: Path
) -> None:
    """Draw the head that is strongest in each kind of attention on the first "same" scene (paper, Figs 21 and 22)."""
    from ..figures.style import NAMES, save_figure, viewer_figure

    scene = scenes[[int(np.argmax(scenes.label == 1))]]
    kinds = [kind for kind in NAMES if (stages.frame.kind == kind).any()]
    heads = {}
    for kind in kinds:
        grid = stages.grid(kind)
        layer, head = np.unravel_index(np.argmax(grid), grid.shape)
        heads[int(layer), int(head)] = NAMES[kind]
    maps = attention_maps(checkpoint, scene)
    figure = viewer_figure(scene.pixels()[0], scene.patches()[0, 0], maps, heads, scenes.geometry)
    save_figure(figure, path)
