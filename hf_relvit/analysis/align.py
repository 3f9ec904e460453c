"""Which subspace carries a property, at which layer, and how sure is that? The whole recipe (paper, section 5).

1. Draw counterfactual pairs: a base and a source scene, and the label after one object took over the property.
2. Capture the residual streams of both, ``(n, tokens, hidden)``, at all layers in one pass (``PairCaptures``).
3. Per layer fit an alignment (``alignment_methods``): a rotation ``R (hidden, hidden)`` and a mask ``m (hidden,)``.
4. Per split score it: the share of pairs with the counterfactual answer after ``R^T[(1 - m) R b + m R s]``.
5. Score controls the same way, which should come out at the floor: the source's other object, random background
   tokens, as many random directions; pairs whose answer must *not* change (the isolate score); an alignment fitted in
   the same architecture with random weights, and one fitted to shuffled labels.
   Untrained baselines ("pca", "full_swap", ...) are further ``method`` values of the same recipe; "closed_form" fits
   labeled scenes instead of pairs (``closed_form``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache, cached_property, lru_cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import pandas as pd

from ..doors import check_choice
from ..errors import RelViTError
from ..limits import check_memory
from ..modeling.checkpoints import Checkpoint
from ..progress import progress_bar
from ..provenance import provenance
from ..stimuli.counterfactuals import PROPERTIES, sample_isolation_pairs
from ..stimuli.distribution import SceneDistribution
from ..stimuli.scenes import SCENE_BYTES
from ..stimuli.splits import Split
from ..tables import records
from .activations import ObjectStates, Site, capture_object_states
from .alignment import Alignment
from .alignment_methods import fit_alignment
from .closed_form import HELD_OUT
from .das_config import LABELED, DASConfig
from .interchange import PairResiduals, Replacement, capture_pair_residuals
from .result import Contents, Result
from .scores import score_alignment
from .subspaces import LEARNED, WITHOUT_LABELS
from .validity import (
    Swapped,
    Unmapped,
    agreement,
    changes_something,
    unmapped_pairs,
    validity_table,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Weights = Literal["trained", "random"]
ScoredControl = Literal["wrong_object", "random_tokens", "random_directions"]
SCORED_CONTROLS = get_args(ScoredControl)
KEPT = 5
"""Captures that one property needs: training pairs, and on two splits those of the cause and of the isolate score."""


@dataclass(frozen=True)
class AlignConfig(DASConfig):
    """Properties, layers and controls of an alignment, besides the settings of the search.

    Raises:
        RelViTError: a value that is not among the choices or out of its range.
    """

    property: Literal["shape", "color"] = "color"
    layers: tuple[int, ...] | None = None
    """Blocks whose output is searched; all by default."""
    pairs: int = 2000
    """Pairs to find each alignment on (the paper's number); for closed_form and dictionary at most 32, to choose the
    scale or the number of features."""
    scenes: int = 1024
    """Labeled scenes to find closed_form on, or to choose features of a dictionary."""
    test_pairs: int = 1000
    """Pairs to score it on, per split."""
    splits: tuple[Split, ...] | None = None
    """Splits to score on; by default IID pairs and, where combinations are held out, unseen ones."""
    scored_controls: tuple[ScoredControl, ...] | None = SCORED_CONTROLS
    """Scored besides the object that gives the property: the other object of its pair, background tokens, as many
    random directions; None for none."""
    isolate: bool = True
    """Also score pairs whose answer a swap of this property must not change."""
    replacements: tuple[Replacement, ...] | None = ("mean", "noise", "other_image")
    """Also score swaps with a state that holds no value of the source, see ``interchange.replaced``: answers must not
    follow; None for none."""
    unmapped: tuple[Unmapped, ...] | None = ("position", "jitter", "noise", "other_object")
    """Also score swaps with the same object of a scene that differs in this alone, which must change no answer; None
    for none. See ``validity.unmapped_pairs`` for all of them."""
    unmapped_objects: tuple[Swapped, ...] = ("edited",)
    """Objects of the judged pair that are swapped so."""
    networks: tuple[Literal["trained", "random"], ...] = ("trained", "random")
    """"random": also align the same architecture with random weights, a control of the search."""
    shuffled: bool = True
    """Also align to shuffled labels, a control of every method that takes labels; it costs as much as the first."""
    seeds: int = 1
    """Searches for each alignment in the trained network, with seeds from ``seed`` on: how far they agree stands in
    the validity table (5 tell enough). Only the first is scored and kept; each costs as much as it."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("pairs", "test_pairs", "scenes"):
            count = getattr(self, name)
            if count < 1:
                raise RelViTError(f"{name} {count}: expected at least 1")
            check_memory(name, count, SCENE_BYTES)
        if self.layers == ():
            raise RelViTError("layers (): name some, or leave them out for all")
        by_chance = self.method in LEARNED
        if self.seeds < 1 or (self.seeds > 1 and not by_chance):
            raise RelViTError(
                f"seeds {self.seeds} for method {self.method!r}: expected 1, or more of a search, one of "
                f"{', '.join(LEARNED)}"
            )

    @cached_property
    def shuffles(self) -> bool:
        """Whether an alignment to shuffled labels is scored."""
        return self.shuffled and self.method not in WITHOUT_LABELS

    @cached_property
    def das(self) -> DASConfig:
        """The settings of the search alone."""
        values = {each.name: getattr(self, each.name) for each in fields(DASConfig)}
        return DASConfig(**values)

    def captures(
        self,
        checkpoint: Checkpoint,
        distribution: SceneDistribution,
        layers: Sequence[int],
        progress: bool = False,
    ) -> PairCaptures:
        """The pairs that these settings ask for."""
        return PairCaptures(
            checkpoint,
            distribution,
            layers,
            pairs=fit_pairs(self.method, self.pairs),
            test_pairs=self.test_pairs,
            scenes=self.scenes,
            cache_gb=self.cache_gb,
            bf16=self.bf16 and self.method in LABELED,
            progress=progress,
        )


def fit_pairs(method: str, pairs: int) -> int:
    """How many of the training pairs that are asked for a method uses."""
    return min(pairs, HELD_OUT) if method in LABELED else pairs


class PairCaptures:
    """Residual streams of counterfactual pairs at some layers, captured when first asked for.

    The least recently used ones are dropped: a pass over the scenes is cheaper than the memory of all of them.

    Args:
        checkpoint: whose model is read; and the same architecture with random weights, made when asked for.
        distribution: of the scenes.
        layers: blocks, from 0.
        pairs: number of pairs of the train split.
        test_pairs: number of pairs of every other split.
        scenes: number of labeled scenes of the train split.
        cache_gb: memory for all captures that are kept; the rest of them is on disk.
        kept: how many captures are kept.
        bf16: as in ``activations.capture_residuals``.
        progress: show bars.

    Raises:
        RelViTError: a layer that the model does not have.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        distribution: SceneDistribution,
        layers: Sequence[int],
        *,
        pairs: int,
        test_pairs: int,
        scenes: int = 1024,
        cache_gb: float = 4.0,
        kept: int = KEPT,
        bf16: bool = False,
        progress: bool = False,
    ):
        self.checkpoint = checkpoint
        self.distribution = distribution
        self.layers = check_layers(layers, checkpoint.depth)
        self.pairs = pairs
        self.test_pairs = test_pairs
        self.scenes = scenes
        self.objects = cache(self._objects)
        self.unmapped = cache(self._unmapped)
        self.options: dict[str, Any] = {
            "cache_gb": cache_gb / kept,
            "bf16": bf16,
            "progress": progress,
        }
        self._cached = lru_cache(maxsize=kept)(self._capture)

    @cached_property
    def random(self) -> Checkpoint:
        return self.checkpoint.randomly_initialized()

    def network(self, weights: Weights) -> Checkpoint:
        """The checkpoint with these weights."""
        check_choice("weights", weights, Weights)
        return self.checkpoint if weights == "trained" else self.random

    def get(
        self, prop: str, split: str, *, isolate: bool = False, weights: Weights = "trained"
    ) -> PairResiduals:
        """Residual streams at all layers.

        Args:
            prop: "shape" or "color".
            split: of the scenes.
            isolate: pairs whose answer a swap of ``prop`` must not change, instead of pairs about it.
            weights: of the network that is read.
        """
        return self._cached(prop, split, isolate, weights)

    def _unmapped(
        self, prop: str, split: str, variable: Unmapped, swapped: Swapped = "edited"
    ) -> PairResiduals | None:
        """Small captures, and kept: the bases are those of the pairs about the property. None if nothing changes."""
        pairs = self.get(prop, split)
        table = unmapped_pairs(pairs.pairs, variable, swapped)
        if not changes_something(table):
            return None
        sites = list(pairs.base)
        return capture_pair_residuals(self.checkpoint, table, sites, base=pairs, **self.options)

    def _objects(self, weights: Weights = "trained") -> ObjectStates:
        """Object tokens of labeled training scenes at all layers, in one pass; the same for both properties."""
        scenes = self.distribution.sample("train", self.scenes)
        return capture_object_states(self.network(weights), scenes, self.layers, **self.options)

    def _capture(self, prop: str, split: str, isolate: bool, weights: Weights) -> PairResiduals:
        count = self.pairs if split == "train" else self.test_pairs
        if isolate:
            first, second = PROPERTIES
            other = second if prop == first else first
            pairs = self.distribution.pairs(other, split, count)
            table = sample_isolation_pairs(pairs)
        else:
            table = self.distribution.pairs(prop, split, count)
        sites = [Site("resid_post", layer) for layer in self.layers]
        return capture_pair_residuals(self.network(weights), table, sites, **self.options)


@dataclass(frozen=True, eq=False)
class Alignments(Result):
    """Alignments of one property at some layers, with their scores and controls.

    Attributes:
        frame: rows of ``scores.score_alignment`` with ``weights`` ("trained", or "random" for the control).
        alignments: of the trained model, by layer.
        random: of random weights, by layer.
        facts: config, provenance.
    """

    TITLE: ClassVar[str] = "alignments"
    STEM: ClassVar[str] = "alignments"
    TABLES: ClassVar[tuple[str, ...]] = ("scores",)
    EXAMPLE: ClassVar[str] = "das"

    frame: pd.DataFrame
    alignments: tuple[Alignment, ...]
    random: tuple[Alignment, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    def to_frame(self) -> pd.DataFrame:
        return self.frame

    def validity(self) -> pd.DataFrame:
        """One row for each layer and split, all controls beside the effect; see ``validity.validity_table``.

        Where ``AlignConfig.seeds`` asked for several searches, ``seeds``, with their principal angles in degrees
        (``smallest, mean, largest`` after ``angle_``, see ``validity.agreement``).
        """
        table = validity_table(self.frame)
        agreed = pd.DataFrame(self.facts.get("agreement", []))
        if agreed.empty:
            return table
        angles = ["smallest", "mean", "largest"]
        named = agreed.rename(columns={name: f"angle_{name}" for name in angles})
        return table.merge(named, on=["property", "layer"], how="left")

    def figure(self) -> Figure:
        """Accuracy by layer, a panel per split and property."""
        from ..figures.causal import alignment_figure

        return alignment_figure(self.frame)

    @classmethod
    def files(cls) -> tuple[str, ...]:
        """Patterns: each alignment has its own folder."""
        return (*[f"*/{name}" for name in Alignment.files()], *super().files())

    def contents(self) -> Contents:
        trained = {_folder(each): each for each in self.alignments}
        random = {f"random/{_folder(each)}": each for each in self.random}
        values = {
            "alignments": list(trained),
            "random": list(random),
            "facts": self.facts,
        }
        tables = {"scores": self.frame}
        return Contents(values, tables, parts={**trained, **random})

    @classmethod
    def read_contents(cls, folder: Path) -> Contents:
        contents = super().read_contents(folder)
        for name in contents.values["alignments"] + contents.values["random"]:
            contents.parts[name] = Alignment.load(folder, subfolder=name)
        return contents

    @classmethod
    def restore(cls, contents: Contents) -> Alignments:
        values = contents.values
        parts: dict[str, Any] = contents.parts
        trained = [parts[name] for name in values["alignments"]]
        random = [parts[name] for name in values["random"]]
        frame = contents.tables["scores"]
        return cls(frame, tuple(trained), tuple(random), values["facts"])


def _folder(alignment: Alignment) -> str:
    """The folder of an alignment among others."""
    return f"{alignment.property}-{alignment.site.layer}"


def align(
    checkpoint: Checkpoint,
    distribution: SceneDistribution,
    config: AlignConfig | None = None,
    *,
    captures: PairCaptures | None = None,
    progress: bool = False,
) -> Alignments:
    """Find the subspaces that carry a property, and score them with all controls; see the head of this module.

    Args:
        checkpoint: whose model is searched; it does not learn.
        distribution: of the scenes; usually ``checkpoint.distribution()``.
        config: see AlignConfig.
        captures: of the same checkpoint and distribution, where several calls share them.
        progress: show bars.

    Raises:
        RelViTError: a layer or a split that does not exist, scenes of another geometry, a foreign image processor,
            more directions than the model is wide, a loss that is not finite.
    """
    config = config or AlignConfig()
    checkpoint.check()
    layers = range(checkpoint.depth) if config.layers is None else config.layers
    layers = check_layers(layers, checkpoint.depth)
    if captures is None:
        captures = config.captures(checkpoint, distribution, layers, progress)
    found: dict[str, list[Alignment]] = {"trained": [], "random": []}
    frames = []
    repeated: list[Alignment] = []
    steps = list(product(config.networks, layers))
    one = len(steps) == 1  # whose own bars say all
    for weights, layer in progress_bar(steps, desc="alignments", disable=one or not progress):
        alignment = _fitted(captures, config, layer, weights, progress)
        found[weights].append(alignment)
        scores = score(alignment, captures, config, weights=weights, progress=progress)
        frames.append(scores)
        if weights == "trained" and config.shuffles:
            frames.append(_shuffled_scores(alignment, captures, config, progress))
        if weights == "trained" and config.seeds > 1:
            repeated += _repeated(alignment, captures, config, progress)
    made = provenance(
        seed=config.seed,
        data_seed=distribution.seed,
        processor=checkpoint.processor.fingerprint,
    )
    facts = {
        "config": asdict(config),
        "task": distribution.task,
        "scenes": distribution.name,
        "agreement": records(agreement(repeated)),
        "provenance": made,
    }
    frame = pd.concat(frames, ignore_index=True)
    trained = tuple(found["trained"])
    random = tuple(found["random"])
    return Alignments(frame, trained, random, facts)


def _fitted(
    captures: PairCaptures,
    config: AlignConfig,
    layer: int,
    weights: Weights,
    progress: bool,
) -> Alignment:
    """The alignment of a layer."""
    return fit_alignment(
        captures.network(weights),
        captures.get(config.property, "train", weights=weights),
        layer,
        config.das,
        objects=captures.objects(weights) if config.method in LABELED else None,
        progress=progress,
    )


def _repeated(
    alignment: Alignment,
    captures: PairCaptures,
    config: AlignConfig,
    progress: bool,
) -> list[Alignment]:
    """The alignment, and those of further seeds at the same layer."""
    layer = alignment.site.layer
    seeds = range(config.seed + 1, config.seed + config.seeds)
    others = [
        _fitted(captures, replace(config, seed=seed), layer, "trained", progress) for seed in seeds
    ]
    return [alignment, *others]


def _shuffled_scores(
    alignment: Alignment,
    captures: PairCaptures,
    config: AlignConfig,
    progress: bool,
) -> pd.DataFrame:
    """Scores of an alignment to shuffled labels, of the same scale and number of directions."""
    das = config.das
    if config.method == "closed_form":
        das = replace(das, scale=alignment.scale, size=None)
    elif config.method == "dictionary":
        das = replace(das, size=alignment.size)
    checkpoint = captures.checkpoint
    fitted = fit_alignment(
        checkpoint,
        captures.get(config.property, "train"),
        alignment.site.layer,
        das,
        objects=captures.objects() if config.method in LABELED else None,
        shuffled=True,
        progress=progress,
    )
    frames = []
    for split in config.splits or captures.distribution.causal_splits:
        pairs = captures.get(config.property, split)
        scores = score_alignment(checkpoint, fitted, pairs, bf16=config.bf16, progress=progress)
        frames.append(scores)
    return pd.concat(frames, ignore_index=True).assign(weights="trained", control="shuffled_labels")


def score(
    alignment: Alignment,
    captures: PairCaptures,
    config: AlignConfig,
    *,
    weights: Weights = "trained",
    progress: bool = False,
) -> pd.DataFrame:
    """Score an alignment that was found before on all splits of the config, with the config's controls.

    Args:
        alignment: of the captures' checkpoint, at one of their layers.
        captures: of the pairs to score on.
        config: its splits, controls and isolate score; the controls are those of trained weights only.
        weights: of the network that the alignment was found in.
        progress: show bars.

    Returns:
        Rows of ``scores.score_alignment`` with ``weights``.

    Raises:
        RelViTError: an alignment of another model, a layer that was not captured.
    """
    splits = config.splits or captures.distribution.causal_splits
    network = captures.network(weights)
    options: Any = {"bf16": config.bf16, "progress": progress}
    trained = weights == "trained"
    controls: list[str | None] = [config.control]
    if trained:
        scored = [*(config.scored_controls or ()), *(config.replacements or ())]
        controls += [control for control in scored if control != config.control]
    frames = []
    for split in splits:
        pairs = captures.get(alignment.property, split, weights=weights)
        for control in controls:
            scores = _control_scores(network, alignment, pairs, control, options)
            frames.append(scores)
        if trained and config.isolate:
            kept = captures.get(alignment.property, split, isolate=True)
            frames.append(score_alignment(network, alignment, kept, **options))
        if trained:
            frames += _unmapped_scores(alignment, captures, split, config, options)
    return pd.concat(frames, ignore_index=True).assign(weights=weights)


def _control_scores(
    network: Checkpoint,
    alignment: Alignment,
    pairs: PairResiduals,
    control: Any,
    options: dict[str, Any],
) -> pd.DataFrame:
    """Scores with one control; None is the alignment itself."""
    if control != "random_directions":
        return score_alignment(network, alignment, pairs, control, **options)
    random = alignment.random_directions()
    scores = score_alignment(network, random, pairs, **options)
    return scores.assign(control=control, method=alignment.method)


def _unmapped_scores(
    alignment: Alignment,
    captures: PairCaptures,
    split: str,
    config: AlignConfig,
    options: dict[str, Any],
) -> list[pd.DataFrame]:
    """Scores with every change of the config; "fixed" follows the name where that object is swapped."""
    frames = []
    for swapped in config.unmapped_objects:
        for variable in config.unmapped or ():
            same = captures.unmapped(alignment.property, split, variable, swapped)
            if same is None:
                continue
            scores = score_alignment(captures.checkpoint, alignment, same, **options)
            name = variable if swapped == "edited" else f"{variable}, {swapped}"
            frames.append(scores.assign(score="unmapped", control=name))
    return frames


def check_layers(layers: Sequence[int], depth: int) -> list[int]:
    """Layers as integers. Raises RelViTError for one that a model of this depth does not have."""
    for layer in layers:
        if not 0 <= layer < depth:
            raise RelViTError(
                f"layer {layer} of a model with {depth} blocks: expected 0 to {depth - 1}"
            )
    return [int(layer) for layer in layers]
