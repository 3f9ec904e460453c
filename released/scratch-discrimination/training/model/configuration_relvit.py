"""Configuration of RelViT: any vision transformer backbone, a readout, two auxiliary losses."""

from __future__ import annotations

import copy
import difflib
import shutil
from collections.abc import Mapping
from inspect import getfile
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from .families import FAMILIES, Family
from .loss_config import Disentanglement, Pipeline, parse_loss

try:  # a folder saved for the Hub carries these files beside its own copies
    from hf_relvit.errors import RelViTError
    from hf_relvit.geometry import PatchGeometry
except ImportError:
    from .errors import RelViTError  # pyright: ignore[reportMissingImports]
    from .geometry import PatchGeometry  # pyright: ignore[reportMissingImports]

LABELS = {0: "different", 1: "same"}
CODE = (
    "checkpoint_errors",
    "configuration_relvit",
    "families",
    "loss_config",
    "modeling_relvit",
    "attention_mass",
    "losses",
    "plain",
)
AUTO_MAP = {
    "AutoConfig": "configuration_relvit.RelViTConfig",
    "AutoModel": "modeling_relvit.RelViTModel",
    "AutoModelForImageClassification": "modeling_relvit.RelViTForImageClassification",
}


class RelViTConfig(PreTrainedConfig):
    """Configuration of ``RelViTModel`` and ``RelViTForImageClassification``.

    Args:
        backbone_config: configuration (or its dictionary) of a ViT, DeiT, CLIP, DINO, DINOv2 (also with registers),
            DINOv3, MAE, SigLIP, BEiT or I-JEPA image tower; of a full CLIP or SigLIP the image tower is taken.
        image_size: side of the images that the model is used at, pixels; the backbone's own by default. Another size
            interpolates the backbone's position embeddings.
        readout: features for the head: ``"cls"`` the CLS token, ``"mean"`` the mean patch token, ``"cls_mean"`` both
            concatenated, ``"map"`` the backbone's own attention pooling (SigLIP). By default that of the family's
            published head, the one that the paper fine-tunes.
        head_bias: whether the head has a bias; by default not for CLIP (as in the paper), else yes.
        disentanglement: fields of :class:`Disentanglement`, or None for no such loss.
        pipeline: fields of :class:`Pipeline`, or None for no such loss.
        processor_fingerprint: fingerprint of the image processor that the weights were trained with.
        scenes: what the weights were trained on, if our training made them: ``{"task": ..., "geometry": ...,
            "combinations": ...}``; analyses take it as their default.

    Labels are always ``{0: "different", 1: "same"}``.

    Raises:
        RelViTError: unknown family, readout, key or label order, or layers that the backbone does not have.
    """

    model_type = "relvit"
    sub_configs = {"backbone_config": AutoConfig}  # pyright: ignore[reportAssignmentType]
    keys_to_ignore_at_inference = [
        "task_loss",
        "disentanglement_loss",
        "pipeline_loss",
        "hidden_states",
        "attentions",
    ]

    backbone_config: Any = None
    # These three are never None after construction.
    image_size: int = None  # pyright: ignore[reportAssignmentType]
    readout: str = None  # pyright: ignore[reportAssignmentType]
    head_bias: bool = None  # pyright: ignore[reportAssignmentType]
    disentanglement: Any = None
    pipeline: Any = None
    processor_fingerprint: str | None = None
    scenes: Any = None

    def __post_init__(self, **kwargs):
        for key in kwargs:
            if near := difflib.get_close_matches(key, list(RelViTConfig.__annotations__), 1, 0.8):
                raise RelViTError(f"unknown key {key!r} in the configuration: did you mean {near[0]!r}?")
        self.backbone_config = backbone = _image_tower(self.backbone_config)
        family = self.family
        self.image_size = self.image_size or _side("image", backbone.image_size)
        self.head_bias = family.head_bias if self.head_bias is None else self.head_bias
        self.readout = self.readout or family.readout
        if self.readout not in family.readouts:
            raise RelViTError(
                f"readout {self.readout!r} for backbone {backbone.model_type}: "
                f"expected one of {', '.join(family.readouts)}"
            )
        for name, value in family.switches(self.readout).items():
            setattr(backbone, name, value)
        for name, spec in (("disentanglement", Disentanglement), ("pipeline", Pipeline)):
            if (values := getattr(self, name)) is not None:
                setattr(self, name, parse_loss(spec, values, name, backbone))
        self.id2label = self.id2label or dict(LABELS)
        check_labels(self.id2label)
        super().__post_init__(**kwargs)
        self.label2id = {name: i for i, name in LABELS.items()}
        self.geometry  # noqa: B018  an image that does not divide into patches fails here

    def save_pretrained(self, save_directory, *args, **kwargs) -> None:
        """Save the configuration, with the code that opens the folder where this package is not installed."""
        self.auto_map = dict(AUTO_MAP)
        super().save_pretrained(save_directory, *args, **kwargs)
        here = Path(__file__).parent
        sources = [here / f"{name}.py" for name in CODE] + [Path(getfile(PatchGeometry)), Path(getfile(RelViTError))]
        for source in sources:
            target = Path(save_directory) / source.name
            # A configuration that was opened alone, as remote code, came with its own files only.
            if source.exists() and source.resolve() != target.resolve():
                shutil.copyfile(source, target)

    @property
    def family(self) -> Family:
        return FAMILIES[self.backbone_config.model_type]

    @property
    def geometry(self) -> PatchGeometry:
        """The token layout at ``image_size``."""
        backbone = self.backbone_config
        prefix = self.family.prefix_tokens + getattr(backbone, "num_register_tokens", 0)
        return PatchGeometry(self.image_size, _side("patch", backbone.patch_size), prefix)

    @property
    def resized(self) -> bool:
        """Whether images have another size than those that the backbone was made for."""
        return self.image_size != _side("image", self.backbone_config.image_size)

    @property
    def plain_class(self) -> str | None:
        """Name of the ordinary transformers class that ``to_plain`` gives, if there is one."""
        return self.family.plain.get(self.readout)

    @property
    def hidden_size(self) -> int:
        return self.backbone_config.hidden_size

    @property
    def num_hidden_layers(self) -> int:
        return self.backbone_config.num_hidden_layers

    @property
    def num_attention_heads(self) -> int:
        return self.backbone_config.num_attention_heads


