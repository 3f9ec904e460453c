"""Which stage of a model fails, perceptual or relational? All analyses together, small, and a verdict.

1. Accuracy on the test splits, beside the same architecture with random weights.
2. Attention stages of IID scenes, where the model records attention.
3. Probes of shape, color and the judgement at all layers; shape and color also of random weights.
4. Steering along the judgement, at the first three layers from where it is as readable as ever.
5. Per property swaps at a few layers: alignments in closed form and, where none of them follows beyond doubt, by a
   short search, too; the best of them on all splits. Controls are the wrong object and the same method in random
   weights, an upper bound is the object's own tokens from the target picture.
6. ``failing_stage.judge`` weighs the tables, criterion by criterion, and names the losses that the paper prescribes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import pandas as pd

from ..errors import RelViTError
from ..modeling.checkpoints import Checkpoint
from ..progress import progress_bar
from ..provenance import provenance
from ..stimuli.counterfactuals import PROPERTIES, CounterfactualTable
from ..stimuli.distribution import SceneDistribution
from ..stimuli.tasks import task_of
from ..tables import select
from ..training.evaluation import evaluate, sample_splits
from ..training.precision import computes_bf16
from .activations import ObjectStates, Site, capture_object_states
from .align import PairCaptures, Weights, fit_pairs
from .alignment import Alignment
from .alignment_methods import fit_alignment
from .attention import AttentionStages, measure_attention
from .choices import check_counts
from .closed_form import NoDirections
from .das_config import DASConfig
from .failing_stage import Criterion, Verdict, judge, swaps_follow
from .interchange import Control, PairResiduals, capture_pair_residuals
from .probes import ProbeConfig, Probes, Target, fit_probes
from .result import Contents, Result
from .scores import score_alignment
from .steering import SteeringConfig, steer
from .subspaces import Method

if TYPE_CHECKING:
    from matplotlib.figure import Figure


AUXILIARY = ("disentanglement", "pipeline")
"""The auxiliary losses that a model may have been trained with."""
CAPTURES = 4
"""Of one property: two splits, of the trained model and of random weights."""


@dataclass(frozen=True)
class DiagnosisConfig:
    """How much to look at. The values are ours: enough for a clear case in about a minute.

    With 256 pairs, 8 epochs, batches of 32 and learning rates ten and three times the paper's, alignments of the quick
    model reach those of 1,024 pairs and 12 epochs of the paper's settings (layer 0, shape, 400 pairs: .40 and .37).

    Raises:
        RelViTError: a number below 1, or layers that are none.
    """

    scenes: int = 300
    """Of each split, for answers, probes and steering."""
    train_scenes: int = 1000
    """To fit probes and closed forms on."""
    pairs: int = 256
    """To search for each alignment on; a closed form takes 32 of them, to choose its scale."""
    test_pairs: int = 256
    """Of each split, to score it on."""
    epochs: int = 8
    """Of the search, where no closed form works."""
    layers: tuple[int, ...] | None = None
    """Blocks whose output is swapped; by default the first, and those a sixth and a third into the model: the best
    layers of all the paper's models lie in the first 5 of 12."""
    seed: int = 0
    cache_gb: float = 4.0

    def __post_init__(self):
        check_counts(self)


@dataclass(frozen=True)
class Diagnosis(Result):
    """The verdict with everything behind it.

    Attributes:
        verdict: see ``failing_stage.Verdict``.
        tables: "accuracy" (of ``evaluate``), "probes", "alignments", "steering": see ``failing_stage.judge``.
        stages: attention stages; None where the model records no attention.
        facts: config, task, geometry, settings for training with the losses that the verdict prescribes, provenance.
    """

    TITLE: ClassVar[str] = "diagnosis"
    STEM: ClassVar[str] = "verdict"
    TABLES: ClassVar[tuple[str, ...]] = (
        "accuracy",
        "probes",
        "alignments",
        "steering",
    )
    EXAMPLE: ClassVar[str] = "diagnosis"

    verdict: Verdict
    tables: dict[str, pd.DataFrame]
    stages: AttentionStages | None
    facts: dict[str, Any] = field(default_factory=dict)

    def to_frame(self) -> pd.DataFrame:
        """The criteria, a row each."""
        rows = [asdict(criterion) for criterion in self.verdict.criteria]
        return pd.DataFrame(rows)

    def figure(self) -> Figure:
        """Each criterion with its interval, threshold and control."""
        from ..figures.diagnosis import diagnosis_figure

        return diagnosis_figure(self.to_frame())

    @classmethod
    def files(cls) -> tuple[str, ...]:
        return (*AttentionStages.files(), *super().files())

    def contents(self) -> Contents:
        values = asdict(self.verdict)
        values["criteria"] = [_without_nan(criterion) for criterion in values["criteria"]]
        values["facts"] = self.facts
        values["attention"] = None
        contents = Contents(values, self.tables)
        if self.stages is not None:
            values["attention"] = self.stages.scores
            contents.parts["."] = self.stages
        return contents

    @classmethod
    def read_contents(cls, folder: Path) -> Contents:
        contents = super().read_contents(folder)
        if contents.values["attention"] is not None:
            contents.parts["."] = AttentionStages.load(folder)
        return contents

    @classmethod
    def restore(cls, contents: Contents) -> Diagnosis:
        values = contents.values
        criteria = [_with_nan(row) for row in values["criteria"]]
        verdict = Verdict(
            values["verdict"],
            values["by_split"],
            criteria=tuple(criteria),
            reasons=tuple(values["reasons"]),
            losses=tuple(values["losses"]),
            advice=tuple(values["advice"]),
        )
        stages: Any = contents.parts.get(".")
        return cls(verdict, contents.tables, stages, values["facts"])


