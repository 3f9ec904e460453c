"""From RelViT to the ordinary transformers classifiers and back, where a class with the same computation exists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import transformers
from torch import nn
from transformers import PreTrainedModel

from ..errors import RelViTError
from .configuration_relvit import LABELS, RelViTConfig, check_labels
from .families import FAMILIES


def to_plain(model: Any) -> PreTrainedModel:
    """The ordinary transformers classifier with the same logits as a ``RelViTForImageClassification``.

    It opens with ``from_pretrained`` where no code of ours is. For CLIP with the readout "cls" it is a
    ``CLIPVisionModelWithProjection`` whose ``image_embeds`` are the logits, as in the paper.

    Raises:
        RelViTError: no such class for this family and readout.
    """
    config, backbone = model.config, model.backbone.config
    name, cure = (
        config.plain_class,
        "save it with save_pretrained and open it with trust_remote_code=True",
    )
    if name is None:
        raise RelViTError(
            f"no plain class for {backbone.model_type} with readout {config.readout!r}: {cure}"
        )
    if config.resized and model._interpolates:
        raise RelViTError(
            f"{name} cannot interpolate from {backbone.image_size} to {config.image_size} pixels: {cure}"
        )
    plain_class = getattr(transformers, name)
    config_class = plain_class.config_class
    labels: dict[str, Any] = {"id2label": dict(LABELS), "label2id": dict(config.label2id)}
    values = backbone.to_dict()
    values.pop("model_type", None)
    if "vision_config" in config_class.sub_configs:
        plain_config = config_class(vision_config=backbone.to_dict(), **labels)
    elif name == "CLIPVisionModelWithProjection":
        plain_config = config_class(**(values | labels | {"projection_dim": len(LABELS)}))
    else:  # the family's own configuration, or for MAE that of ViT, whose fields it has
        known = config_class().to_dict()
        plain_config = config_class(**({k: v for k, v in values.items() if k in known} | labels))
    plain = plain_class(plain_config).to(model.dtype)
    body, head = _parts(plain)
    if head.bias is None and model.classifier.bias is not None:
        raise RelViTError(
            f"{name} has no bias in its head, the model has one: {cure}, or train with head_bias=False"
        )
    body.load_state_dict(model.backbone.state_dict())
    head.load_state_dict(model.classifier.state_dict(), strict=False)
    if head.bias is not None and model.classifier.bias is None:
        nn.init.zeros_(head.bias)
    return plain.to(model.device).train(model.training)


def from_plain(
    model_class: Any, plain: PreTrainedModel, labels: Sequence[str] | None = None
) -> Any:
    """A ``RelViTForImageClassification`` with the same logits as an ordinary same/different classifier.

    Args:
        model_class: ``RelViTForImageClassification``.
        plain: the classifier.
        labels: the meaning of its two classes, in their order, where its configuration does not say so;
            ``("same", "different")`` exchanges the logits.

    Raises:
        RelViTError: not a classifier of a supported family, other labels than different, same, or not two classes.
    """
    name = type(plain).__name__
    if not any(name in family.plain.values() for family in FAMILIES.values()):
        expected = sorted(
            {plain for family in FAMILIES.values() for plain in family.plain.values()}
        )
        raise RelViTError(
            f"{name} is no classifier that RelViT can take over: expected one of {', '.join(expected)}"
        )
    names = plain.config.id2label or {}
    if labels is None:
        check_labels(names)
    elif sorted(labels) != sorted(LABELS.values()) or len(names) != len(LABELS):
        raise RelViTError(
            f"labels {', '.join(labels)} for {len(names)} classes: expected different and same, in the order of a "
            "classifier's two classes"
        )
    body, head = _parts(plain)
    family = FAMILIES[body.config.model_type]
    switches = body.config.to_dict()
    readouts = [readout for readout, plain_name in family.plain.items() if plain_name == name]
    readout = next(
        (r for r in readouts if family.switches(r).items() <= switches.items()), readouts[0]
    )
    config = RelViTConfig(
        backbone_config=body.config, readout=readout, head_bias=head.bias is not None
    )
    model = model_class(config).to(plain.dtype)
    weights = body.state_dict()
    model.backbone.load_state_dict({k: weights[k] for k in model.backbone.state_dict()})
    rows = [list(labels or LABELS.values()).index(name) for name in LABELS.values()]
    model.classifier.load_state_dict(
        {name: tensor[rows] for name, tensor in head.state_dict().items()}
    )
    return model.to(plain.device).train(plain.training)


def _parts(plain: Any) -> tuple[PreTrainedModel, nn.Linear]:
    """Backbone and head of an ordinary classifier."""
    body = plain.vision_model if hasattr(plain, "vision_model") else plain.base_model
    return body, plain.classifier if hasattr(plain, "classifier") else plain.visual_projection
