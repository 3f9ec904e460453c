"""Alignments of labeled objects; held-out pairs only choose a scale or a number of features.

1. Take labeled objects: those of the scenes that are given, else those of three quarters of the pairs.
2. "closed_form": read and written directions of their means and covariances (``closed_form``); of SCALES the one whose
   swaps answer the held-out pairs best.
3. "dictionary": the features that carry the property, in order of strength (``dictionary``); of their numbers the one
   whose swaps answer the held-out pairs best.
4. A control deals the objects' labels anew first, and must find nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..errors import RelViTError
from .alignment import Alignment
from .closed_form import HELD_OUT, SCALES, START_SCALE, LabeledStates, Oblique, fit_oblique
from .das_config import OBLIQUE, DASConfig
from .dictionary import WORTH, Dictionary, sizes
from .interchange import PairResiduals
from .method_input import Fit


def fit_closed_form(fit: Fit) -> Alignment:
    """Read and write directions of labeled objects, and the scale that answers held-out pairs best."""
    config = fit.config
    sample, pairs = _labeled(fit)
    oblique = fit_oblique(sample, config.size)
    fit.facts["objects"] = len(sample)
    alignment = _alignment_of(fit, oblique, config.scale or 1.0)
    if config.scale is not None or config.method not in OBLIQUE:
        return alignment
    scale, losses = _choose_scale(fit, alignment, pairs)
    fit.facts["loss_by_scale"] = {str(tried): loss for tried, loss in losses.items()}
    return replace(alignment, scale=scale)


def fit_features(fit: Fit) -> Alignment:
    """The features of a dictionary that carry the property, as many as answer held-out pairs best.

    Raises:
        RelViTError: a file that is no dictionary of this width, or more features than vary with the property.
    """
    config = fit.config
    dictionary = Dictionary.load(config.dictionary or "", fit.width)
    sample, pairs = _labeled(fit)
    ranked = dictionary.ranked(sample)
    count = len(ranked)
    if not fit.shuffled:
        _check_size(config, count)
    tried = sizes(count) if config.size is None else [config.size]
    losses: dict[int, float] = {}
    best: Any = None
    lowest = np.inf
    for size in tried:
        operator = dictionary.operator(ranked[:size])
        found = _alignment_of(fit, operator)
        losses[size] = fit.loss(found, pairs)
        if best is None or losses[size] < WORTH * lowest:
            best = found
            lowest = losses[size]
    chosen = ranked[: best.size]
    fit.facts["objects"] = len(sample)
    fit.facts["dictionary"] = dictionary.digest
    fit.facts["features"] = chosen.tolist()
    fit.facts["loss_by_size"] = {str(size): loss for size, loss in losses.items()}
    return best


def _check_size(config: DASConfig, count: int) -> None:
    """A dictionary cannot give more features than ``count``."""
    if config.size is not None and config.size > count:
        raise RelViTError(
            f"{config.size} features of {config.dictionary}, of which {count} vary with the property: choose "
            f"at most {count}"
        )


def _labeled(fit: Fit) -> tuple[LabeledStates, PairResiduals]:
    """Labeled objects to fit on, and pairs that they leave to choose by."""
    pairs = fit.data
    if fit.objects is None:
        quarter = -(-len(pairs.pairs) // 4)
        rest, pairs = fit.split(min(HELD_OUT, quarter))
        sample = LabeledStates.of_pairs(rest.data, fit.site)
    else:
        prop = pairs.pairs.property
        sample = LabeledStates.of_scenes(fit.objects, fit.site.layer, prop)
    if fit.shuffled:
        sample = sample.shuffled(fit.generator())
    return sample, pairs


def _alignment_of(fit: Fit, oblique: Oblique, scale: float = 1.0) -> Alignment:
    mask = torch.ones(len(oblique.read), dtype=torch.bool)
    read = oblique.read.float()
    write = oblique.write.float()
    return fit.alignment(read, mask, write=write, scale=scale)


def _choose_scale(
    fit: Fit,
    alignment: Alignment,
    pairs: PairResiduals,
) -> tuple[float, dict[float, float]]:
    """The scale with the smallest loss on pairs, and the losses that were computed.

    The loss falls and then rises with the scale, so the search leaves START_SCALE on either side until it rises.
    """
    losses: dict[float, float] = {}

    def loss_at(index: int) -> float:
        scale = SCALES[index]
        if scale not in losses:
            scaled = replace(alignment, scale=scale)
            losses[scale] = fit.loss(scaled, pairs)
        return losses[scale]

    best = SCALES.index(START_SCALE)
    for step in (-1, 1):
        following = best + step
        while 0 <= following < len(SCALES) and loss_at(following) < loss_at(best):
            best = following
            following += step
    return SCALES[best], losses