def check_labels(id2label: Mapping) -> None:
    """Raise RelViTError unless class 0 is "different" and class 1 "same"."""
    if {int(i): name for i, name in id2label.items()} != LABELS:
        found = dict(id2label) if len(id2label) <= 4 else f"{len(id2label)} classes"
        raise RelViTError(
            f"checkpoint labels are {found}: expected {LABELS}; exchange the rows of the head and set id2label "
            "accordingly, say what two classes mean with labels (--labels), or fine-tune with this label order"
        )


def _image_tower(config: Any) -> PreTrainedConfig:
    """The supported backbone configuration in a configuration or dictionary."""
    if isinstance(config, Mapping):
        if "model_type" not in config:
            raise RelViTError(f"backbone_config without 'model_type': expected one of {', '.join(FAMILIES)}")
        config = AutoConfig.for_model(**config)
    config = getattr(config, "vision_config", config)
    if getattr(config, "model_type", None) not in FAMILIES:
        name = getattr(config, "model_type", None) or config
        raise RelViTError(f"backbone {name!r} is not supported: expected one of {', '.join(FAMILIES)}")
    config = copy.deepcopy(config)  # ours to adapt, not the caller's
    config._name_or_path = ""  # may be a path on the author's machine
    config.id2label, config.label2id = dict(LABELS), {name: i for i, name in LABELS.items()}
    return config


def _side(name: str, size) -> int:
    """The side of a square, from an integer or a pair."""
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise RelViTError(f"{name} size {size} of the backbone is not square: choose a backbone with square ones")
    return sides.pop()
