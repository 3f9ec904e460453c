"""The settings of a run with every default filled in, as its folder keeps them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

from ..errors import RelViTError
from ..geometry import SceneGeometry, geometry
from ..modeling import RelViTConfig
from ..modeling.checkpoint_errors import open_backbone_config
from .arguments import unknown_key
from .config import TrainConfig
from .precision import trains_in_bf16


def scratch_backbone(settings: Mapping[str, Any], scenes: SceneGeometry) -> PreTrainedConfig:
    """The configuration of a backbone from scratch, whose image and patch size are the scenes'.

    Raises:
        RelViTError: a family that transformers does not know, or settings that it does not take.
    """
    layout = {"image_size": scenes.image_size, "patch_size": scenes.patch_size}
    family = settings.get("model_type", "")
    if family not in CONFIG_MAPPING:
        raise RelViTError(
            f"backbone {dict(settings)}: expected model_type, a family of transformers such as vit"
        )
    known = CONFIG_MAPPING[family]().to_dict()
    for key in settings:
        if key not in known:
            raise RelViTError(f"backbone of {family}: {unknown_key(key, _own(known))}")
    try:
        return AutoConfig.for_model(**{**settings, **layout})
    except Exception as error:  # transformers checks with errors of several libraries
        reason = " ".join(str(error).split())[:200]
        raise RelViTError(
            f"backbone {dict(settings)} cannot be built ({reason}): correct its settings"
        ) from error


def resolved(config: TrainConfig) -> TrainConfig:
    """The settings with all defaults: those of the backbone's family, and the precision.

    Raises:
        RelViTError: see ``scratch_backbone``.
    """
    backbone = config.backbone
    if isinstance(backbone, dict):
        built = scratch_backbone(backbone, geometry(config.geometry)).to_dict()
        named = {name: value for name, value in built.items() if name in backbone}
        backbone = {**_own(built), **named}
    return dataclasses.replace(config, backbone=backbone, bf16=trains_in_bf16(config))


def head_settings(config: TrainConfig) -> dict[str, Any]:
    """The demands of a run on its model beyond the backbone: readout and auxiliary losses."""
    disentanglement = config.disentanglement
    if disentanglement is not None:
        objects = config.open_objects()
        classes = {"n_shapes": objects.n_shapes, "n_colors": objects.n_colors}
        disentanglement = {**classes, **disentanglement}
    return dict(readout=config.readout, disentanglement=disentanglement, pipeline=config.pipeline)


def check_model(config: TrainConfig) -> None:
    """Raise RelViTError for a backbone, a readout or losses that no model can have; no weights are made or read."""
    backbone = config.backbone
    if isinstance(backbone, dict):
        origin = scratch_backbone(backbone, geometry(config.geometry))
    else:
        origin = open_backbone_config(backbone)
    RelViTConfig(backbone_config=origin, **head_settings(config))


def _own(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Without the keys that every configuration of transformers has, such as the labels."""
    common = PreTrainedConfig().to_dict().keys() - {"model_type"}
    return {name: value for name, value in settings.items() if name not in common}
