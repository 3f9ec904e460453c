"""Does anything behind a block use the states that a probe reads? Edits of a frozen backbone, read by its own probes.

Symbols: h ``(n, k * p, hidden)``, object tokens after a block; blocks L ("are two tokens of one object?" is read best)
and J (the relation of a pair is), both chosen by validation scenes in the battery.

1. *Ablation of binding.* The quadratic probe at L scores two tokens by ``y'Sz``. Of the eigenvectors v of S the RANK
   largest by ``|eigenvalue| * variance of h along v`` span its subspace B.
2. The coordinates of h in B are replaced by their mean, by noise, or by those of another image; the blocks from L to
   max(J, L) run on. Fall of the probe at L, of the likeness of pairs and of the probe of the relation behind the
   blocks, each against the states as they are.
3. Controls: B of the probe of shuffled labels; random directions; random directions along which the states vary, which
   carry as much of them as B does or more.
4. *Swap of a property* after a block E: an oblique projection of labeled objects (``closed_form``) gives one object
   the shape or color of one in another scene. Probes of J are asked which value the object has, and whether its pair
   has the other relation now. E is one of the blocks before the relation can be read half as well as at J: the one
   whose swaps change the relation most often on validation pairs. The scale is 1: no answers can choose it.
5. Controls of a swap: the wrong object of the other scene, random directions, shuffled labels of the objects.

Random weights are the control of both: call it with ``randomly_initialized``. The probe of binding, and an ablation of
its directions as a test of their use: after Li et al. 2025 (arXiv 2510.24709). Replacements: arXiv 2604.14433 (see
``interchange.replaced``), but that of another image deals the tokens anew. B, its rank, the blocks and the controls
are our choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import torch

from ..progress import batches
from ..provenance import provenance
from ..statistics import cluster_bootstrap, wilson
from ..stimuli.counterfactuals import CounterfactualTable
from ..tables import select
from .activations import ObjectStates, Site, at_tokens, capture, capture_residuals, replaced_forward
from .battery import COLUMNS, Subject, pair_likeness
from .closed_form import LabeledStates, Oblique, fit_oblique
from .interchange import (
    REPLACEMENTS,
    PairResiduals,
    capture_pair_residuals,
    intervene,
    replaced,
    swapped_scenes,
)
from .probes import Form, ProbeConfig, Probes, Target, fit_probes
from .result import TableResult
from .similarity import aucs
from .subspaces import interchange, random_rotation

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from matplotlib.figure import Figure

VERSION = 1
"""Of the edits: others are other cells."""
RANK = 16
"""Of the subspace of binding; an eighth of the width where that is fewer."""
DRAWS = 2
"""Random subspaces of each kind."""
RECORDED = "other_image"
"""The replacement of records: the only one that puts in states of a natural image."""
ABLATED = ("binding", "binding_likeness", "binding_relation")
EDIT_COLUMNS = (*COLUMNS, "replacement")
TYPES: Any = {
    **dict.fromkeys(("layer", "n"), int),
    **dict.fromkeys(("value", "ci_low", "ci_high", "floor"), float),
    "chosen": bool,
}


@dataclass(frozen=True)
class FrozenEdits(TableResult):
    """The edits of one set of weights on one task.

    Attributes:
        frame: one row per measure, condition and replacement. ``measure``: "binding", "binding_likeness",
            "binding_relation" (``value``: the fall of accuracy or AUC), "shape_swap", "color_swap" (share of objects
            that are read as their new value), "shape_swap_relation", "color_swap_relation" (share of pairs that are
            read as the other relation). ``condition``: "trained", the edit, or a control: "shuffled", "subspace",
            "varying" (random directions along which states vary), "wrong_object". ``layer``: of the edit.
            ``value, n, ci_low, ci_high``; ``floor``, of no edit; ``chosen``, a number of the record.
        facts: task, blocks, rank, provenance.
    """

    TITLE: ClassVar[str] = "edits of frozen states"
    STEM: ClassVar[str] = "frozen_edits"
    TABLES: ClassVar[tuple[str, ...]] = ("frozen_edits",)
    EXAMPLE: ClassVar[str] = "discrimination/trained_edits"

    frame: pd.DataFrame
    facts: dict[str, Any] = field(default_factory=dict)

    def figure(self) -> Figure:
        """Each edit beside its controls."""
        from ..figures.battery import edits_figure

        return edits_figure(self.frame.assign(weights="trained", task=self.facts["task"]))


def measure_edits(subject: Subject, battery: pd.DataFrame) -> FrozenEdits:
    """Edit the states of a frozen backbone; see the head of this module.

    Args:
        subject: whose states are edited; its first ``attention_scenes`` test scenes, and as many pairs of scenes.
        battery: frame of the battery of the same subject, which chose the blocks.

    Raises:
        RelViTError: states that are not finite.
    """
    relation = _chosen(battery, "judgement")
    rows: list[dict[str, Any]] = []
    blocks = {"judgement": relation}
    if len(select(battery, measure="same_object")):
        binding = _chosen(battery, "same_object")
        blocks["same_object"] = binding
        ablation = Ablation.of(subject, binding, max(relation, binding))
        rows += ablation.rows()
    read_at = min(max(relation, 1), subject.checkpoint.depth - 1)
    before = _before_relation(battery)
    for prop in subject.swapped:
        pairs = subject.pairs(prop)
        if pairs is not None:
            last = min(before, read_at)
            swap = _Swap.best(subject, prop, last, read_at)
            rows += swap.rows(pairs)
    facts = {
        "task": subject.task,
        "blocks": blocks,
        "rank": RANK,
        "provenance": provenance(seed=subject.config.seed),
    }
    frame = pd.DataFrame(rows, columns=list(EDIT_COLUMNS))
    return FrozenEdits(frame.astype(TYPES), facts)  # also where nothing can be edited


def _chosen(battery: pd.DataFrame, measure: str) -> int:
    """The block that validation scenes chose."""
    rows = select(battery, measure=measure, condition="trained", chosen=True)
    return int(rows.layer.iloc[0])


def _before_relation(battery: pd.DataFrame) -> int:
    """The last block before the relation can be read half as well, above guessing, as where it is read best; or 0."""
    rows = select(battery, measure="judgement", condition="trained", split="validation")
    by_block = rows.sort_values("layer").value.to_numpy()
    best = int(by_block.argmax())
    half = (by_block.max() + rows.floor.iloc[0]) / 2
    low = np.flatnonzero(by_block[:best] <= half)
    return int(low[-1]) if len(low) else 0


def _fitted(subject: Subject, target: Target, form: Form, layer: int) -> Probes:
    """A probe of one block, as in the battery."""
    config = ProbeConfig(target, form, seed=subject.config.seed, layers=(layer,))
    states = subject.states
    return fit_probes(subject.checkpoint, states["train"], states["validation"], config)


def binding_subspace(
    form: Float[torch.Tensor, "rows hidden"],
    states: Float[torch.Tensor, "n hidden"],
    rank: int,
) -> Float[torch.Tensor, "rank hidden"]:
    """Directions that a quadratic probe compares, orthonormal rows float32 ``(rank, hidden)``, the strongest first.

    Args:
        form: of the probe, ``(2 * r, hidden)``, the positive directions of S first.
        states: tokens ``(n, hidden)``, whose variance weighs the directions.
        rank: how many.
    """
    plus, minus = form.double().chunk(2)
    compared = plus.T @ plus - minus.T @ minus
    values, vectors = torch.linalg.eigh(compared)
    exact = states.double()
    centered = exact - exact.mean(0)
    variance = (centered @ vectors).square().mean(0)
    strength = values.abs() * variance
    order = strength.argsort(descending=True)
    return vectors[:, order[:rank]].T.float()


def varying_rotation(
    rank: int,
    states: Float[torch.Tensor, "n hidden"],
    generator: torch.Generator,
) -> Float[torch.Tensor, "rank hidden"]:
    """Random orthonormal rows ``(rank, hidden)`` in the span of states, likelier the more these vary there."""
    exact = states.double()
    centered = exact - exact.mean(0)
    mixture = torch.randn(rank, len(states), generator=generator, dtype=torch.float64)
    columns, _ = torch.linalg.qr((mixture @ centered).T)
    return columns.T.float()


def run_between(
    subject: Subject,
    start: int,
    residual: Float[torch.Tensor, "n tokens hidden"],
    end: int,
    tokens: Int[torch.Tensor, "n positions"],
) -> Float[torch.Tensor, "n positions hidden"]:
    """Run the blocks after ``start``, up to ``end``, on states, and read some tokens there.

    Args:
        subject: whose model runs.
        start, end: blocks; equal ones run none.
        residual: ``(n, tokens, hidden)``, the states after block ``start``.
        tokens: int64 ``(n, positions)``, sequence indices to read.
    """
    if end == start:
        return at_tokens(residual, tokens.to(residual.device))
    checkpoint = subject.checkpoint
    site = Site("resid_post", end)
    side = checkpoint.geometry.image_size
    blank = residual.new_zeros(1, 3, side, side, dtype=checkpoint.dtype)
    earlier = checkpoint.blocks[: start + 1]
    device = checkpoint.device
    read = []
    for rows in batches(len(residual), 64, "edits", subject.progress):
        given = residual[rows].to(device)
        at_start: Callable[..., torch.Tensor] = partial(_given, given)
        autocast = torch.autocast(device.type, torch.bfloat16, enabled=subject.config.in_bf16)
        with torch.no_grad(), autocast, replaced_forward(earlier, at_start):
            images = blank.expand(len(given), -1, -1, -1)
            hidden = capture(checkpoint.model, images, [site])[site]
        read.append(at_tokens(hidden, tokens[rows].to(device)))
    return torch.cat(read)


def _given(states: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
    """The forward function of a block whose output is known."""
    return states


@dataclass(frozen=True, eq=False)
class Ablation:
    """Test scenes whose binding is ablated.

    Attributes:
        subject: the model and its scenes.
        scenes: n of them.
        start, end: blocks L and max(J, L).
        residual: ``(n, tokens, hidden)`` after L.
        tokens: int64 ``(n, k * p)``, sequence indices of the objects.
        binding: the two-token probe of L.
        relation: the probe of the relation of ``end``.
    """

    subject: Subject
    scenes: Any
    start: int
    end: int
    residual: torch.Tensor
    tokens: torch.Tensor
    binding: Probes
    relation: Probes

    @classmethod
    def of(cls, subject: Subject, start: int, end: int) -> Ablation:
        """Read the states and fit both probes."""
        scenes = subject.parts["test"][: subject.config.attention_scenes]
        site = Site("resid_post", start)
        captured = capture_residuals(
            subject.checkpoint,
            scenes,
            [site],
            bf16=subject.config.in_bf16,
            progress=subject.progress,
        )
        tokens = subject.checkpoint.geometry.tokens(scenes.patches())
        flat = torch.from_numpy(tokens).flatten(1)
        binding = _fitted(subject, "same_object", "quadratic", start)
        relation = _fitted(subject, "judgement", "linear", end)
        residual = captured[site]
        return cls(subject, scenes, start, end, residual, flat, binding, relation)

    @property
    def rank(self) -> int:
        """How many directions are replaced."""
        width = self.residual.shape[-1]
        return max(1, min(RANK, width // 8))

    def subspaces(self) -> dict[str, list[Float[torch.Tensor, "rank hidden"]]]:
        """Rows ``(rank, hidden)`` to replace, by condition; several of random ones."""
        states = self.subject.states["train"].states[self.start]
        flat = states.flatten(0, 1).float().cpu()
        generator = torch.Generator().manual_seed(self.subject.config.seed)
        width = flat.shape[1]
        forms = {
            condition: self.binding.weights[f"{self.start}.{condition}.form"]
            for condition in ("trained", "shuffled")
        }
        fitted = {
            condition: [binding_subspace(form, flat, self.rank)]
            for condition, form in forms.items()
        }
        random = [random_rotation(self.rank, width, generator) for _ in range(DRAWS)]
        varying = [varying_rotation(self.rank, flat, generator) for _ in range(DRAWS)]
        return {**fitted, "subspace": random, "varying": varying}

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row per measure, replacement and condition."""
        before = self._read(at_tokens(self.residual, self.tokens.to(self.residual.device)))
        subspaces = self.subspaces()
        for replacement in REPLACEMENTS:
            for condition, rotations in subspaces.items():
                after = [self._read(self.without(rows, replacement)) for rows in rotations]
                for measure in ABLATED:
                    known = {
                        "measure": measure,
                        "condition": condition,
                        "replacement": replacement,
                        "chosen": replacement == RECORDED,
                        "split": "test",
                        "layer": self.start,
                        "floor": 0.0,
                    }
                    ends = [each[measure] for each in after]
                    yield {**known, **self._fall(before[measure], ends)}

    def without(
        self,
        rotation: Float[torch.Tensor, "rank hidden"],
        replacement: str,
    ) -> Float[torch.Tensor, "n positions hidden"]:
        """Object tokens whose coordinates in a subspace are replaced."""
        where = self.tokens.to(self.residual.device)
        states = at_tokens(self.residual, where)
        given = (
            self._dealt(states) if replacement == "other_image" else replaced(states, replacement)
        )
        mask = torch.ones(len(rotation), device=states.device)
        return interchange(states, given, rotation.to(states.device), mask)

    def _dealt(self, states: torch.Tensor) -> torch.Tensor:
        """Of a random object token of another image, for each token: a whole object would still belong together."""
        n, count, _ = states.shape
        generator = torch.Generator().manual_seed(self.subject.config.seed)
        image = torch.arange(n)[:, None].expand(n, count)
        away = torch.randint(1, max(2, n), (n, count), generator=generator)
        token = torch.randint(count, (n, count), generator=generator)
        other = (image + away) % n
        return states[other, token]

    def _read(self, objects: Float[torch.Tensor, "n positions hidden"]) -> dict[str, np.ndarray]:
        """By measure: rights of the probes ``(n, units)``, and labels with likeness ``(n, pairs, 2)``."""
        residual = self.residual
        where = self.tokens.to(residual.device)
        index = where[..., None].expand_as(objects)
        edited = residual.scatter(1, index, objects)
        behind = run_between(self.subject, self.start, edited, self.end, self.tokens)
        here = ObjectStates(self.scenes, {self.start: objects}, "corrected")
        there = ObjectStates(self.scenes, {self.end: behind}, "corrected")
        judged = self.scenes.judged
        likeness = pair_likeness(there).reshape(judged.shape)
        return {
            "binding": self.binding.right(here, self.start),
            "binding_likeness": np.stack([judged, likeness], -1),
            "binding_relation": self.relation.right(there, self.end),
        }

    def _fall(self, before: np.ndarray, after: list[np.ndarray]) -> dict[str, Any]:
        """Mean fall over the subspaces, with its interval over scenes."""
        scenes = len(self.scenes)
        clusters = self.scenes.clusters
        if before.dtype == bool:
            lost = [before.mean(1) - each.mean(1) for each in after]
            values = np.mean(lost, 0)
            statistic: Any = np.mean
        else:
            likeness = [each[..., 1] for each in (before, *after)]
            values = np.stack([before[..., 0], *likeness], -1)
            statistic = _auc_fall
        config = self.subject.config
        low, high = cluster_bootstrap(values, clusters, statistic, config.draws, config.seed)
        return {"value": statistic(values), "ci_low": low, "ci_high": high, "n": scenes}


