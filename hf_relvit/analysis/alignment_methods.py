"""Which subspace of the object tokens carries shape, which color? One way in to all methods (paper, section 5).

1. Capture pairs at the site, unless they were before: states ``(n, tokens, hidden)`` of bases, and of the sources'
   objects ``(n, k + 1, p, hidden)``. The model is frozen.
2. Find rows to read, rows to write and a mask, by the method: a search (``das_search``: "das", "low_rank", ...),
   labeled objects (``labeled``: "closed_form", "dictionary"), or no training (``subspaces``: "pca", "full_swap", ...).
3. A control deals the labels anew before step 2, and must find nothing.
4. Write down the settings, the history and where all came from. ``scores`` says how often test pairs follow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from ..errors import RelViTError
from ..modeling.checkpoints import Checkpoint
from ..stimuli.counterfactuals import CounterfactualTable
from .activations import ObjectStates, Site
from .alignment import Alignment
from .das_config import DASConfig
from .das_search import fit_by_search
from .interchange import PairResiduals
from .labeled import fit_closed_form, fit_features
from .method_input import Fit
from .scores import residuals_of
from .subspaces import BASELINES, baseline_subspace


def fit_alignment(
    checkpoint: Checkpoint,
    train: CounterfactualTable | PairResiduals,
    layer: int,
    config: DASConfig | None = None,
    *,
    objects: ObjectStates | None = None,
    shuffled: bool = False,
    watch: Callable[[Alignment], None] | None = None,
    progress: bool = False,
) -> Alignment:
    """Find the subspace whose interchange gives the counterfactual answers (or take an untrained one).

    The model is frozen. Base and source states at the site are computed once; a step evaluates the rotation once, for
    all tokens, and runs the blocks after the site. The mask is soft in training, hard afterwards. In training the
    source object's tokens are permuted, the same way for a batch, as in the official code: the subspace is tied over
    the tokens. Deterministic by seed on the CPU, to the bit.

    Args:
        checkpoint: whose model is searched; it does not learn.
        train: pairs of scenes; or their ``capture_pair_residuals`` at several sites, to avoid one pass per fit.
        layer: the site is ``Site("resid_post", layer)``.
        config: see DASConfig.
        objects: object tokens of labeled scenes, for "closed_form" and "dictionary"; by default those of three
            quarters of the pairs. The other pairs (all of them, where objects are given) choose the scale or the
            number of features.
        shuffled: deal the labels anew, as a control: a subspace that is found then is no finding.
        watch: called after every epoch of a search with the alignment of that moment, such as to score or to save it.
        progress: show bars.

    Raises:
        RelViTError: a layer that the model does not have, more directions than the model is wide, pairs of another
            geometry, a loss that is not finite.
    """
    config = config or DASConfig()
    width: int = checkpoint.model.config.hidden_size
    if config.size is not None and config.size > width:
        raise RelViTError(
            f"{config.size} directions in a model of width {width}: choose at most {width}"
        )
    site = Site("resid_post", layer)
    data = residuals_of(checkpoint, train, site, config.cache_gb, progress)
    fit = Fit.of(checkpoint, data, site, config, objects, shuffled, progress, watch)
    if config.method == "dictionary":
        return fit_features(fit)
    start = None
    if "closed_form" in (config.method, config.start):
        start = fit_closed_form(fit)
        if config.method == "closed_form":
            return start
    if shuffled:
        fit = replace(fit, data=_shuffled(data, config.seed))
    if config.method in BASELINES:
        return _untrained(fit)
    return fit_by_search(fit, start)


def _untrained(fit: Fit) -> Alignment:
    """A subspace of the states of the source's objects that nobody trains."""
    config = fit.config
    pairs = fit.data.pairs
    states = fit.data.source_objects(fit.site)
    values = np.asarray(getattr(pairs.source, pairs.property), dtype=np.int64)
    by_object = torch.from_numpy(values)[..., None]
    by_token = by_object.expand(states.shape[:-1])
    rotation, mask = baseline_subspace(
        config.method,
        states.flatten(0, 2).float().cpu(),
        by_token.flatten(),
        config.size,
        fit.generator(),
    )
    return fit.alignment(rotation, mask)


def _shuffled(data: PairResiduals, seed: int) -> PairResiduals:
    """The same pairs with answers and values of the sources dealt anew."""
    pairs = data.pairs
    order = np.random.default_rng(seed).permutation(len(pairs))
    values = getattr(pairs.source, pairs.property)[order]
    source = replace(pairs.source, **{pairs.property: values})
    relabeled = replace(pairs, source=source, label=pairs.label[order])
    return replace(data, pairs=relabeled)
