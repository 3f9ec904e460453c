"""Alignments without a search: where a property is written, and how to read it past everything else.

Symbols: x ``(n, p, hidden)``, states of n objects of p tokens; v a value of the property, t a token of the object.

1. Per token t, x is regressed on v and on the value of the *other* property, so that neither takes over
   effects of the other one by the chance of the sample. The effects of v have the principal directions A
   ``(r, hidden)``, orthonormal rows: the directions that a change of the property writes.
2. N ``(hidden, hidden)``, must not be read: the covariance of the residuals, shrunk toward a sphere, plus
   OTHER_WEIGHT times that of the effects of the other property.
3. G = ``(A N^-1 A^T)^-1 A N^-1``, the generalized least squares estimate of the coordinates in A: ``G A^T`` = 1.
4. The swap is ``b + c A^T G (s - b)``, an oblique projection. For N = 1 it is orthogonal, as in DAS.
5. r: by cross-validation over the objects. The scale c: by the answers to pairs that were held out.

Our choice, kin of Fisher's discriminants and of LEACE (arXiv 2306.03819). The search behind the defaults:
docs/alignments.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..errors import RelViTError
from ..stimuli.counterfactuals import PROPERTIES

if TYPE_CHECKING:
    from .activations import ObjectStates
    from .interchange import PairResiduals

SHRINKAGE = 1.0
"""Of N, in mean variances of a dimension."""
OTHER_WEIGHT = 10.0
SCALES = (1.0, 1.15, 1.3, 1.45)
START_SCALE = 1.3
"""Candidates for c, and the first one. Above 1 it makes up for other tokens, which still hold the old value."""
HELD_OUT = 32
"""Pairs that choose c, by their mean loss. On CLIP twice as many choose alike, and they are most of the cost."""
FOLDS = 4


class NoDirections(RelViTError):
    """States in which a property has no closed form: they do not vary with it, or with nothing else."""


@dataclass(frozen=True, eq=False)
class LabeledStates:
    """Tokens of objects at one site, and the objects' properties.

    Attributes:
        states: float64 ``(n, p, hidden)``.
        values: int64 ``(n,)``, of the property.
        others: int64 ``(n,)``, of the other property.

    Raises:
        RelViTError: states that are not finite, or a property with a single value.
    """

    states: torch.Tensor
    values: torch.Tensor
    others: torch.Tensor

    def __post_init__(self):
        if not self.states.isfinite().all():
            raise RelViTError("states that are not finite: expected numbers; check the weights")
        count = len(self.values.unique())
        if count < 2:
            raise RelViTError(
                f"{count} value of the property in {len(self.values)} objects: expected at least 2; take more scenes"
            )

    @classmethod
    def of_scenes(cls, objects: ObjectStates, layer: int, prop: str) -> LabeledStates:
        """Of captured scenes. ``prop`` is "shape" or "color"."""
        scenes = objects.scenes
        count = scenes.shape.shape[1]
        by_token = objects.states[layer]
        states = by_token.unflatten(1, (count, -1))
        return cls._labeled(states, scenes.shape, scenes.color, prop)

    @classmethod
    def of_pairs(cls, data: PairResiduals, site) -> LabeledStates:
        """Of the objects of all sources and bases of captured pairs."""
        source = data.pairs.source
        base = data.pairs.base
        states = torch.cat([data.source_objects(site), data.base_objects(site)])
        shape = np.concatenate([source.shape, base.shape])
        color = np.concatenate([source.color, base.color])
        return cls._labeled(states, shape, color, data.pairs.property)

    @classmethod
    def _labeled(
        cls, states: torch.Tensor, shape: np.ndarray, color: np.ndarray, prop: str
    ) -> LabeledStates:
        """From ``(scenes, objects, p, hidden)`` and ``(scenes, objects)``."""
        by_object = states.flatten(0, 1).double()
        labels = {}
        for name, column in zip(PROPERTIES, (shape, color)):
            integers = column.astype(np.int64)
            labels[name] = torch.from_numpy(integers).flatten()
        values = labels.pop(prop)
        (others,) = labels.values()
        return cls(by_object.cpu(), values, others)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: torch.Tensor) -> LabeledStates:
        values = self.values[rows]
        others = self.others[rows]
        return LabeledStates(self.states[rows], values, others)

    def shuffled(self, generator: torch.Generator) -> LabeledStates:
        """The same states with the property's values dealt anew: a control that must find nothing."""
        order = torch.randperm(len(self), generator=generator)
        return replace(self, values=self.values[order])


@dataclass(frozen=True, eq=False)
class Oblique:
    """The reading and the writing directions, each float64 ``(r, hidden)``; ``read @ write.T`` is 1."""

    read: torch.Tensor
    write: torch.Tensor


