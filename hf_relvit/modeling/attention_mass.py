"""Set-to-set attention mass for object tokens: the attention function ``"relvit"`` and the context that records it.

Softmax works row by row, so the rows of the object tokens can be computed alone and exactly: 8 of 197 rows for two
objects in ViT-B/16. They are reduced at once to the mass on each set of tokens, which is all that the paper's
attention scores and its pipeline loss need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from ..errors import RelViTError

if TYPE_CHECKING:
    from jaxtyping import Float, Int, Shaped

ATTENTION = "relvit"
"""The name for ``model.set_attn_implementation``."""


class ObjectAttention:
    """Where the attention of object tokens goes, per layer.

    Attributes:
        mass: one entry per layer in order of execution, ``None`` where the layer is not wanted; else float32
            (float64 in a float64 model) ``(batch, heads, k, k + 3)``. Row s, column t is the attention mass on set t,
            averaged over the tokens of object s. The sets are the objects 0..k-1, CLS (the first prefix token), the
            other prefix tokens (registers, distillation) and the background patches. A row sums to 1, or is 0
            for an object without tokens; it exceeds 1 only if the caller lets objects share tokens.
            Differentiable. Attention dropout does not apply to it.
        entropy: likewise, if it was asked for, ``(batch, heads, k)``: of the attention of an object's tokens over all
            tokens, their mean, in nats.
    """

    def __init__(
        self,
        tokens: torch.Tensor,
        prefix_tokens: int,
        layers: Iterable[int] | None,
        targets: torch.Tensor | None = None,
        entropy: bool = False,
    ):
        if tokens.dim() != 3:
            raise RelViTError(
                f"object tokens of shape {tuple(tokens.shape)}: expected (batch, objects, tokens)"
            )
        self.mass: list[torch.Tensor | None] = []
        self.entropy: list[torch.Tensor | None] = []
        self._tokens = tokens
        self._targets = tokens if targets is None else targets
        self._wants_entropy = entropy
        self._prefix = prefix_tokens
        self._layers = None if layers is None else frozenset(layers)
        self._order: dict[nn.Module, int] = {}
        self._sets: _Sets | None = None

    def record(self, module: nn.Module, query, key, mask, scaling: float, keep: bool) -> None:
        """Measure one attention module; with ``keep=False`` only compute (a recomputation for the backward pass)."""
        layer = self._order.setdefault(module, len(self._order))
        if layer == len(self.mass):
            self.mass.append(None)
            self.entropy.append(None)
        if self._layers is None or layer in self._layers:
            mass, entropy = self._measure(query, key, mask, scaling)
            if keep:
                self.mass[layer] = mass
                self.entropy[layer] = entropy

    def _measure(
        self, query, key, mask, scaling: float
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        batch, heads, length, dim = query.shape
        objects, size = self._tokens.shape[1:]
        if self._sets is None:
            self._sets = self._make_sets(batch, length, query.device)
        sets = self._sets
        # the reduction of probabilities stays in float32
        with torch.autocast(query.device.type, enabled=False):
            own = sets.positions.expand(-1, heads, -1, dim)
            scores = query.gather(2, own) @ key.transpose(2, 3) * scaling
            if mask is not None:
                whole = mask.expand(batch, heads, length, length)
                rows = whole.gather(2, sets.positions.expand(-1, heads, -1, length))
                scores = _masked(scores, rows)
            exact = scores.dtype == torch.float64
            dtype = torch.float64 if exact else torch.float32
            attention = torch.softmax(scores, -1, dtype=dtype)
            members = sets.members.to(dtype)
            mass = attention.flatten(1, 2) @ members  # one product per image for all sets
            weight = sets.weight.to(dtype)
            by_token = mass.view(batch, heads, objects, size, -1)
            by_object = (by_token * weight).sum(3)
            if not self._wants_entropy:
                return by_object, None
            smallest = torch.finfo(dtype).tiny
            nats = -(attention * attention.clamp(min=smallest).log()).sum(-1)
            entropy = nats.view(batch, heads, objects, size) * weight[..., 0]
            return by_object, entropy.sum(3)

    def _make_sets(self, batch: int, length: int, device: torch.device) -> _Sets:
        self._check(batch, length)
        tokens = self._tokens.to(device)
        objects = tokens.shape[1]
        valid = tokens >= 0
        count = valid.sum(-1, keepdim=True)
        weight = valid / count.clamp(min=1)
        # Padding goes to a row past the end, which is cut off.
        targets = self._targets.to(device)
        rows = torch.where(targets >= 0, targets, length).flatten(1)
        numbers = torch.arange(objects, device=device)
        columns = numbers.repeat_interleave(targets.shape[2]).expand_as(rows)
        images = torch.arange(batch, device=device)[:, None]
        members = torch.zeros(batch, length + 1, objects + 3, device=device)
        members[images, rows, columns] = 1
        members = members[:, :length]
        members[:, :1, objects] = float(self._prefix > 0)
        members[:, 1 : self._prefix, objects + 1] = 1
        of_objects = members[:, self._prefix :, :objects]
        background = of_objects.sum(-1) == 0
        members[:, self._prefix :, objects + 2] = background.float()
        positions = tokens.clamp(min=0).flatten(1)
        return _Sets(positions[:, None, :, None], weight[:, None, :, :, None], members)

    def _check(self, batch: int, length: int) -> None:
        tokens = self._tokens
        if len(tokens) != batch:
            raise RelViTError(
                f"object tokens for {len(tokens)} images, attention for {batch}: pass one row per image"
            )
        # elsewhere it would cost a synchronization
        last = int(tokens.max()) if tokens.device.type == "cpu" else 0
        if last >= length:
            raise RelViTError(
                f"object token {last} in a sequence of {length}: the stimuli have another patch grid "
                "than the model; choose a stimulus geometry with the model's image and patch size"
            )


class _Sets(NamedTuple):
    """The sets of tokens, in tensors.

    Attributes:
        positions: int64 ``(batch, 1, k * p, 1)``, the object tokens; padding is 0.
        weight: ``(batch, 1, k, p, 1)``, of each token in the mean of its object; of padding 0.
        members: float32 ``(batch, length, k + 3)``, 1 where a token is in a set.
    """

    positions: torch.Tensor
    weight: torch.Tensor
    members: torch.Tensor


def _masked(scores: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Scores under a mask: one of bool keeps where it is true, another one is added."""
    if rows.dtype == torch.bool:
        return scores.masked_fill(~rows, -torch.inf)
    return scores + rows


