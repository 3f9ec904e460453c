"""Configuration of RelViT: any vision transformer backbone, a readout, two auxiliary losses."""

from __future__ import annotations

import copy
import difflib
import json
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from inspect import getfile
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedConfig
from transformers.utils import CONFIG_NAME

from ..errors import RelViTError
from ..geometry import PatchGeometry
from .config_values import check_backbone, check_size, check_values, square_side
from .families import FAMILIES, Family, refusal
from .loss_config import Disentanglement, Pipeline, parse_loss

LABELS = {0: "different", 1: "same"}
"""Meaning of the two logits, in their order."""
CODE = (
    "adapters",
    "blocks",
    "checkpoint_errors",
    "config_values",
    "configuration_relvit",
    "families",
    "loss_config",
    "modeling_relvit",
    "attention_mass",
    "losses",
    "plain",
)
CODE_FILES = tuple(f"{name}.py" for name in (*CODE, "errors", "geometry"))
"""Of a saved model: by these it opens where this package is not installed."""
AUTO_MAP = {
    "AutoConfig": "configuration_relvit.RelViTConfig",
    "AutoModel": "modeling_relvit.RelViTModel",
    "AutoModelForImageClassification": "modeling_relvit.RelViTForImageClassification",
}


class RelViTConfig(PreTrainedConfig):
    """Configuration of ``RelViTModel`` and ``RelViTForImageClassification``.

    Args:
        backbone_config: configuration (or its dictionary) of a ViT, DeiT, CLIP, DINO, DINOv2 (also with registers),
            DINOv3, MAE, SigLIP, BEiT or I-JEPA image tower; of a full CLIP, SigLIP or LLaVA it is taken.
        image_size: side of the images that the model is used at, pixels; the backbone's own by default. Another size
            interpolates the backbone's position embeddings.
        readout: features for the head: ``"cls"`` the CLS token, ``"mean"`` the mean patch token, ``"cls_mean"`` both
            concatenated, ``"map"`` the backbone's own attention pooling (SigLIP). By default that of the family's
            published head, the one that the paper fine-tunes; "mean" for a SigLIP without its head.
        head_bias: whether the head has a bias; by default not for CLIP (as in the paper), else yes.
        disentanglement: fields of :class:`Disentanglement`, or None for no such loss.
        pipeline: fields of :class:`Pipeline`, or None for no such loss.
        processor_fingerprint: fingerprint of the image processor that the weights were trained with.
        scenes: of the training, if ours made the weights: ``{"task": ..., "geometry": ...,
            "combinations": ...}``; analyses take it as their default.
        adapter: of a saved adapter, the backbone that it was trained on and its size: a dictionary with id, revision,
            fingerprint, rank and alpha; None for a whole model.

    Labels are always ``{0: "different", 1: "same"}``.

    Raises:
        RelViTError: unknown family, readout, key or label order, or layers that the backbone does not have.
    """

    model_type = "relvit"
    # transformers declares a property of the class, and takes a dictionary in its place
    sub_configs = {"backbone_config": AutoConfig}  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
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
    adapter: Any = None

    def __post_init__(self, **kwargs):
        for key in kwargs:
            if near := difflib.get_close_matches(key, list(RelViTConfig.__annotations__), 1, 0.8):
                raise RelViTError(
                    f"unknown key {key!r} in the configuration: did you mean {near[0]!r}?"
                )
        backbone = _image_tower(self.backbone_config)
        self.backbone_config = backbone
        family = self.family
        if self.image_size is None:
            self.image_size = square_side("image_size", backbone.image_size)
        check_size("image_size", self.image_size)
        if self.head_bias is None:
            self.head_bias = family.head_bias
        if self.readout is None:
            headless = getattr(backbone, "vision_use_head", True) is False  # the tower of a LLaVA
            self.readout = "mean" if headless else family.readout
        self.check_readout()
        for name, value in family.switches(self.readout).items():
            setattr(backbone, name, value)
        for name, spec in (("disentanglement", Disentanglement), ("pipeline", Pipeline)):
            if (values := getattr(self, name)) is not None:
                setattr(self, name, parse_loss(spec, values, name, backbone))
        if not isinstance(self.head_bias, bool):
            raise RelViTError(f"head_bias is {self.head_bias!r}: expected true or false")
        _check_facts("scenes", self.scenes or None, SCENES, {"objects"})
        check_adapter(self.adapter)
        self.id2label = self.id2label or dict(LABELS)
        check_labels(self.id2label)
        super().__post_init__(**kwargs)
        self.label2id = {name: i for i, name in LABELS.items()}
        self.geometry  # noqa: B018  an image that does not divide into patches fails here

    def check_readout(self) -> None:
        """Raise RelViTError for a readout that the family does not have."""
        readouts = self.family.readouts
        if self.readout not in readouts:
            raise RelViTError(
                f"readout {self.readout!r} for backbone {self.backbone_config.model_type}: "
                f"expected one of {', '.join(readouts)}"
            )

    def save_pretrained(self, save_directory, *args, **kwargs) -> None:
        """Save the configuration, with the code that opens the folder where this package is not installed.

        Raises:
            RelViTError: the folder holds files of somebody else that have the names of ours.
        """
        folder = Path(save_directory)
        code = remote_code()
        if not _is_ours(folder):
            _check_free(folder, code)
        self.auto_map = dict(AUTO_MAP)
        super().save_pretrained(save_directory, *args, **kwargs)
        for name, text in code.items():
            (folder / name).write_text(text, encoding="utf-8")

    @property
    def family(self) -> Family:
        return FAMILIES[self.backbone_config.model_type]

    @property
    def geometry(self) -> PatchGeometry:
        """The token layout at ``image_size``."""
        backbone = self.backbone_config
        prefix = self.family.prefix_tokens + getattr(backbone, "num_register_tokens", 0)
        return PatchGeometry(
            self.image_size, square_side("patch_size", backbone.patch_size), prefix
        )

    @property
    def resized(self) -> bool:
        """Whether images have another size than those that the backbone was made for."""
        return self.image_size != square_side("image_size", self.backbone_config.image_size)

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


