"""The settings of a run with every default filled in, as its folder keeps them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

from ..errors import RelViTError
from ..geometry import SceneGeometry, geometry
from ..modeling import RelViTConfig
from ..modeling.checkpoint_errors import open_backbone_config
from ..modeling.loss_config import STAGES
from .arguments import unknown_key
from .config import TrainConfig
from .precision import trains_in_bf16

_DEAL = 0x6465616C
"""Of the blocks of the pipeline loss: a stream of random numbers of its own."""


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
    pipeline = None if config.pipeline is None else _dealt(config.pipeline, config.seed)
    return dict(readout=config.readout, disentanglement=disentanglement, pipeline=pipeline)


def _dealt(pipeline: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Settings of the pipeline loss; with ``shuffled`` its blocks are dealt anew to the stages, by the seed.

    Raises:
        RelViTError: a block in several stages, so that there is nothing to deal.
    """
    settings = dict(pipeline)
    shuffled = settings.pop("shuffled", False)
    if not isinstance(shuffled, bool):
        raise RelViTError(f"pipeline.shuffled is {shuffled!r}: expected true or false")
    if not shuffled:
        return settings
    blocks = [block for stage in STAGES for block in settings.get(stage) or ()]
    if len(set(blocks)) < len(blocks):
        raise RelViTError(
            f"pipeline.shuffled with blocks {blocks}: expected each block in one stage only"
        )
    rng = np.random.default_rng([seed, _DEAL])
    dealt = [blocks[place] for place in rng.permutation(len(blocks))]
    for stage in STAGES:
        count = len(settings.get(stage) or ())
        settings[stage] = sorted(dealt[:count])
        dealt = dealt[count:]
    return settings


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