def _without_nan(criterion: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: a number that is missing is null."""
    missing = {name: None for name, value in criterion.items() if value != value}
    return {**criterion, **missing}


def _with_nan(row: dict[str, Any]) -> Criterion:
    missing: Any = {name: np.nan for name, value in row.items() if value is None}
    return Criterion(**{**row, **missing})


def diagnose(
    checkpoint: Checkpoint,
    distribution: SceneDistribution,
    config: DiagnosisConfig | None = None,
    *,
    progress: bool = False,
) -> Diagnosis:
    """Measure answers, attention, probes, steering and swaps, each with its controls, and judge.

    A network of the same architecture with random weights goes through answers, probes and swaps too. Swaps are those
    of alignments in closed form and, where these do not follow beyond doubt, of a short search: two ways to miss a
    subspace, so one that both miss is hardly there. Their controls are the wrong object and random weights. Beside
    them stands an upper bound: all of the object's tokens from the very picture that the swap is to make. Where these
    do not change the answer, it no longer depends on the object's own tokens.

    Args:
        checkpoint: a classifier and its processor.
        distribution: of the scenes that the model was trained on.
        config: see DiagnosisConfig.
        progress: show bars.

    Raises:
        RelViTError: scenes of another geometry, a layer that the model does not have, sizes that cannot be balanced.
    """
    config = config or DiagnosisConfig()
    seeded = replace(distribution, seed=config.seed)
    bench = _Bench(checkpoint, seeded, config, progress)
    steps: dict[str, Callable] = {
        "accuracy": bench.accuracy,
        "attention": bench.attention,
        "probes": bench.probes,
        "steering": bench.steering,
    }
    for prop in PROPERTIES:
        steps[f"swaps of {prop}"] = partial(bench.swaps, prop)
    found = _measured(steps, progress)
    swaps = [found.pop(f"swaps of {prop}") for prop in PROPERTIES]
    stages = found.pop("attention")
    tables = {**found, "alignments": pd.concat(swaps, ignore_index=True)}
    own: Any = checkpoint.config
    losses = [name for name in AUXILIARY if getattr(own, name, None)]
    verdict = judge(distribution.task, **tables, trained_with=tuple(losses))
    heads = getattr(own, "num_attention_heads", None)
    facts = {
        "config": {**asdict(config), "layers": bench.layers},
        "task": distribution.task,
        "geometry": distribution.geometry.name,
        "combinations": distribution.combinations,
        "settings": loss_settings(verdict.losses, distribution.task, bench.depth, heads),
        "provenance": provenance(seed=config.seed, processor=checkpoint.processor.fingerprint),
    }
    return Diagnosis(verdict, tables, stages, facts)


def _measured(
    steps: dict[str, Callable],
    progress: bool,
) -> dict[str, Any]:
    """Results of the steps, by their names."""
    found = {}
    layout = "{desc:17} {bar} {n}/{total} {elapsed}"
    with progress_bar(total=len(steps), disable=not progress, bar_format=layout) as bar:
        for name, measure in steps.items():
            bar.set_description_str(name)
            found[name] = measure()
            bar.update()
    return found


def loss_settings(
    losses: tuple[str, ...],
    task: str,
    depth: int,
    heads: int | None,
) -> dict[str, Any]:
    """Settings for ``relvit train --settings`` with these losses: where to apply them (ours).

    Disentanglement at a quarter of the depth (the paper: hidden states 2 to 4 of 12). Pipeline: the blocks but the
    last in equal parts for within objects, within pairs and, for RMTS, between pairs, in half of the heads; these are
    the layers of the preset quick-rmts (the paper's are not known).
    """
    count = 3 if task_of(task).pair_names else 2
    parts = ("within_object", "within_pair", "between_pair")[:count]
    layers = np.arange(max(depth - 1, 1))
    stages = np.array_split(layers, count)
    pipeline = {}
    for name, stage in zip(parts, stages):
        if len(stage):
            pipeline[name] = stage.tolist()
    if heads and heads > 1:
        pipeline["heads"] = list(range(heads // 2))
    quarter = max(-(-depth // 4), 1)
    known = {"disentanglement": {"layer": quarter}, "pipeline": pipeline}
    return {name: known[name] for name in losses}


def _layers(config: DiagnosisConfig, depth: int) -> list[int]:
    """The layers to look at: those of the config, or three of the first third of the blocks."""
    usual = (0, depth // 6, depth // 3)
    layers = usual if config.layers is None else config.layers
    chosen = sorted(set(layers))
    if chosen[-1] >= depth:
        raise RelViTError(
            f"layer {chosen[-1]} of a model with blocks 0 to {depth - 1}: choose among these"
        )
    return chosen


class _Bench:
    """One checkpoint, the same network with random weights, and their scenes."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        distribution: SceneDistribution,
        config: DiagnosisConfig,
        progress: bool,
    ):
        checkpoint.check()
        self.progress = progress
        self.checkpoint = checkpoint
        self.distribution = distribution
        self.config = config
        self.depth = checkpoint.depth
        self.layers = _layers(config, self.depth)
        self.splits = distribution.causal_splits
        for prop in PROPERTIES:  # what cannot be drawn fails now, not after minutes
            for split in ("train", *self.splits):
                self._table(prop, split)
        self.captures = PairCaptures(
            checkpoint,
            distribution,
            self.layers,
            pairs=config.pairs,
            test_pairs=config.test_pairs,
            cache_gb=CAPTURES * config.cache_gb,
            kept=CAPTURES,
            progress=progress,
        )
        self.objects = cache(self._objects)
        self.judgement: Probes | None = None

    def accuracy(self) -> pd.DataFrame:
        splits = sample_splits(self.distribution, self.config.scenes)
        splits.pop("validation")  # like the test split, but training may have looked at it
        return evaluate(self.checkpoint, splits, progress=self.progress)

    def attention(self) -> AttentionStages | None:
        if getattr(self.checkpoint.model, "set_attn_implementation", None) is None:
            return None
        scenes = self.distribution.sample("test", self.config.scenes)
        return measure_attention(self.checkpoint, scenes, progress=self.progress)

    def probes(self) -> pd.DataFrame:
        """Shape, color and judgement at all layers of the model; shape and color at some of random weights."""
        own = self._probed("trained", ("shape", "color", "judgement"))
        random = self._probed("random", ("shape", "color"))
        self.judgement = own["judgement", "test"]
        frames = []
        for weights, fitted in (("trained", own), ("random", random)):
            for (_, split), probes in fitted.items():
                frame = probes.frame.assign(split=split, weights=weights)
                frames.append(frame.assign(scenes=self.config.scenes))
        return pd.concat(frames, ignore_index=True)

    def _objects(self, weights: Weights, split: str = "train") -> ObjectStates:
        """Object tokens of labeled scenes: of the model at all layers, of random weights at those looked at."""
        config = self.config
        count = config.train_scenes if split == "train" else config.scenes
        scenes = self.distribution.sample(split, count)
        network = self.captures.network(weights)
        layers = list(range(self.depth)) if weights == "trained" else self.layers
        return capture_object_states(
            network,
            scenes,
            layers,
            cache_gb=config.cache_gb,
            progress=self.progress,
        )

    def _probed(
        self,
        weights: Weights,
        targets: tuple[Target, ...],
    ) -> dict[tuple[Target, str], Probes]:
        """Probes by target and split of the test scenes."""
        network = self.captures.network(weights)
        train = self.objects(weights)
        states = {split: self._objects(weights, split) for split in self.splits}
        fitted = {}
        for target, split in itertools.product(targets, self.splits):
            settings = ProbeConfig(target, seed=self.config.seed)
            probes = fit_probes(network, train, states[split], settings, progress=self.progress)
            fitted[target, split] = probes
        return fitted

    def steering(self) -> pd.DataFrame:
        """Steps half as long as the pair's tokens, and as long, where the judgement is first as readable as ever."""
        probes = self.judgement
        assert probes is not None
        trained = select(probes.frame, condition="trained")
        accuracy = trained.set_index("layer").accuracy
        as_readable = accuracy >= accuracy.max() - 0.05
        first = int(as_readable.idxmax())
        frame = probes.frame
        some = frame[frame.layer.isin(range(first, first + 3))]
        probes = Probes(some, probes.weights, probes.facts)
        count = min(self.config.scenes, 200) // 4 * 4
        scenes = self.distribution.sample("validation", count)
        once = SteeringConfig((1.0,))
        unit = steer(self.checkpoint, probes, scenes[:16], once, progress=self.progress).frame
        length = select(unit, condition="flip").relative_norm.median()
        if not np.isfinite(length) or length == 0:
            return unit.head(0)
        alphas = tuple(float(f"{share / length:.3g}") for share in (0.5, 1.0))
        config = SteeringConfig(alphas)
        return steer(self.checkpoint, probes, scenes, config, progress=self.progress).frame

    def swaps(self, prop: str) -> pd.DataFrame:
        """Alignments of one property at some layers; the best of them, by IID pairs, on all splits with controls."""
        pairs = self.captures.get(prop, "test")
        found = self._aligned("trained", prop, self.layers, "closed_form")
        frames = [self._score(each, pairs) for each in found]
        firsts = [frame.head(1) for frame in frames]  # the first row is on all pairs
        if not firsts or not swaps_follow(pd.concat(firsts, ignore_index=True)):
            searched = self._aligned("trained", prop, self.layers, "das")
            frames += [self._score(each, pairs) for each in searched]
            found += searched
        accuracies = [frame.accuracy[0] for frame in frames]
        best = found[int(np.argmax(accuracies))]
        frames += self._controlled(prop, best)
        return pd.concat(frames, ignore_index=True)

    def _controlled(
        self,
        prop: str,
        best: Alignment,
    ) -> list[pd.DataFrame]:
        """Scores of the best alignment on the other splits, and on all splits its controls and upper bound."""
        layer = best.site.layer
        method = cast(Method, best.method)
        baselines = self._aligned("random", prop, [layer], method)
        if not baselines:  # random weights have no closed form, but a search always ends somewhere
            baselines = self._aligned("random", prop, [layer], "das")
        frames = []
        for split in self.splits:
            pairs = self.captures.get(prop, split)
            if split != "test":
                frames.append(self._score(best, pairs))
            frames.append(self._score(best, pairs, "wrong_object"))
            for baseline in baselines:
                random_pairs = self.captures.get(prop, split, weights="random")
                scores = score_alignment(
                    self.captures.random,
                    baseline,
                    random_pairs,
                    progress=self.progress,
                )
                frames.append(scores.assign(weights="random"))
            layers = self.layers if split == "test" else [layer]
            frames += self._whole(prop, split, layers)
        return frames

    def _whole(
        self,
        prop: str,
        split: str,
        layers: list[int],
    ) -> list[pd.DataFrame]:
        """All of the object's tokens, taken from the base picture with the property changed in it."""
        table = self._table(prop, split)
        rows = np.arange(len(table))
        given = getattr(table.source, prop)[rows, table.source_object]
        values = getattr(table.base, prop).copy()
        values[rows, table.edited] = given
        table = replace(
            table,
            source=replace(table.base, **{prop: values}),
            source_object=table.edited,
            other_source=table.fixed,
        )
        sites = [Site("resid_post", layer) for layer in layers]
        pairs = capture_pair_residuals(
            self.checkpoint,
            table,
            sites,
            cache_gb=self.config.cache_gb,
            progress=self.progress,
        )
        frames = []
        for layer in layers:
            swap = fit_alignment(self.checkpoint, pairs, layer, DASConfig("full_swap"))
            scores = self._score(swap, pairs)
            frames.append(scores.assign(control="whole_object"))
        return frames

    def _table(self, prop: str, split: str) -> CounterfactualTable:
        count = self.config.pairs if split == "train" else self.config.test_pairs
        return self.distribution.pairs(prop, split, count)

    def _aligned(
        self,
        weights: Weights,
        prop: str,
        layers: list[int],
        method: Method,
    ) -> list[Alignment]:
        """Alignments at the layers by one method; none where the states have no closed form."""
        config = self.config
        das = DASConfig(
            method,
            epochs=config.epochs,
            batch_size=32,
            lr_rotation=1e-2,
            lr_mask=3e-2,
            seed=config.seed,
            bf16=computes_bf16(),
            cache_gb=config.cache_gb,
        )
        network = self.captures.network(weights)
        table = self.distribution.pairs(prop, "train", fit_pairs(method, config.pairs))
        sites = [Site("resid_post", layer) for layer in layers]
        train = capture_pair_residuals(
            network,
            table,
            sites,
            cache_gb=config.cache_gb,
            progress=self.progress,
        )
        objects = self.objects(weights)
        found = []
        for layer in layers:
            with suppress(NoDirections):
                fitted = fit_alignment(
                    network,
                    train,
                    layer,
                    das,
                    objects=objects,
                    progress=self.progress,
                )
                found.append(fitted)
        return found

    def _score(
        self,
        alignment: Alignment,
        pairs: PairResiduals,
        control: Control | None = None,
    ) -> pd.DataFrame:
        scores = score_alignment(
            self.checkpoint,
            alignment,
            pairs,
            control,
            progress=self.progress,
        )
        return scores.assign(weights="trained")