def _shared_context() -> ContextVar[tuple[ObjectAttention, bool] | None]:
    """The context variable of this process: of the copy of this file (package, remote code) that was imported first.

    The attention function has one name per process, so whichever copy registered it must see the recorders of all.
    """
    registered = AttentionInterface().get(ATTENTION)
    shared = getattr(registered, "active", None)
    if isinstance(shared, ContextVar):
        return shared
    return ContextVar("relvit_object_attention", default=None)


_active = _shared_context()


@contextmanager
def record_object_attention(
    tokens: Int[torch.Tensor, "batch objects tokens"],
    prefix_tokens: int,
    layers: Iterable[int] | None = None,
    targets: Int[torch.Tensor, "batch objects targets"] | None = None,
    entropy: bool = False,
) -> Iterator[ObjectAttention]:
    """Record the attention of object tokens during one forward pass of any model that runs ``"relvit"`` attention.

    A context variable carries the objects, not forward arguments, which some models drop (SigLIP); so threads do not
    mix. A second forward pass in the same context replaces the first one's values. Contexts nest: each records.

    Args:
        tokens: int64 ``(batch, k, p)``, sequence indices (prefix included) of the tokens of k objects; -1 pads
            objects of fewer than p tokens.
        prefix_tokens: tokens before the patches, see ``PatchGeometry``.
        layers: indices of the layers to measure, all by default.
        targets: tokens that count as those of the objects where attention goes to, likewise; by default ``tokens``.
        entropy: measure it, too.

    Raises:
        RelViTError: the model did not use this attention function, or the tokens do not fit its sequence.
    """
    recorder = ObjectAttention(tokens, prefix_tokens, layers, targets, entropy)
    _register()
    outer = _active.get()
    active: Any = recorder if outer is None else _Both(outer[0], recorder)
    with _Activate((active, True)):
        yield recorder
    if not recorder.mass:
        raise RelViTError(
            "no attention was recorded: expected a model with attention implementation 'relvit'; "
            "call model.set_attn_implementation('relvit') first"
        )