def as_remote_code(code: str) -> str:
    """Source code of this package for a folder that holds all of it: imports from above become imports from beside.

    Imports for type checkers are left out: transformers would ask users to install their packages.
    """
    code = re.sub(r"^if TYPE_CHECKING:\n(?: +.*\n|\n(?= ))+", "", code, flags=re.MULTILINE)
    return re.sub(r"^from \.\.(\w+) import", r"from .\1 import", code, flags=re.MULTILINE)


def remote_code() -> dict[str, str]:
    """Name of each of CODE_FILES -> its contents, for a saved model to open where this package is not installed."""
    here = Path(__file__).parent
    modules = [here / f"{name}.py" for name in CODE]
    sources = [*modules, Path(getfile(PatchGeometry)), Path(getfile(RelViTError))]
    # A configuration that was opened alone, as remote code, came with its own files only.
    present = [source for source in sources if source.exists()]
    return {source.name: as_remote_code(source.read_text(encoding="utf-8")) for source in present}


def _is_ours(folder: Path) -> bool:
    """Whether a model of ours was saved in the folder before."""
    try:
        saved = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(saved, dict) and saved.get("model_type") == RelViTConfig.model_type


def _check_free(folder: Path, code: dict[str, str]) -> None:
    """Raise RelViTError if a file that is not a copy of ours would be overwritten."""
    for name, text in code.items():
        path = folder / name
        if path.exists() and path.read_bytes() != text.encode():
            raise RelViTError(
                f"{path} is not ours and would be overwritten by code of that name, with which models are saved: "
                "choose a new folder"
            )


ADAPTER = {"id": str, "revision": str | None, "fingerprint": str, "rank": int, "alpha": int}
SCENES = {"task": str, "geometry": str, "combinations": int, "objects": str}
"""``objects``, the fingerprint of somebody's own shapes and colors, is there only where there are some."""


def check_adapter(adapter: Any) -> None:
    """Raise RelViTError unless this is None or says which base an adapter has."""
    _check_facts("adapter", adapter, ADAPTER)
    if adapter is not None and min(adapter["rank"], adapter["alpha"]) < 1:
        raise RelViTError(f"adapter is {adapter!r}: expected rank and alpha of 1 or more")


def _check_facts(
    name: str,
    facts: Any,
    kinds: Mapping[str, Any],
    optional: AbstractSet[str] = frozenset(),
) -> None:
    """Raise RelViTError unless this is None or a dictionary with these keys and the types of their values."""
    if facts is None:
        return
    needed = kinds.keys() - optional
    fits = isinstance(facts, Mapping) and needed <= facts.keys() <= kinds.keys()
    if not fits or not all(isinstance(value, kinds[key]) for key, value in facts.items()):
        raise RelViTError(
            f"{name} is {facts!r}: expected a dictionary with {', '.join(kinds)}; save the model again"
        )


def check_labels(id2label: Mapping) -> None:
    """Raise RelViTError unless class 0 is "different" and class 1 "same"."""
    if {str(i): name for i, name in id2label.items()} != {str(i): LABELS[i] for i in LABELS}:
        found = dict(id2label) if len(id2label) <= 4 else f"{len(id2label)} classes"
        raise RelViTError(
            f"checkpoint labels are {found}: expected {LABELS}; exchange the rows of the head and set id2label "
            "accordingly, say what two classes mean with labels (--labels), or fine-tune with this label order",
            page="label-order",
        )


def _image_tower(config: Any) -> PreTrainedConfig:
    """The supported backbone configuration in a configuration or dictionary."""
    if isinstance(config, Mapping):
        if config.get("model_type") not in FAMILIES:
            raise RelViTError(refusal(config.get("model_type"), staged="depths" in config))
        check_values(config)
        config = AutoConfig.for_model(**config)
    config = getattr(config, "vision_config", config)
    family = getattr(config, "model_type", None)
    if family not in FAMILIES:
        raise RelViTError(refusal(family or config, staged=hasattr(config, "depths")))
    check_backbone(config)
    config = copy.deepcopy(config)  # ours to adapt, not the caller's
    config._name_or_path = ""  # may be a path on the author's machine
    config.id2label, config.label2id = dict(LABELS), {name: i for i, name in LABELS.items()}
    return config
