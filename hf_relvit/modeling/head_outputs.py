"""Outputs of single attention heads: read or replaced, in any model that runs transformers' attention functions.

A head's output is its weighted sum of values, before the projection that mixes the heads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from ..errors import RelViTError
from .blocks import blocks

if TYPE_CHECKING:
    from jaxtyping import Float

_NAME = "relvit_head_outputs"
Edit = Callable[[int, torch.Tensor], torch.Tensor]
"""From a layer and its heads' outputs ``(batch, tokens, heads, head_dim)`` to outputs of the same shape."""


class _Edits:
    """The edit of one model.

    Attributes:
        edit: see ``edit_heads``.
        layers: the attention modules that ran, with the number of their block.
        seen: layers whose outputs passed.
    """

    def __init__(self, model: nn.Module, edit: Edit):
        self.edit = edit
        self.seen: set[int] = set()
        self.layers: dict[nn.Module, int] = {}
        for layer, block in enumerate(blocks(model)):
            for module in block.modules():
                self.layers[module] = layer


_active: ContextVar[_Edits | None] = ContextVar("relvit_head_edits", default=None)


def _attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as in "sdpa"; the outputs of blocks go through the active edit."""
    output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    edits = _active.get()
    if (
        edits is None or module not in edits.layers
    ):  # a pooling head attends, too, outside the blocks
        return output, None
    layer = edits.layers[module]
    edits.seen.add(layer)
    return edits.edit(layer, output), None


@contextmanager
def edit_heads(model: nn.Module, edit: Edit) -> Iterator[None]:
    """While the context is open, ``edit`` replaces the outputs of the attention heads of every block.

    Args:
        model: any of the supported families.
        edit: called with the number of the block and its heads' outputs ``(batch, tokens, heads, head_dim)``.

    Raises:
        RelViTError: a model that does not run transformers' attention functions in all blocks.
    """
    edits = _Edits(model, edit)
    wrapped: Any = model
    if not hasattr(model, "set_attn_implementation"):
        raise RelViTError(
            f"the heads of {type(model).__name__} cannot be edited: open a transformers model"
        )
    AttentionInterface.register(_NAME, _attention)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    before = wrapped.config._attn_implementation
    wrapped.set_attn_implementation(_NAME)
    token = _active.set(edits)
    try:
        yield
    finally:
        _active.reset(token)
        wrapped.set_attn_implementation(before)
    if edits.seen != set(edits.layers.values()):
        raise RelViTError(
            f"the heads of {type(model).__name__} were not reached in all blocks: its family must run the attention "
            "functions of transformers"
        )


def read_heads(
    model: nn.Module,
    pixel_values: Float[torch.Tensor, "batch 3 height width"],
    heads: list[tuple[int, int]],
) -> dict[tuple[int, int], Float[torch.Tensor, "batch tokens head_dim"]]:
    """Outputs of some heads, by layer and head, in one forward pass."""
    found = {}

    def record(layer: int, output: torch.Tensor) -> torch.Tensor:
        for place in heads:
            if place[0] == layer:
                found[place] = output[:, :, place[1]]
        return output

    with edit_heads(model, record):
        model(pixel_values=pixel_values)
    return found
