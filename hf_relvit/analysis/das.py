"""Distributed alignment search: which subspace of the object tokens carries shape, which color (paper, section 5).

Symbols: b and s ``(batch, p, hidden)``, states of the base's object and of the source's object; R ``(k, hidden)``,
orthonormal rows; m ``(k,)``, a mask.

1. Start R at random rotation and m at 0.5 per direction; freeze the model.
2. Per batch, write ``b + R^T[m R (s - b)]`` over b in the residual stream at the site and run the later blocks.
3. Loss: cross-entropy with the counterfactual label + penalty * sum(m). Adam on R (by the Cayley transform) and m.
4. Let the temperature of the mask fall geometrically; at the end m is 0 or 1.
5. ``scores`` says how often the answers of test pairs follow.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import nn
from transformers import get_linear_schedule_with_warmup

from ..errors import RelViTError
from ..modeling.checkpoints import Checkpoint
from ..progress import progress_bar
from ..provenance import provenance
from ..stimuli.counterfactuals import CounterfactualTable
from .activations import ObjectStates, Site, at_tokens, forward_from
from .alignment import Alignment, fingerprint
from .choices import check_choices
from .closed_form import HELD_OUT, SCALES, START_SCALE, LabeledStates, Oblique, fit_oblique
from .dictionary import WORTH, Dictionary, sizes
from .interchange import PairResiduals, counterfactual_states, intervene
from .scores import residuals_of, swaps_of
from .subspaces import (
    BASELINES,
    LEARNED,
    METHODS,
    SIZED,
    LearnedSubspace,
    Method,
    baseline_subspace,
)

if TYPE_CHECKING:
    from jaxtyping import Float

OBLIQUE = ("closed_form", "oblique")
"""Methods that write other directions than they read."""


@dataclass(frozen=True)
class DASConfig:
    """How an alignment is found. The values are the paper's (section 5 and official code) unless noted.

    Raises:
        RelViTError: unknown method or control, a size where none or one is needed, values out of range.
    """

    method: Method = "das"
    """"das" (a rotation and a mask, the paper's); ours, through the same code: "closed_form" (read and written
    directions from means and covariances, no search), "oblique" (such a pair, learned further), "dictionary" (features
    of a given matrix or sparse autoencoder), "identity" (a mask in the standard basis), "low_rank", "boundless", and,
    untrained, "pca", "mean_difference", "random_subspace", "full_swap"."""
    size: int | None = None
    """Directions of "low_rank" and of the untrained subspaces; of "closed_form" at most, by cross-validation if not
    given; features of "dictionary", by held-out training pairs if not given."""
    dictionary: str | None = None
    """Safetensors file of "dictionary": a matrix (features, hidden), or the encoder and decoder of an autoencoder."""
    scale: float | None = None
    """Factor on the change that "closed_form" and "oblique" write; held-out training pairs choose it by default."""
    start: Literal["random", "closed_form"] = "random"
    """Where a search starts: at a random rotation (the paper), or at the closed form (ours), for few steps."""
    patience: int | None = None
    """Stop when the loss on held-out training pairs did not fall for so many epochs, and keep the best; by default
    all epochs are done (the paper)."""
    control: Literal["wrong_object", "random_tokens"] | None = None
    """"wrong_object" or "random_tokens": train on the control; score with the same one."""
    epochs: int = 20
    batch_size: int = 64
    lr_rotation: float = 1e-3
    lr_mask: float = 1e-2
    penalty: float = 1e-3
    """Loss of each direction that is in. At the paper's value, some directions that nothing reads may stay in."""
    latent_loss: float = 0.0
    """Weight of the distance between edited states and those of real scenes in which the object has the new value
    (the counterfactual latent loss of arXiv 2511.04638; see ``latent_distance``); none by default, as in the paper."""
    final_temperature: float = 1 / 200
    """The mask's temperature falls geometrically from 1 to this."""
    warmup: float = 0.1
    """Share of the steps in which the learning rate rises; then it falls to 0."""
    seed: int = 0
    bf16: bool = False
    """Run the blocks after the site in bfloat16 (ours); the intervention stays in float32."""
    cache_gb: float = 4.0
    """Memory for activations, and room for them on an accelerator; beyond it they are on disk (ours)."""

    def __post_init__(self):
        check_choices(self)
        needs_size = self.method in SIZED
        has_size = self.size is not None
        chooses = self.method == "dictionary" or "closed_form" in (self.method, self.start)
        misplaced = needs_size != has_size and not chooses
        if misplaced or (self.size is not None and self.size < 1):
            raise RelViTError(
                f"size {self.size} for method {self.method!r}: {', '.join(SIZED)} need a number of directions, at "
                "least 1, such as the size of a learned alignment; the other methods find or imply theirs"
            )
        if (self.method == "dictionary") != (self.dictionary is not None):
            raise RelViTError(
                f"dictionary {self.dictionary} for method {self.method!r}: name a safetensors file, and the method "
                "'dictionary'"
            )
        if self.scale is not None and (self.method not in OBLIQUE or not self.scale > 0):
            raise RelViTError(
                f"scale {self.scale} for method {self.method!r}: expected a number above 0, of {' or '.join(OBLIQUE)}"
            )
        from_start = ("das", "low_rank", "oblique")
        wanted = from_start if self.start == "closed_form" else METHODS
        if self.method not in wanted or (self.method == "oblique" and self.start == "random"):
            raise RelViTError(
                f"start {self.start!r} for method {self.method!r}: a closed form starts {', '.join(from_start)}, and "
                "oblique starts there alone"
            )
        learned = self.method in LEARNED
        if not (
            math.isfinite(self.latent_loss)
            and self.latent_loss >= 0
            and (learned or not self.latent_loss)
        ):
            raise RelViTError(
                f"latent_loss {self.latent_loss} for method {self.method!r}: expected at least 0, and 0 unless the "
                f"method is one of {', '.join(LEARNED)}"
            )
        if self.patience is not None and self.patience < 1:
            raise RelViTError(f"patience {self.patience}: expected at least 1, or none")
        if (
            self.epochs < 1
            or self.batch_size < 1
            or not 0 < self.final_temperature <= 1
            or not 0 <= self.warmup <= 1
        ):
            raise RelViTError(
                f"epochs {self.epochs}, batch size {self.batch_size}, final temperature {self.final_temperature}, "
                f"warmup {self.warmup}: expected at least 1, at least 1, above 0 to 1, and 0 to 1"
            )


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
    site = Site("resid_post", layer)
    width: int = checkpoint.model.config.hidden_size
    if config.size is not None and config.size > width:
        raise RelViTError(
            f"{config.size} directions in a model of width {width}: choose at most {width}"
        )
    weights = fingerprint(checkpoint.blocks[layer]) if layer < checkpoint.depth else None
    data = residuals_of(checkpoint, train, site, config.cache_gb, progress)
    pairs = data.pairs
    facts: dict[str, Any] = {
        "config": {"layer": layer, **dataclasses.asdict(config)},
        "task": pairs.base.task,
        "geometry": pairs.base.geometry.name,
        "split": pairs.base.split,
        "pairs": len(pairs),
        "history": [],
        "provenance": provenance(
            seed=config.seed, data_seed=pairs.base.seed, processor=checkpoint.processor.fingerprint
        ),
    }
    place = {"site": site, "property": pairs.property, "method": config.method, "model": weights}
    generator = torch.Generator().manual_seed(config.seed)
    if shuffled:
        facts["labels"] = "shuffled"
    if config.method == "dictionary":
        return _from_dictionary(checkpoint, data, objects, config, place, facts, shuffled)
    closed = None
    if "closed_form" in (config.method, config.start):
        closed = _closed_form(checkpoint, data, objects, config, place, facts, shuffled)
        if config.method == "closed_form":
            return closed
    if shuffled:
        data = _shuffled(data, config.seed)
    if config.method in BASELINES:
        rotation, mask = _baseline(data, site, config, generator)
    else:
        return _search(checkpoint, data, config, closed, place, facts, generator, watch, progress)
    return Alignment(rotation, mask, facts=facts, **place)