def _auc_fall(values: np.ndarray) -> float:
    """AUC of the first likeness less the mean of the others, ``(scenes, pairs, 1 + 1 + others)``; the label first."""
    by_pair = values.reshape(-1, values.shape[-1])
    before, *after = aucs(by_pair)
    return float(before - np.mean(after))


@dataclass(frozen=True, eq=False)
class _Swap:
    """Swaps of a property after block ``start``, read at block ``end``.

    Attributes:
        subject: the model and its scenes.
        prop: "shape" or "color".
        start, end: blocks.
        value, relation: the probes of ``end``.
    """

    subject: Subject
    prop: str
    start: int
    end: int
    value: Probes
    relation: Probes

    @classmethod
    def best(
        cls,
        subject: Subject,
        prop: Any,
        last: int,
        end: int,
    ) -> _Swap:
        """At the block, up to ``last``, whose swaps change the relation of most validation pairs."""
        value = _fitted(subject, prop, "linear", end)
        relation = _fitted(subject, "judgement", "linear", end)
        at = partial(cls, subject, prop, end=end, value=value, relation=relation)
        swaps = [at(start=start) for start in range(last + 1)]
        pairs = subject.pairs(prop, "validation")
        if pairs is None or len(swaps) == 1:
            return swaps[-1]
        return max(swaps, key=lambda swap: swap.changed(pairs))

    def changed(self, pairs: CounterfactualTable) -> float:
        """The share of pairs whose relation is read as the other one after the swap."""
        data = self._captured(pairs)
        _, residual = next(self._edited(data))
        followed = self._read(data, residual)
        return float(followed[f"{self.prop}_swap_relation"].mean())

    def rows(self, pairs: CounterfactualTable) -> Iterator[dict[str, Any]]:
        """A row per measure and condition."""
        data = self._captured(pairs)
        unedited = self._read(data, data.base[self.site])
        for condition, residual in self._edited(data):
            for measure, followed in self._read(data, residual).items():
                n = len(followed)
                low, high = wilson(followed.sum(), n)
                yield {
                    "measure": measure,
                    "condition": condition,
                    "split": "test",
                    "layer": self.start,
                    "value": followed.mean(),
                    "n": n,
                    "ci_low": float(low),
                    "ci_high": float(high),
                    "floor": unedited[measure].mean(),
                    "chosen": True,
                    "replacement": "none",
                }

    @property
    def site(self) -> Site:
        """Where states are written."""
        return Site("resid_post", self.start)

    def _captured(self, pairs: CounterfactualTable) -> PairResiduals:
        return capture_pair_residuals(
            self.subject.checkpoint,
            pairs,
            [self.site],
            bf16=self.subject.config.in_bf16,
            progress=self.subject.progress,
        )

    def _edited(self, data: PairResiduals) -> Iterator[tuple[str, torch.Tensor]]:
        """States ``(n, tokens, hidden)`` of the bases after the swap, by condition."""
        site = self.site
        seed = self.subject.config.seed
        generator = torch.Generator().manual_seed(seed)
        objects = self.subject.states["train"]
        sample = LabeledStates.of_scenes(objects, self.start, self.prop)
        found = fit_oblique(sample)
        tokens, source = data.operands(site)
        write = partial(_written, data.base[site], tokens)
        yield "trained", write(source, found)
        _, wrong = data.operands(site, "wrong_object")
        yield "wrong_object", write(wrong, found)
        shuffled = fit_oblique(sample.shuffled(generator))
        yield "shuffled", write(source, shuffled)
        size, width = found.read.shape
        random = random_rotation(size, width, generator)
        yield "subspace", write(source, Oblique(random, random))

    def _read(
        self,
        data: PairResiduals,
        residual: torch.Tensor,
    ) -> dict[str, np.ndarray]:
        """Which edited objects are read as their new value, and which pairs as the other relation, bool ``(n,)``."""
        pairs = data.pairs
        tokens = data.base_tokens[:, :-1].flatten(1)
        states = run_between(self.subject, self.start, residual, self.end, tokens)
        by_layer = {self.end: states}
        new = ObjectStates(swapped_scenes(pairs), by_layer, "corrected")
        old = ObjectStates(pairs.base, by_layer, "corrected")
        rows = np.arange(len(pairs))
        named = self.value.right(new, self.end)
        held = self.relation.right(old, self.end)
        pair = pairs.edited // 2 if held.shape[1] > 1 else np.zeros_like(pairs.edited)
        return {
            f"{self.prop}_swap": named[rows, pairs.edited],
            f"{self.prop}_swap_relation": ~held[rows, pair],
        }


def _written(
    residual: torch.Tensor,
    tokens: torch.Tensor,
    source: torch.Tensor,
    oblique: Oblique,
) -> torch.Tensor:
    """States with the source's coordinates, read and written by an oblique projection."""
    device = residual.device
    read = oblique.read.float().to(device)
    write = oblique.write.float().to(device)
    mask = torch.ones(len(read), device=device)
    return intervene(residual, tokens.to(device), source.to(device), read, mask, write)
