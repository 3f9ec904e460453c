"""Are the heads that look at objects used? Replace their outputs, and watch the answers (ours).

1. Measure the attention of ``n`` scenes: per layer and head the share within objects, within and between pairs.
2. Per kind take the strongest heads, of no layer more than half, and draws of as many random other heads of the same
   layers.
3. Read the outputs of all of these, ``z (n, tokens, head_dim)`` per head, before the projection that mixes the heads.
4. Replace it at all tokens: by its mean over scenes, by Gaussian noise of the same mean and standard deviation, or by
   that of another scene; and read the answer.
5. Count the accuracy lost, scene by scene against the model as it is, also by kind of scene. An effect is one that
   lies above that of all random draws.
6. Read shape, color and the relation from the object tokens after the deepest of these heads, with linear probes that
   were fitted on the model as it is: does a knock-out harm what is seen, or only how it is compared?

Heads are chosen by their attention and not by their effect, so the choice does not favor them. Mean replacement is
common in circuit analysis; which heads, how many and the random draws are our choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch

from ..errors import RelViTError
from ..modeling.checkpoints import Checkpoint
from ..modeling.finite import FiniteWatch
from ..modeling.head_outputs import edit_heads, read_heads
from ..progress import progress_bar, slices
from ..provenance import provenance
from ..statistics import cluster_bootstrap, wilson
from ..stimuli.distribution import SceneDistribution
from ..stimuli.scenes import SceneTable
from ..stimuli.splits import Split
from .activations import (
    ObjectStates,
    Site,
    capture_object_states,
    kept_states,
    object_tokens,
    patch,
)
from .attention import AttentionConfig, AttentionStages, measure_attention
from .choices import check_choices, check_counts
from .interchange import Replacement
from .probes import ProbeConfig, Probes, Target, fit_probes
from .result import TableResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Kind = Literal["within_object", "within_pair", "between_pair"]
Head = tuple[int, int]
"""Layer and number in the layer."""


@dataclass(frozen=True)
class KnockoutConfig:
    """Which heads are knocked out, and by which replacement.

    Raises:
        RelViTError: an unknown kind or replacement, a number below 1.
    """

    kinds: tuple[Kind, ...] = ("within_object", "within_pair", "between_pair")
    """Of attention. Between pairs there is some only where a scene has two pairs."""
    replacements: tuple[Replacement, ...] = ("mean", "noise", "other_image")
    """"mean" over scenes at each token, "noise" of the same mean and standard deviation, or the value in an
    "other_image"."""
    heads: int = 6
    """Of each kind: the strongest, of no layer more than half, so that others are left to compare with."""
    draws: int = 3
    """Sets of as many random other heads of the same layers."""
    batch_size: int = 64
    """Does not change the result beyond rounding."""
    scenes: int = 400
    """Scenes to knock heads out on."""
    train_scenes: int = 400
    """Scenes to fit the probes on."""
    split: Split = "test"
    """Of these scenes."""
    seed: int = 0
    """Of random heads, noise, other images and the bootstrap."""

    def __post_init__(self):
        check_choices(self)
        check_counts(self)


@dataclass(frozen=True, eq=False)
class Knockout(TableResult):
    """The accuracy that is lost without some heads.

    Attributes:
        frame: one row per kind, heads ("strongest", "random"), draw of random heads (0 for the strongest),
            replacement, outcome ("answer"; and of a distribution "shape", "color", "judgement": named by a probe) and
            condition ("all" and, of answers, the kinds of scenes): ``kind, heads, draw, replacement, outcome,
            condition, accuracy, n, ci_low, ci_high`` (Wilson, 95 %; n scenes), ``base_accuracy`` (of the model as it
            is) and ``lost, lost_low, lost_high``: base accuracy minus accuracy, with a 95 % bootstrap interval over
            scenes (NaN for one scene).
        facts: config, task, the heads of each set as ``[layer, head]``, the layer that the probes of each kind read,
            provenance.
    """

    TITLE: ClassVar[str] = "knock-out of heads"
    STEM: ClassVar[str] = "knockout"
    TABLES: ClassVar[tuple[str, ...]] = ("knockout",)
    EXAMPLE: ClassVar[str] = "knockout"

    frame: pd.DataFrame
    facts: dict[str, Any] = field(default_factory=dict)

    def figure(self) -> Figure:
        """Accuracy lost by kind of head and of scene, beside random heads."""
        from ..figures.knockout import knockout_figure

        return knockout_figure(self.frame)


class HeadSet(NamedTuple):
    """Heads that are knocked out together.

    Attributes:
        kind: of attention.
        name: "strongest" or "random".
        draw: of random heads.
        heads: layer and number of each.
    """

    kind: str
    name: str
    draw: int
    heads: list[Head]

    @property
    def deepest(self) -> int:
        """The last layer that has one of them."""
        return max(layer for layer, _ in self.heads)


def _fitted(
    checkpoint: Checkpoint,
    train: SceneTable,
    layers: dict[str, int],
    config: KnockoutConfig,
    progress: bool,
) -> dict[Target, Probes]:
    """Linear probes of the model as it is, at the layers after the heads."""
    places = tuple(sorted(set(layers.values())))
    states = capture_object_states(checkpoint, train, places, progress=progress)
    targets: list[Target] = ["shape", "judgement"]
    if train.objects.n_colors > 1:
        targets.insert(1, "color")
    probes = {}
    for target in targets:
        settings = ProbeConfig(target, layers=places, seed=config.seed)
        probes[target] = fit_probes(checkpoint, states, states, settings, progress=progress)
    return probes


class _Seen(NamedTuple):
    """A pass over all scenes.

    Attributes:
        right: which answers are right, bool ``(n,)``.
        states: of the object tokens at some layers.
    """

    right: np.ndarray
    states: ObjectStates


def knock_out_heads(
    checkpoint: Checkpoint,
    scenes: SceneTable | SceneDistribution,
    config: KnockoutConfig | None = None,
    *,
    progress: bool = False,
) -> Knockout:
    """Replace outputs of heads and count the accuracy that is lost; see the head of this module.

    Args:
        checkpoint: a classifier of any supported family that records attention, with its processor.
        scenes: ``n`` scenes; or their distribution, of which ``config`` says how many are drawn from which split, and
            which has further scenes to fit probes on.
        config: see KnockoutConfig.
        progress: show a bar.

    Raises:
        RelViTError: scenes of another geometry, fewer than 2 scenes, a kind of attention that the task does not have,
            more heads than half of each layer, a model whose heads cannot be reached, attention or answers that are
            not finite.
    """
    config = config or KnockoutConfig()
    train = None
    if isinstance(scenes, SceneDistribution):
        train = scenes.sample("train", config.train_scenes)
        scenes = scenes.sample(config.split, config.scenes)
    if len(scenes) < 2:
        raise RelViTError(f"{len(scenes)} scenes: a value of another image needs at least 2")
    settings = AttentionConfig(batch_size=config.batch_size)
    stages = measure_attention(checkpoint, scenes, settings, progress=progress)
    sets = choose_heads(stages, config)
    layers = {each.kind: each.deepest for each in sets}
    probes = {}
    if train is not None:
        probes = _fitted(checkpoint, train, layers, config, progress)
    rows: list[dict[str, Any]] = []
    passes = 2 + len(sets) * len(config.replacements)  # to read heads, and of the model as it is
    total = passes * -(-len(scenes) // config.batch_size)
    bar = progress_bar(total=total, desc="knock-out", disable=not progress, leave=False)
    with bar, torch.inference_mode():
        bench = _Bench(checkpoint, scenes, config, sets, bar.update)
        own = bench.seen({}, set(layers.values()))
        for each in sets:
            for replacement in config.replacements:
                rows += _lost(bench, own, each, replacement, probes)
    bench.watch.check()
    used = replace(config, scenes=len(scenes), split=scenes.split)
    facts = {
        "config": asdict(used),
        "task": scenes.task,
        "heads": [each._asdict() for each in sets],
        "read_at": layers,
        "provenance": provenance(seed=scenes.seed, processor=checkpoint.processor.fingerprint),
    }
    return Knockout(pd.DataFrame(rows), facts)


def choose_heads(stages: AttentionStages, config: KnockoutConfig) -> list[HeadSet]:
    """The strongest heads of each kind, and random other heads of the same layers.

    Raises:
        RelViTError: a kind that was not measured, more heads than half of each layer.
    """
    known = set(stages.frame.kind)
    kinds = [kind for kind in config.kinds if kind in known]
    if not kinds:
        raise RelViTError(
            f"kinds {', '.join(config.kinds)}: scenes of one pair have within_object and within_pair only"
        )
    rng = np.random.default_rng(config.seed)
    sets = []
    for kind in kinds:
        grid = stages.grid(kind)
        strongest = _strongest(grid, config.heads)
        sets.append(HeadSet(kind, "strongest", 0, strongest))
        for draw in range(config.draws):
            others = list(_others(strongest, grid.shape[1], rng))
            sets.append(HeadSet(kind, "random", draw, others))
    return sets


def _strongest(grid: np.ndarray, count: int) -> list[Head]:
    """The heads with the largest shares, of no layer more than half."""
    layers, heads = grid.shape
    limit = heads // 2
    most = layers * limit
    if count > most:
        raise RelViTError(
            f"heads {count}: at most half of each layer are knocked out, and the model has {layers} layers of {heads} "
            f"heads; expected 1 to {most}"
        )
    chosen: list[Head] = []
    taken = np.zeros(layers, int)
    strongest_first = np.argsort(-grid, axis=None, kind="stable")
    for place in strongest_first.tolist():
        layer, head = divmod(place, heads)
        if len(chosen) < count and taken[layer] < limit:
            chosen.append((layer, head))
            taken[layer] += 1
    return sorted(chosen)


def _others(
    strongest: list[Head],
    heads: int,
    rng: np.random.Generator,
) -> Iterator[Head]:
    """As many random other heads of the same layers."""
    layers = [layer for layer, _ in strongest]
    for layer in sorted(set(layers)):
        left = [head for head in range(heads) if (layer, head) not in strongest]
        count = layers.count(layer)
        drawn = rng.choice(left, count, replace=False)
        for head in sorted(drawn.tolist()):
            yield layer, head


class _Bench:
    """A model, scenes, and the outputs of its heads on them; ``done`` is called after each batch of each pass."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        scenes: SceneTable,
        config: KnockoutConfig,
        sets: list[HeadSet],
        done: Callable[[], object],
    ):
        self.done = done
        self.watch = FiniteWatch("answers without some heads")
        self.checkpoint = checkpoint
        self.scenes = scenes
        self.config = config
        n = len(scenes)
        self.batches = slices(n, config.batch_size)
        needed = {head for each in sets for head in each.heads}
        self.outputs = self._read(sorted(needed))
        rng = np.random.default_rng(config.seed)
        circle = rng.permutation(n)
        self.other = np.empty_like(circle)
        self.other[circle] = np.roll(circle, 1)  # nobody is their own neighbor

    def _read(self, heads: list[Head]) -> dict[Head, torch.Tensor]:
        """Outputs of the heads, ``(n, tokens, head_dim)`` each."""
        parts: dict[Head, list[torch.Tensor]] = {head: [] for head in heads}
        for batch in self.batches:
            pixels = self.checkpoint.pixel_values(self.scenes[batch])
            found = read_heads(self.checkpoint.model, pixels, heads)
            for head, output in found.items():
                parts[head].append(output)
            self.done()
        return {head: torch.cat(outputs) for head, outputs in parts.items()}

    def replaced(self, head: Head, replacement: str) -> torch.Tensor:
        """The replacement of a head's output, ``(n, tokens, head_dim)``."""
        own = self.outputs[head]
        if replacement == "other_image":
            return own[torch.from_numpy(self.other).to(own.device)]
        mean = own.mean(0, keepdim=True).expand_as(own)
        if replacement == "mean":
            return mean
        spread = own.std(0, correction=0, keepdim=True)
        layer, number = head
        stream = np.random.SeedSequence([self.config.seed, layer, number])
        seed = int(stream.generate_state(1)[0])
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(own.shape, generator=generator)
        return mean + spread * noise.to(own)

    def seen(self, values: dict[Head, torch.Tensor], layers: set[int]) -> _Seen:
        """Answers, and states at some layers, while heads write these values."""
        model: Any = self.checkpoint.model
        answers = []
        parts: dict[int, list[torch.Tensor]] = {layer: [] for layer in layers}
        for batch in self.batches:
            scenes = self.scenes[batch]
            pixels = self.checkpoint.pixel_values(scenes)
            objects = object_tokens(self.checkpoint.geometry, scenes).to(pixels.device)
            own = {head: written[batch] for head, written in values.items()}
            with ExitStack() as stack:
                stack.enter_context(edit_heads(model, _Written(own)))
                for layer, kept in parts.items():
                    site = Site("resid_post", layer)
                    stack.enter_context(patch(model, site, _Kept(objects, kept)))
                logits = model(pixel_values=pixels).logits
            self.watch.see(logits)
            given = logits.argmax(-1)
            answers.append(given.cpu().numpy())
            self.done()
        right = np.concatenate(answers) == self.scenes.label
        states = {layer: torch.cat(kept) for layer, kept in parts.items()}
        return _Seen(right, ObjectStates(self.scenes, states, "corrected"))


