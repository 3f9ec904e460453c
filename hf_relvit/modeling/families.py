"""Differences between the backbone families, in one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Family:
    """All that differs between backbone families.

    Args:
        prefix_tokens: tokens before the patches, registers not counted.
        readout: default readout, that of the family's published head.
        plain: per readout, the ordinary transformers class with the same logits.
        head_bias: whether the classification head has a bias.
        pooled: the readout that the backbone computes itself, as its ``pooler_output``.
        switches: readout -> options of the backbone that must follow it, so that nothing is built that nothing uses.
        idle: per readout, parts of the backbone that it does not use.
    """

    prefix_tokens: int
    readout: str
    plain: Mapping[str, str] = field(default_factory=dict)
    head_bias: bool = True
    pooled: str | None = None
    switches: Callable[[str], dict[str, Any]] = lambda readout: {}
    idle: Mapping[str, str] = field(default_factory=dict)

    @property
    def readouts(self) -> list[str]:
        with_cls = ["cls", "cls_mean"] if self.prefix_tokens else []
        return [*with_cls, "mean"] + (["map"] if self.pooled == "map" else [])


FAMILIES = {
    "vit": Family(1, "cls", {"cls": "ViTForImageClassification"}),  # also DINO
    "deit": Family(2, "cls", {"cls": "DeiTForImageClassification"}),
    "clip_vision_model": Family(
        1,
        "cls",
        {"cls": "CLIPVisionModelWithProjection", "mean": "CLIPForImageClassification"},
        head_bias=False,  # as in the paper, where the projection becomes the head
        pooled="cls",  # normalized, which the tokens of its output are not
        idle={"mean": "post_layernorm"},
    ),
    "dinov2": Family(1, "cls_mean", {"cls_mean": "Dinov2ForImageClassification"}),
    "dinov2_with_registers": Family(
        1, "cls_mean", {"cls_mean": "Dinov2WithRegistersForImageClassification"}
    ),
    "dinov3_vit": Family(1, "cls"),
    "vit_mae": Family(
        1, "cls", {"cls": "ViTForImageClassification"}, switches=lambda readout: {"mask_ratio": 0.0}
    ),
    "siglip_vision_model": Family(
        0,
        "map",
        {"mean": "SiglipForImageClassification"},
        pooled="map",
        switches=lambda readout: {"vision_use_head": readout == "map"},
    ),
    "beit": Family(
        1,
        "mean",
        {"mean": "BeitForImageClassification", "cls": "BeitForImageClassification"},
        pooled="mean",  # normalized after the mean
        switches=lambda readout: {"use_mean_pooling": readout == "mean"},
    ),
    "ijepa": Family(0, "mean", {"mean": "IJepaForImageClassification"}),
}
"""The supported families of backbones, by ``model_type`` of their configuration in transformers."""

_ANY_SIZE = "takes images of any size as loose patches, which have no fixed place"
_PACKED = "packs images of any size into one row of tokens"
UNLIKE = {
    "siglip2_vision_model": f"{_ANY_SIZE}; a SigLIP 2 of fixed size, such as google/siglip2-base-patch16-224, is read",
    "qwen2_vl_vision": _PACKED,
    "qwen2_5_vl_vision": f"{_PACKED} and attends within windows",
    "qwen3_vl_vision": _PACKED,
    "timm_wrapper": "runs inside timm, where attention and blocks cannot be reached; take the same weights as one of "
    "the transformers library",
}
"""Families of vision transformers that cannot be read, by ``model_type``, and why."""


def refusal(family: Any, *, staged: bool = False) -> str:
    """Why a backbone cannot be read, and which can.

    Args:
        family: no key of FAMILIES.
        staged: whether its blocks come in stages, each with a grid of its own.
    """
    reason = UNLIKE.get(str(family), "is not supported")
    if staged:
        reason = "changes its grid between blocks, as CNNs and transformers that pool do, so no token is one patch"
    return f"backbone {family!r} {reason}: expected one of {', '.join(FAMILIES)}"
