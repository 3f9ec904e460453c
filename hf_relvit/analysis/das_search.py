"""The search of distributed alignment search: a rotation and a mask are learned (paper, section 5).

Symbols: b and s ``(batch, p, hidden)``, states of the base's object and of the source's object; R ``(k, hidden)``,
orthonormal rows; m ``(k,)``, a mask.

1. Start R at random rotation, or at a closed form, and m at 0.5 per direction; freeze the model.
2. Per batch, write ``b + R^T[m R (s - b)]`` over b in the residual stream at the site and run the later blocks.
3. Loss: cross-entropy with the counterfactual label + penalty * sum(m). Adam on R (by the Cayley transform) and m.
4. Let the temperature of the mask fall geometrically; at the end m is 0 or 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import nn
from transformers import get_linear_schedule_with_warmup

from ..errors import RelViTError
from ..progress import progress_bar
from .activations import at_tokens, forward_from
from .alignment import Alignment
from .closed_form import HELD_OUT
from .das_rotation import LearnedSubspace
from .interchange import PairResiduals, counterfactual_states, intervene
from .method_input import Fit

if TYPE_CHECKING:
    from jaxtyping import Float


def fit_by_search(fit: Fit, start: Alignment | None = None) -> Alignment:
    """A learned subspace, from random directions or from a closed form on.

    Raises:
        RelViTError: a loss that is not finite.
    """
    generator = fit.generator()
    subspace = _first_subspace(fit, start, generator)
    best = None
    if fit.config.patience is not None:
        tenth = -(-len(fit.data.pairs) // 10)
        fit, held_out = fit.split(min(HELD_OUT, tenth))
        best = _Best(fit, held_out)
    scale = 1.0
    if start is not None and fit.config.method == "oblique":
        scale = start.scale
    search = Search(fit, subspace, generator, scale)
    with _frozen(fit.checkpoint.model):
        for epoch in search.epochs():
            fit.facts["history"].append(epoch)
            if fit.watch is not None:
                fit.watch(search.found())
            if best is not None and best.is_passed(search.found()):
                break
    return search.found() if best is None else best.alignment


def _first_subspace(
    fit: Fit,
    start: Alignment | None,
    generator: torch.Generator,
) -> LearnedSubspace:
    config = fit.config
    rows = None if start is None else (start.rotation, start.rows_written)
    subspace = LearnedSubspace(config.method, fit.width, config.size, generator, rows)
    return subspace.to(fit.checkpoint.device)


class _Best:
    """The alignment with the smallest loss on held-out pairs so far."""

    def __init__(self, fit: Fit, held_out: PairResiduals):
        self.fit = fit
        self.held_out = held_out
        self.lowest = np.inf
        self.waited = 0
        self.alignment: Any = None

    def is_passed(self, alignment: Alignment) -> bool:
        """Whether the loss did not fall for as many epochs as the patience allows."""
        loss = self.fit.loss(alignment, self.held_out)
        self.waited += 1
        if loss < self.lowest:
            self.lowest = loss
            self.waited = 0
            self.alignment = alignment
        patience = self.fit.config.patience or 1
        return self.waited >= patience


class _Batch(NamedTuple):
    """Some pairs.

    Attributes:
        rows: int64 ``(batch,)``, on the device.
        rows_of_base: the same, where the states of the bases are.
        permutation: int64 ``(p,)``, an order of the source's tokens.
    """

    rows: torch.Tensor
    rows_of_base: torch.Tensor
    permutation: torch.Tensor


class Search:
    """A subspace that learns from pairs; the host waits for the device once an epoch.

    Args:
        fit: its pairs and settings.
        subspace: learns in place.
        generator: of the order of pairs and tokens.
        scale: of the swap.
    """

    def __init__(
        self,
        fit: Fit,
        subspace: LearnedSubspace,
        generator: torch.Generator,
        scale: float = 1.0,
    ):
        config = fit.config
        data = fit.data
        self.fit = fit
        self.subspace = subspace
        self.generator = generator
        self.scale = scale
        self.device = next(fit.checkpoint.model.parameters()).device
        self.target = self._target() if config.latent_loss else None
        self.base = data.base[fit.site]
        if self.base.nbytes <= config.cache_gb * 1e9:
            self.base = self.base.to(self.device)
        tokens, source = data.operands(fit.site, config.control)
        self.tokens = tokens.to(self.device)
        self.source = source.to(self.device)
        labels = torch.from_numpy(data.pairs.label.astype(np.int64))
        self.labels = labels.to(self.device)
        self.steps = -(-len(labels) // config.batch_size)
        total = self.steps * config.epochs
        groups = subspace.groups(config.lr_rotation, config.lr_mask)
        self.optimizer = torch.optim.Adam(groups)
        warmup = int(config.warmup * total)
        self.schedule = get_linear_schedule_with_warmup(self.optimizer, warmup, total)

    def _target(self) -> torch.Tensor:
        """The states that a swap should make, for the latent loss."""
        fit = self.fit
        states = counterfactual_states(
            fit.checkpoint,
            fit.data.pairs,
            fit.site,
            cache_gb=fit.config.cache_gb,
            progress=fit.progress,
        )
        return states.to(self.device)

    def found(self) -> Alignment:
        """The alignment of this moment, with a hard mask."""
        rotation, mask = self.subspace.hard()
        written = self.subspace.written()
        write = None if written is None else written.detach().cpu().clone()
        return self.fit.alignment(rotation, mask, write=write, scale=self.scale)

    def epochs(self) -> Iterator[dict[str, float]]:
        """Loss and soft mask size by epoch.

        Raises:
            RelViTError: a loss that is not finite.
        """
        config = self.fit.config
        title = f"{config.method} {self.fit.site}"
        bar = progress_bar(
            total=self.steps * config.epochs,
            desc=title,
            disable=not self.fit.progress,
            leave=False,
        )
        last = max(config.epochs - 1, 1)
        for epoch in range(config.epochs):
            temperature = config.final_temperature ** (epoch / last)
            losses = []
            size = torch.zeros(())
            for batch in self._batches():
                loss, size = self._step(batch, temperature)
                losses.append(loss)
                bar.update()
            mean_loss = torch.stack(losses).mean().item()
            if not np.isfinite(mean_loss):
                raise RelViTError(
                    f"the loss of epoch {epoch + 1} is {mean_loss}: lower lr_rotation or lr_mask, or check the weights"
                )
            soft_size = size.item()
            bar.set_postfix(loss=f"{mean_loss:.3f}", mask=f"{soft_size:.0f}")
            yield {"loss": mean_loss, "mask": soft_size}
        bar.close()

    def _batches(self) -> Iterator[_Batch]:
        """The pairs of an epoch in a random order; on the device at once."""
        pairs, positions = self.tokens.shape
        batch_size = self.fit.config.batch_size
        order = torch.randperm(pairs, generator=self.generator)
        drawn = [torch.randperm(positions, generator=self.generator) for _ in range(self.steps)]
        permutations = torch.stack(drawn).to(self.device)
        rows = order.to(self.device).split(batch_size)
        rows_of_base = order.to(self.base.device).split(batch_size)
        for each in zip(rows, rows_of_base, permutations):
            yield _Batch(*each)

    def _step(
        self,
        batch: _Batch,
        temperature: float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Learn from a batch: its loss, and the soft size of the mask."""
        config = self.fit.config
        mask = self.subspace.mask(temperature)
        size = mask.sum()
        edited = self._edited(batch, mask)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.bf16):
            logits = forward_from(self.fit.checkpoint.model, self.fit.site, edited)
        labels = self.labels[batch.rows]
        loss = nn.functional.cross_entropy(logits.float(), labels)
        loss = loss + config.penalty * size
        if self.target is not None:
            written = at_tokens(edited, self.tokens[batch.rows])
            distance = latent_distance(written, self.target[batch.rows])
            loss = loss + config.latent_loss * distance
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        return loss.detach(), size

    def _edited(self, batch: _Batch, mask: torch.Tensor) -> torch.Tensor:
        """Residual streams of the bases after the swap, ``(batch, tokens, hidden)``."""
        residual = self.base[batch.rows_of_base]
        source = self.source[batch.rows]
        weights = mask if self.scale == 1 else mask * self.scale
        return intervene(
            residual.to(self.device),
            self.tokens[batch.rows],
            source[:, batch.permutation],
            self.subspace.rotation(),
            weights,
            self.subspace.written(),
        )


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