def fit_oblique(sample: LabeledStates, size: int | None = None) -> Oblique:
    """Read and write directions of a property; see the head of this module.

    Args:
        sample: of training scenes.
        size: directions; by default cross-validation chooses.

    Raises:
        RelViTError: more directions than objects or than the means span, or states that do not vary.
    """
    parts = effects_of(sample)
    directions = _principal(parts.effects)
    explained = parts.effects.square().mean()
    unexplained = parts.rest.square().mean()
    if unexplained <= 1e-12 * explained:
        raise NoDirections(
            "the covariance of the states is singular: they vary with their values alone; take more scenes"
        )
    spanned = len(directions)
    most = min(spanned, len(sample))
    if size is None:
        size = _choose_size(sample, spanned)
    elif size > most:
        raise RelViTError(
            f"{size} directions from {len(sample)} objects whose means span {spanned}: choose at most {most}, "
            "or take more scenes"
        )
    write = directions[:size]
    read = _reader(write, parts)
    return Oblique(read, write)


@dataclass(frozen=True, eq=False)
class Effects:
    """States as a sum, float64: per token a mean, an effect of each property, and the rest.

    Attributes:
        mean: ``(p, hidden)``.
        effects: of the property ``(values, p, hidden)``, mean 0 over the objects.
        others: of the other property, likewise.
        rest: ``(n, p, hidden)``.
    """

    mean: torch.Tensor
    effects: torch.Tensor
    others: torch.Tensor
    rest: torch.Tensor


def effects_of(sample: LabeledStates) -> Effects:
    """Least squares on both properties at once, for each token."""
    own = _indicators(sample.values)
    other = _indicators(sample.others)
    mean = sample.states.mean(0)
    centered = (sample.states - mean).flatten(1)
    design = torch.cat([own, other], 1)
    # the columns of a property sum to 0: the pseudo-inverse takes the effects that do, too
    inverse = torch.linalg.pinv(design, hermitian=False, rtol=1e-10)
    solution = inverse @ centered
    rest = centered - design @ solution
    count = own.shape[1]
    shape = sample.states.shape[1:]
    effects = solution[:count].unflatten(1, shape)
    others = solution[count:].unflatten(1, shape)
    residuals = rest.unflatten(1, shape)
    return Effects(mean, effects, others, residuals)


def _indicators(labels: torch.Tensor) -> torch.Tensor:
    """A column per value: which objects have it, less how often, float64 ``(n, values)``."""
    _, member = labels.unique(return_inverse=True)
    shown = torch.nn.functional.one_hot(member).double()
    return shown - shown.mean(0)


def _principal(effects: torch.Tensor) -> torch.Tensor:
    """Orthonormal rows that span the effects, the largest first."""
    flat = effects.flatten(0, 1)
    _, strengths, rows = torch.linalg.svd(flat, full_matrices=False)
    largest = strengths[0]
    if largest <= 1e-12:
        raise NoDirections("states that do not vary with the property: nothing can be read")
    return rows[strengths > 1e-6 * largest]


def _second_moment(states: torch.Tensor) -> torch.Tensor:
    flat = states.flatten(0, 1)
    return flat.T @ flat / len(flat)


def _reader(write: torch.Tensor, parts: Effects) -> torch.Tensor:
    """G of the head of this module."""
    within = _second_moment(parts.rest)
    of_other = _second_moment(parts.others)
    level = SHRINKAGE * within.diagonal().mean()
    identity = torch.eye(len(within), dtype=within.dtype)
    shrunk = within + level * identity
    nuisance = shrunk + OTHER_WEIGHT * of_other
    whitened = torch.linalg.solve(nuisance, write.T)
    return torch.linalg.solve(write @ whitened, whitened.T)


def _choose_size(sample: LabeledStates, most: int) -> int:
    """How many directions predict the means of held-out objects best; all where there are too few to hold out."""
    change = torch.zeros(most, dtype=torch.float64)
    for train, test in _folds(sample):
        effects = effects_of(train).effects.flatten(0, 1)
        held_out = effects_of(test).effects.flatten(0, 1)
        left, strengths, right = torch.linalg.svd(effects, full_matrices=False)
        rotated = left.T @ held_out
        along = (rotated * right).sum(1)
        # squared error of the means, against that of one direction fewer
        error = strengths * (strengths - 2 * along)
        change += error[:most]
    if not change.any():
        return most
    best = change.cumsum(0).argmin()
    return int(best) + 1


def _folds(sample: LabeledStates) -> list[tuple[LabeledStates, LabeledStates]]:
    """Training and held-out objects, each with every value equally often (to within one); none if a value is rare."""
    _, member, counts = sample.values.unique(return_inverse=True, return_counts=True)
    if counts.min() < 2 * FOLDS:
        return []
    by_value = member.argsort(stable=True)
    first = counts.cumsum(0) - counts
    starts = first[member[by_value]]
    turn = torch.empty_like(member)
    turn[by_value] = torch.arange(len(member)) - starts
    folds = []
    for fold in range(FOLDS):
        held_out = turn % FOLDS == fold
        train = sample[~held_out]
        folds.append((train, sample[held_out]))
    return folds
