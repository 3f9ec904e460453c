"""The kinds of attention that the paper's stages are made of, from the mass of a forward pass (paper, section 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float

KINDS = ("within_object", "within_pair", "between_pair", "background", "cls", "registers")


def attention_shares(
    mass: Float[torch.Tensor, "batch heads objects objects+3"], compat: str
) -> Float[torch.Tensor, "batch heads 6"]:
    """Set-to-set mass ``(batch, heads, k, k + 3)`` to shares ``(batch, heads, 6)`` in the order of KINDS.

    Args:
        mass: of ``record_object_attention``; objects 0 and 1 are the judged pair.
        compat: "corrected", or "official" for the quirks of the official code, see ``analysis.attention``.
    """
    objects = mass.shape[2]
    pair = mass[:, :, :2]
    cls = pair[..., objects].mean(-1)
    registers = pair[..., objects + 1].mean(-1)
    background = pair[..., objects + 2]
    crossed = mass[..., [0, 1], [1, 0]]
    to_display = pair[..., 2:objects]
    between = to_display.sum(-1).mean(-1)
    if compat == "official":
        within_pair = crossed.amax(-1)
        background = background.amax(-1)
        if objects > 2:
            from_display = mass[:, :, 2:, :2]
            returned = from_display.sum(-1).mean(-1)
            between = torch.maximum(between, returned)
        within_object = 1 - within_pair - background
    else:
        within_pair = crossed.mean(-1)
        background = background.mean(-1)
        own = mass[..., [0, 1], [0, 1]]
        within_object = own.mean(-1)
    kinds = [within_object, within_pair, between, background, cls, registers]
    return torch.stack(kinds, -1)
