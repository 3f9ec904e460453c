"""Attention stages: within objects, within and between pairs, background (paper, section 4, Figs 2 and 10-15).

1. Run ``n`` scenes and record per layer and head the mass ``m (objects, objects + 3)`` that the tokens of each object
   S spend on the tokens of each object T, on CLS, registers and background, over all their mass: ``p(S -> T)``. The
   full attention map is never made.
2. Share it out (``attention_shares``). Of the judged pair: within-object is the mean of p(o -> o) over its two
   objects, within-pair the mean of p(o1 -> o2) and p(o2 -> o1), between-pair the mean mass on the other pair's
   objects, background that on patches of no object; CLS and registers stand for themselves. These six add up to 1 (our
   correction: the official code takes maxima, and the remainder as within-object). RMTS: the sample pair, as in the
   paper's figures.
3. Average over scenes, ``(layers, heads, 6)``, with intervals, beside the share under even attention (``chance``).
4. Sum up in two scores, perceptual and relational (``stage_scores``).

Objects of photorealistic scenes own the patches that their mask covers by half at least (paper, Fig. 10, which does
not say how; ours), so their numbers differ. Each row of S counts alike within its object, and each of the two objects
alike in the mean, however many tokens it has; mass on a larger object is larger by that alone, and ``chance`` says by
how much.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import torch

from ..errors import RelViTError
from ..figures.attention import attention_figure, attention_grid
from ..geometry import PatchGeometry
from ..modeling.attention_mass import record_object_attention
from ..modeling.checkpoints import Checkpoint
from ..modeling.finite import FiniteWatch
from ..modeling.stages import KINDS, attention_shares
from ..progress import batches
from ..provenance import provenance
from ..stimuli.distribution import SceneDistribution
from ..stimuli.own_pictures import OwnPictures
from ..stimuli.photorealistic.pairs import PhotoPairs
from ..stimuli.scenes import SceneTable
from ..stimuli.splits import Split
from .choices import Compat, check_choices, check_counts
from .result import Contents, TableResult

if TYPE_CHECKING:
    from jaxtyping import Float, Float32
    from matplotlib.figure import Figure

_Z = 1.959963984540054


@dataclass(frozen=True)
class AttentionConfig:
    """How attention is measured."""

    compat: Compat = "corrected"
    """"corrected", or "official" for the official code's quirks: the larger of two directions instead of their mean,
    and within-object attention as the remainder, which swallows CLS, registers and the display pair."""
    batch_size: int = 64
    """Does not change the result beyond rounding."""
    scenes: int = 500
    """Scenes to measure on (the paper's number)."""
    split: Split = "test"
    """Of these scenes."""

    def __post_init__(self):
        check_choices(self)
        check_counts(self)


@dataclass(frozen=True)
class AttentionStages(TableResult):
    """Attention of object tokens, by layer and head.

    Attributes:
        frame: one row per layer, head and kind: ``layer, head, kind, mean, n, ci_low, ci_high, chance``; the last is
            the share under even attention. It grows with the objects: compare sets of scenes with objects of
            different sizes by ``mean / chance``.
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

    def grid(
        self,
        kind: str,
    ) -> Float[np.ndarray, "layers heads"]:
        """Means of one kind, float64 ``(layers, heads)``."""
        return attention_grid(self.frame, kind)

    def figure(self) -> Figure:
        """Heat map and line chart, as in the paper's Fig. 2."""
        return attention_figure(self.frame)

    def contents(self) -> Contents:
        values = {"scores": self.scores, "facts": self.facts}
        return Contents(values, {self.STEM: self.frame})

    @classmethod
    def restore(cls, contents: Contents) -> AttentionStages:
        values = contents.values
        frame = contents.tables[cls.STEM]
        return cls(frame, values["scores"], values["facts"])


@torch.inference_mode()
def measure_attention(
    checkpoint: Checkpoint,
    scenes: SceneTable | PhotoPairs | OwnPictures | SceneDistribution,
    config: AttentionConfig | None = None,
    *,
    progress: bool = False,
) -> AttentionStages:
    """Measure which tokens object tokens attend to; see the head of this module.

    Args:
        checkpoint: a classifier of any supported family, with its processor.
        scenes: ``n`` scenes, photorealistic ones or your own pictures, read for this model; or a distribution, of
            which ``config`` says how many are drawn from which split.
        config: see AttentionConfig.
        progress: show a bar.

    Raises:
        RelViTError: scenes of another geometry than the model's; a model that records no attention; attention that is
            not finite.
    """
    config = config or AttentionConfig()
    checkpoint.check(None if isinstance(scenes, SceneDistribution) else scenes)
    if isinstance(scenes, SceneDistribution):
        scenes = scenes.sample(config.split, config.scenes)
    checkpoint.model.eval()
    shares, chance = _shares(checkpoint, scenes, config, progress)
    objects = scenes.patches().shape[1]
    frame = _tidy(shares, between=objects > 2)
    frame["chance"] = frame.kind.map(chance)
    return AttentionStages(frame, stage_scores(shares), _facts(scenes, config))


def _shares(
    checkpoint: Checkpoint,
    scenes: SceneTable | PhotoPairs | OwnPictures,
    config: AttentionConfig,
    progress: bool,
) -> tuple[np.ndarray, dict[str, float]]:
    """Shares ``(images, layers, heads, kinds)``, and those of each kind if every token were attended to alike."""
    geometry = checkpoint.geometry
    watch = FiniteWatch("attention shares")
    measured: list[torch.Tensor] = []
    even: list[np.ndarray] = []
    for rows in batches(len(scenes), config.batch_size, "attention", progress):
        batch = scenes[rows]
        patches = batch.patches()
        masses = _recorded(checkpoint, batch, patches)
        layers = [attention_shares(mass, config.compat) for mass in masses]
        shared = torch.stack(layers, 1)
        watch.see(shared)
        measured.append(shared)
        even_mass = _even(patches, geometry)
        even_shares = attention_shares(even_mass, config.compat)
        even.append(even_shares[:, 0].numpy())
    watch.check()
    shares = torch.cat(measured).cpu().numpy()
    even_mean = np.concatenate(even).mean(0, dtype=np.float64)
    return shares, dict(zip(KINDS, even_mean))


def _facts(
    scenes: SceneTable | PhotoPairs | OwnPictures, config: AttentionConfig
) -> dict[str, Any]:
    split = getattr(scenes, "split", "test")  # photorealistic sets have that one only
    used = replace(config, scenes=len(scenes), split=split)
    return {
        "config": asdict(used),
        "task": scenes.task,
        "geometry": scenes.name,
        "n": len(scenes),
        "provenance": provenance(seed=scenes.seed),
    }


def _recorded(
    checkpoint: Checkpoint, batch: SceneTable | PhotoPairs | OwnPictures, patches: np.ndarray
) -> list[torch.Tensor]:
    """Set-to-set mass of each layer, ``(batch, heads, k, k + 3)``."""
    model = checkpoint.model
    geometry = checkpoint.geometry
    tokens = torch.from_numpy(geometry.tokens(patches))
    tokens = tokens.to(checkpoint.device)
    with record_object_attention(tokens, geometry.prefix_tokens) as record:
        model(pixel_values=checkpoint.pixel_values(batch))
    masses = [mass for mass in record.mass if mass is not None]
    if not masses or len(masses) < len(record.mass):
        raise RelViTError(
            f"{type(model).__name__} recorded no attention: set model.set_attn_implementation('relvit') first"
        )
    return masses


def _even(
    patches: np.ndarray,
    geometry: PatchGeometry,
) -> torch.Tensor:
    """The mass that is recorded if every token were attended to alike, float64 ``(batch, 1, k, k + 3)``."""
    covered = patches >= 0
    sizes = covered.sum(-1).astype(np.float64)
    cls = min(geometry.prefix_tokens, 1)
    registers = max(geometry.prefix_tokens - 1, 0)
    prefix = np.broadcast_to([cls, registers], (len(sizes), 2))
    background = geometry.num_patches - sizes.sum(1)
    counts = np.column_stack([sizes, prefix, background])
    mass = torch.from_numpy(counts / geometry.sequence_length)
    objects = sizes.shape[1]
    return mass[:, None, None].expand(-1, 1, objects, -1)


def _tidy(
    shares: np.ndarray,
    between: bool,
) -> pd.DataFrame:
    n, layers, heads, _ = shares.shape
    mean = shares.mean(0, dtype=np.float64)
    half = np.full_like(mean, np.nan)
    if n > 1:
        spread = shares.std(0, ddof=1, dtype=np.float64)
        half = _Z * spread / np.sqrt(n)
    axes = (range(layers), range(heads), KINDS)
    layer, head, kind = np.meshgrid(*axes, indexing="ij")
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
    if between:
        return frame
    return frame[frame.kind != "between_pair"].reset_index(drop=True)


def stage_scores(
    shares: Float[np.ndarray, "images layers heads kinds"],
    draws: int = 500,
    seed: int = 0,
) -> dict[str, float]:
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
    n = len(shares)
    rng = np.random.default_rng(seed)
    chances = np.full(n, 1 / n)
    counts = rng.multinomial(n, chances, draws)
    means = (counts / n) @ shares.reshape(n, -1)
    by_head = means.reshape(draws, *shares.shape[1:])
    sampled = [_scores(mean) for mean in by_head]
    scores = _scores(shares.mean(0))
    for name in ("perceptual_score", "relational_score"):
        values = [draw[name] for draw in sampled]
        low, high = np.quantile(values, [0.025, 0.975])
        scores[f"{name}_ci_low"] = float(low)
        scores[f"{name}_ci_high"] = float(high)
    return scores


def _scores(mean: np.ndarray) -> dict[str, float]:
    """The scores of mean shares ``(layers, heads, kinds)``."""
    within = mean[..., 0].max(-1)
    beyond = mean[..., 1] + mean[..., 2]
    between = beyond.max(-1)
    stronger = between > within
    depth = len(within)
    crossover = depth
    for layer in np.flatnonzero(stronger):
        if stronger[layer:].mean() >= 0.5:
            crossover = int(layer)
            break
    perceptual = within[:crossover].mean() if crossover else 0.0
    first = min(crossover, depth - 1)
    relational = between[first:].mean()
    return {
        "perceptual_score": float(perceptual),
        "relational_score": float(relational),
        "crossover_layer": float(crossover),
    }


@torch.inference_mode()
def attention_maps(
    checkpoint: Checkpoint, scene: SceneTable
) -> Float32[np.ndarray, "layers heads tokens tokens"]:
    """Full attention maps of one scene, for looking at (paper, Figs 21 and 22): float32 ``(layers, heads, S, S)``."""
    model = checkpoint.model
    pixels = checkpoint.pixel_values(scene[[0]])
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        maps = model(pixel_values=pixels, output_attentions=True).attentions
    finally:
        model.set_attn_implementation(before)
    if not maps:
        raise RelViTError(
            f"{type(model).__name__} returned no attention maps: its family must support eager attention"
        )
    first = torch.stack([layer[0] for layer in maps])
    return first.float().cpu().numpy()


def save_viewer(
    checkpoint: Checkpoint, scenes: SceneTable, stages: AttentionStages, path: Path
) -> None:
    """Draw the head that is strongest in each kind of attention on the first "same" scene (paper, Figs 21 and 22)."""
    from ..figures.attention import NAMES, viewer_figure
    from ..figures.style import save_figure

    first_same = int(np.argmax(scenes.label == 1))
    scene = scenes[[first_same]]
    measured = set(stages.frame.kind)
    kinds = [kind for kind in NAMES if kind in measured]
    heads = {}
    for kind in kinds:
        grid = stages.grid(kind)
        strongest = np.argmax(grid)
        layer, head = np.unravel_index(strongest, grid.shape)
        heads[int(layer), int(head)] = NAMES[kind]
    maps = attention_maps(checkpoint, scene)
    first = scene.patches()[0, 0]
    object_patches = first[first >= 0]
    picture = scene.pixels()[0]
    figure = viewer_figure(picture, object_patches, maps, heads, scenes.geometry)
    save_figure(figure, path)