class _Both(NamedTuple):
    """Two recorders of one forward pass, such as that of an evaluation and that of the model's own loss."""

    outer: Any
    inner: ObjectAttention

    def record(self, *args, **kwargs) -> None:
        self.outer.record(*args, **kwargs)
        self.inner.record(*args, **kwargs)


class _Activate:
    """Sets the context variable; may be entered again, as a backward pass that runs twice recomputes twice."""

    def __init__(self, value: tuple[ObjectAttention, bool] | None):
        self.value = value

    def __enter__(self):
        self.token = _active.set(self.value)

    def __exit__(self, *error):
        _active.reset(self.token)


def relvit_attention(
    module: nn.Module,
    query: Float[torch.Tensor, "batch heads tokens head_dim"],
    key: Float[torch.Tensor, "batch heads tokens head_dim"],
    value: Float[torch.Tensor, "batch heads tokens head_dim"],
    attention_mask: Shaped[torch.Tensor, " ..."] | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs,
) -> tuple[Float[torch.Tensor, "batch tokens heads head_dim"], None]:
    """Attention as in ``"sdpa"``; inside ``record_object_attention`` it also measures the object rows.

    Args:
        module: the attention module.
        query: ``(batch, heads, tokens, head_dim)``; so are key and value.
        attention_mask: boolean (True attends) or additive, broadcastable to ``(batch, heads, tokens, tokens)``.
        dropout: probability that the output ignores an attention weight.
        scaling: factor of the scores, 1 / sqrt(head_dim) by default.

    Returns:
        ``(batch, tokens, heads, head_dim)`` and ``None``: full attention maps need ``"eager"``.
    """
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    active = _active.get()
    if active is not None:
        recorder, keep = active
        recorder.record(module, query, key, attention_mask, scale, keep)
    # PyTorch's fused CPU kernel is slow in bfloat16: with plain operations a small model trains twice as fast, and
    # ViT-B/16 runs a tenth faster. In float32 the fused kernel wins.
    if (
        query.device.type == "cpu"
        and query.dtype == torch.bfloat16
        and not getattr(module, "is_causal", True)
    ):
        with torch.autocast("cpu", enabled=False):
            scores = query @ key.transpose(2, 3) * scale
            if attention_mask is not None and attention_mask.dtype == torch.bool:
                scores = scores.masked_fill(~attention_mask, -torch.inf)
            elif attention_mask is not None:
                scores = scores + attention_mask
            weights = torch.softmax(scores, -1).to(value.dtype)
            if dropout:
                weights = nn.functional.dropout(weights, dropout)
            return (weights @ value).transpose(1, 2).contiguous(), None
    return sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout=dropout, scaling=scale, **kwargs
    )


class RecordingCheckpoint:
    """An activation checkpoint function whose recomputation sees the recorder of its forward pass.

    Always the non-reentrant kind: the other one runs blocks without gradients, so the mass would have none. A class,
    as a model with a local function in it cannot be pickled.
    """

    def __init__(self, checkpoint: Callable):
        self.checkpoint = checkpoint

    def __call__(self, function: Callable, *args: Any) -> Any:
        active = _active.get()
        replay = _Activate(active and (active[0], False))

        def contexts():
            return nullcontext(), replay

        return self.checkpoint(function, *args, use_reentrant=False, context_fn=contexts)


cast(Any, relvit_attention).active = _active


def _register() -> None:
    """Make the function known, also after a copy that knows nothing of the shared context took its name."""
    registered = AttentionInterface().get(ATTENTION)
    if getattr(registered, "active", None) is not _active:
        AttentionInterface.register(ATTENTION, relvit_attention)
        AttentionMaskInterface.register(ATTENTION, sdpa_mask)


_register()