def _search(
    checkpoint: Checkpoint,
    data: PairResiduals,
    config: DASConfig,
    closed: Alignment | None,
    place: dict[str, Any],
    facts: dict[str, Any],
    generator: torch.Generator,
    watch: Callable[[Alignment], None] | None,
    progress: bool,
) -> Alignment:
    """A learned subspace, from random directions or from a closed form on."""
    site = place["site"]
    start = None if closed is None else (closed.rotation, closed.rows_written)
    width = checkpoint.model.config.hidden_size
    subspace = LearnedSubspace(config.method, width, config.size, generator, start)
    subspace = subspace.to(checkpoint.device)
    scale = 1.0 if closed is None or config.method != "oblique" else closed.scale

    def found() -> Alignment:
        rotation, mask = subspace.hard()
        written = subspace.written()
        write = None if written is None else written.detach().cpu().clone()
        return Alignment(rotation, mask, facts=facts, write=write, scale=scale, **place)

    best = None
    if config.patience is not None:
        count = min(HELD_OUT, -(-len(data.pairs) // 10))
        best = _Best(checkpoint, data.select(slice(len(data.pairs) - count, None)), config)
        data = data.select(slice(0, len(data.pairs) - count))
    target = None
    if config.latent_loss:
        target = counterfactual_states(
            checkpoint, data.pairs, site, cache_gb=config.cache_gb, progress=progress
        )
    with _frozen(checkpoint.model):
        epochs = _learn(
            checkpoint.model, data, site, subspace, config, scale, target, generator, progress
        )
        for epoch in epochs:
            facts["history"].append(epoch)
            if watch is not None:
                watch(found())
            if best is not None and best.is_passed(found()):
                break
    return found() if best is None else best.alignment


class _Best:
    """The alignment with the smallest loss on held-out pairs so far."""

    def __init__(self, checkpoint: Checkpoint, held_out: PairResiduals, config: DASConfig):
        self.checkpoint = checkpoint
        self.held_out = held_out
        self.config = config
        self.loss = np.inf
        self.waited = 0
        self.alignment: Any = None

    def is_passed(self, alignment: Alignment) -> bool:
        """Whether the loss did not fall for as many epochs as the patience allows."""
        loss = _loss(self.checkpoint, alignment, self.held_out, self.config)
        self.waited += 1
        if loss < self.loss:
            self.loss = loss
            self.waited = 0
            self.alignment = alignment
        return self.waited >= (self.config.patience or 1)


def _loss(
    checkpoint: Checkpoint, alignment: Alignment, data: PairResiduals, config: DASConfig
) -> float:
    """Mean cross-entropy of the counterfactual answers."""
    label = torch.from_numpy(data.pairs.label.astype(np.int64)).to(checkpoint.device)
    swaps = swaps_of(checkpoint, alignment, data, config.control, bf16=config.bf16)
    logits = torch.cat([swap.logits for swap in swaps]).float()
    return nn.functional.cross_entropy(logits, label).item()


def _closed_form(
    checkpoint: Checkpoint,
    data: PairResiduals,
    objects: ObjectStates | None,
    config: DASConfig,
    place: dict[str, Any],
    facts: dict[str, Any],
    shuffled: bool,
) -> Alignment:
    """Read and write directions of labeled objects, and the scale that answers held-out pairs best."""
    sample, data = _labeled(data, objects, place["site"], config, shuffled)
    oblique = fit_oblique(sample, config.size)
    facts["objects"] = len(sample)
    alignment = _alignment_of(oblique, facts, place, config.scale or 1.0)
    if config.scale is not None or config.method not in OBLIQUE:
        return alignment
    scale, losses = _choose_scale(checkpoint, alignment, data, config)
    facts["loss_by_scale"] = {str(tried): loss for tried, loss in losses.items()}
    return dataclasses.replace(alignment, scale=scale)


def _labeled(
    data: PairResiduals,
    objects: ObjectStates | None,
    site: Site,
    config: DASConfig,
    shuffled: bool,
) -> tuple[LabeledStates, PairResiduals]:
    """Labeled objects to fit on, and pairs that they leave to choose by."""
    if objects is None:
        count = len(data.pairs)
        held_out = min(HELD_OUT, -(-count // 4))
        sample = LabeledStates.of_pairs(data.select(slice(0, count - held_out)), site)
        data = data.select(slice(count - held_out, None))
    else:
        sample = LabeledStates.of_scenes(objects, site.layer, data.pairs.property)
    if shuffled:
        sample = sample.shuffled(torch.Generator().manual_seed(config.seed))
    return sample, data


def _alignment_of(
    oblique: Oblique, facts: dict[str, Any], place: dict[str, Any], scale: float = 1.0
) -> Alignment:
    mask = torch.ones(len(oblique.read), dtype=torch.bool)
    read = oblique.read.float()
    write = oblique.write.float()
    return Alignment(read, mask, write=write, scale=scale, facts=facts, **place)


def _from_dictionary(
    checkpoint: Checkpoint,
    data: PairResiduals,
    objects: ObjectStates | None,
    config: DASConfig,
    place: dict[str, Any],
    facts: dict[str, Any],
    shuffled: bool,
) -> Alignment:
    """The features that carry the property, as many as answer held-out pairs best."""
    width = checkpoint.model.config.hidden_size
    dictionary = Dictionary.load(config.dictionary or "", width)
    sample, data = _labeled(data, objects, place["site"], config, shuffled)
    ranked = dictionary.ranked(sample)
    if config.size is not None and config.size > len(ranked) and not shuffled:
        raise RelViTError(
            f"{config.size} features of {config.dictionary}, of which {len(ranked)} vary with the property: choose "
            f"at most {len(ranked)}"
        )
    tried = [config.size] if config.size is not None else sizes(len(ranked))
    losses: dict[int, float] = {}
    best: Any = None
    lowest = np.inf
    for size in tried:
        found = _alignment_of(dictionary.operator(ranked[:size]), facts, place)
        losses[size] = _loss(checkpoint, found, data, config)
        if best is None or losses[size] < WORTH * lowest:
            best = found
            lowest = losses[size]
    facts["objects"] = len(sample)
    facts["dictionary"] = dictionary.digest
    facts["features"] = ranked[: best.size].tolist()
    facts["loss_by_size"] = {str(size): loss for size, loss in losses.items()}
    return best


def _choose_scale(
    checkpoint: Checkpoint, alignment: Alignment, data: PairResiduals, config: DASConfig
) -> tuple[float, dict[float, float]]:
    """The scale with the smallest loss on pairs, and the losses that were computed.

    The loss falls and then rises with the scale, so the search leaves START_SCALE on either side until it rises.
    """
    losses: dict[float, float] = {}

    def loss_at(scale: float) -> float:
        if scale not in losses:
            scaled = dataclasses.replace(alignment, scale=scale)
            losses[scale] = _loss(checkpoint, scaled, data, config)
        return losses[scale]

    best = SCALES.index(START_SCALE)
    for step in (-1, 1):
        while 0 <= best + step < len(SCALES) and loss_at(SCALES[best + step]) < loss_at(
            SCALES[best]
        ):
            best += step
    return SCALES[best], losses


def _shuffled(data: PairResiduals, seed: int) -> PairResiduals:
    """The same pairs with answers and values of the sources dealt anew."""
    pairs = data.pairs
    order = np.random.default_rng(seed).permutation(len(pairs))
    values = getattr(pairs.source, pairs.property)[order]
    source = dataclasses.replace(pairs.source, **{pairs.property: values})
    relabeled = dataclasses.replace(pairs, source=source, label=pairs.label[order])
    return dataclasses.replace(data, pairs=relabeled)


def _baseline(
    data: PairResiduals, site: Site, config: DASConfig, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """An untrained subspace of the states of the source's objects: rotation and mask."""
    pairs = data.pairs
    objects = pairs.source.shape.shape[1]
    states = data.source[site][:, :objects]  # (n, objects, p, hidden)
    values = np.asarray(getattr(pairs.source, pairs.property), dtype=np.int64)
    per_token = torch.from_numpy(values)[..., None].expand(states.shape[:-1])
    flat = states.flatten(0, 2).float().cpu()
    return baseline_subspace(config.method, flat, per_token.flatten(), config.size, generator)


def _learn(
    model: nn.Module,
    data: PairResiduals,
    site: Site,
    subspace: LearnedSubspace,
    config: DASConfig,
    scale: float,
    target: torch.Tensor | None,
    generator: torch.Generator,
    progress: bool,
) -> Iterator[dict[str, float]]:
    """Train the subspace in place; the host waits for the device once an epoch. Loss and soft mask size by epoch.

    ``target``: ``counterfactual_states`` of the pairs, for the latent loss.
    """
    device = next(model.parameters()).device
    base = data.base[site]
    if base.nbytes <= config.cache_gb * 1e9:
        base = base.to(device)
    tokens, source = data.operands(site, config.control)
    tokens = tokens.to(device)
    source = source.to(device)
    if target is not None:
        target = target.to(device)
    label = torch.from_numpy(data.pairs.label.astype(np.int64)).to(device)
    n, p = tokens.shape
    steps = -(-n // config.batch_size)
    total = steps * config.epochs
    optimizer = torch.optim.Adam(subspace.groups(config.lr_rotation, config.lr_mask))
    schedule = get_linear_schedule_with_warmup(optimizer, int(config.warmup * total), total)
    title = f"{config.method} {site}"
    bar = progress_bar(total=total, desc=title, disable=not progress, leave=False)
    for epoch in range(config.epochs):
        temperature = config.final_temperature ** (epoch / max(config.epochs - 1, 1))
        order = torch.randperm(n, generator=generator)
        drawn = [torch.randperm(p, generator=generator) for _ in range(steps)]
        permutations = torch.stack(drawn).to(device)
        batches = order.to(device).split(config.batch_size)
        batches_of_base = order.to(base.device).split(config.batch_size)
        losses = []
        size = torch.zeros(())
        for rows, rows_of_base, permutation in zip(batches, batches_of_base, permutations):
            rotation = subspace.rotation()
            mask = subspace.mask(temperature)
            size = mask.sum()
            residual = base[rows_of_base].to(device)
            permuted = source[rows][:, permutation]
            weights = mask if scale == 1 else mask * scale
            written = subspace.written()
            edited = intervene(residual, tokens[rows], permuted, rotation, weights, written)
            with torch.autocast(device.type, torch.bfloat16, enabled=config.bf16):
                logits = forward_from(model, site, edited)
            loss = nn.functional.cross_entropy(logits.float(), label[rows]) + config.penalty * size
            if target is not None:
                written_states = at_tokens(edited, tokens[rows])
                distance = latent_distance(written_states, target[rows])
                loss = loss + config.latent_loss * distance
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
            bar.update()
        mean_loss = torch.stack(losses).mean().item()
        if not np.isfinite(mean_loss):
            raise RelViTError(
                f"the loss of epoch {epoch + 1} is {mean_loss}: lower lr_rotation or lr_mask"
            )
        soft_size = size.item()
        bar.set_postfix(loss=f"{mean_loss:.3f}", mask=f"{soft_size:.0f}")
        yield {"loss": mean_loss, "mask": soft_size}
    bar.close()


def latent_distance(
    edited: Float[torch.Tensor, "batch positions hidden"],
    target: Float[torch.Tensor, "batch positions hidden"],
) -> Float[torch.Tensor, ""]:
    """How far edited states are from real ones ``(batch, p, hidden)``: half the squared length, half the angle.

    Squared Euclidean distance in units of the variance of the targets in the batch, and 1 less the cosine, each with
    weight .5. The two terms are those of arXiv 2511.04638; the unit and the equal weights are our choice, so that
    ``latent_loss`` means the same in every layer.
    """
    difference = edited - target
    variance = (target - target.mean(0)).square().sum(-1).mean()
    squared = difference.square().sum(-1).mean() / variance.clamp(min=1e-12)
    cosine = nn.functional.cosine_similarity(edited, target, dim=-1).mean()
    return 0.5 * squared + 0.5 * (1 - cosine)


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Without gradients of the model's own parameters, which would cost as much as those that are wanted."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    training = model.training
    model.eval().requires_grad_(False)
    try:
        yield
    finally:
        model.train(training)
        for parameter in trainable:
            parameter.requires_grad_(True)