class _Kept:
    """The edit that changes nothing and keeps the states of some tokens of each batch."""

    def __init__(self, tokens: torch.Tensor, kept: list[torch.Tensor]):
        self.tokens = tokens
        self.kept = kept

    def __call__(self, residual: torch.Tensor) -> torch.Tensor:
        self.kept.append(kept_states(residual, self.tokens))
        return residual


class _Written:
    """The edit that makes heads write given values, ``(batch, tokens, head_dim)`` each."""

    def __init__(self, values: dict[Head, torch.Tensor]):
        self.values = values

    def __call__(self, layer: int, output: torch.Tensor) -> torch.Tensor:
        written = output
        for (where, head), value in self.values.items():
            if where == layer:
                if written is output:
                    written = output.clone()
                written[:, :, head] = value
        return written


def _lost(
    bench: _Bench,
    own: _Seen,
    heads: HeadSet,
    replacement: str,
    probes: Mapping[Target, Probes],
) -> list[dict[str, Any]]:
    """The rows of one set of heads and one replacement; see ``Knockout.frame``."""
    scenes = bench.scenes
    seed = bench.config.seed
    layer = heads.deepest
    values = {head: bench.replaced(head, replacement) for head in heads.heads}
    seen = bench.seen(values, {layer})
    found = _rows(own.right, seen.right, scenes, seed)
    for target, probe in probes.items():
        before = probe.right(own.states, layer).mean(1)
        after = probe.right(seen.states, layer).mean(1)
        read = _row(before, after, scenes.clusters, seed)
        found.append({"outcome": target, "condition": "all", **read})
    named = {
        "kind": heads.kind,
        "heads": heads.name,
        "draw": heads.draw,
        "replacement": replacement,
    }
    return [{**named, **row} for row in found]


def _rows(
    own: np.ndarray,
    right: np.ndarray,
    scenes: SceneTable,
    seed: int,
) -> list[dict[str, Any]]:
    """Of the answers, the row of each kind of scenes."""
    conditions = {"all": np.ones(len(right), bool), **scenes.conditions()}
    rows = []
    for condition, which in conditions.items():
        if which.sum() >= 2:
            clusters = scenes.clusters[which]
            row = _row(own[which], right[which], clusters, seed)
            rows.append({"outcome": "answer", "condition": condition, **row})
    return rows


def _row(
    own: np.ndarray,
    right: np.ndarray,
    clusters: np.ndarray,
    seed: int,
) -> dict[str, Any]:
    """A condition: whether each scene is right, or its share, with and without the heads, ``(n,)``."""
    n = len(right)
    low, high = wilson(right.sum(), n)
    lost = own.astype(float) - right
    interval = (np.nan, np.nan)
    if len(set(clusters)) > 1:
        interval = cluster_bootstrap(lost, clusters, draws=1000, seed=seed)
    lost_low, lost_high = interval
    return {
        "accuracy": right.mean(),
        "n": n,
        "ci_low": float(low),
        "ci_high": float(high),
        "base_accuracy": own.mean(),
        "lost": lost.mean(),
        "lost_low": float(lost_low),
        "lost_high": float(lost_high),
    }
