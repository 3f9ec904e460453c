"""Values of a config.json that somebody else wrote: compared with the possible ones before the library uses them.

transformers checks only the fields of a family. It takes its own keys in any type, fails on them later, or obeys them:
some name other weights, code of the Hub, or put a value in the place of a method.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AttentionInterface, PreTrainedConfig

from ..errors import RelViTError
from .families import FAMILIES

PARTS = (
    "backbone_config",
    "vision_config",
    "vision_config_dict",
    "text_config",
    "text_config_dict",
)
"""Keys that hold a configuration of their own."""
TEXTS = (
    "model_type",
    "transformers_version",
    "name_or_path",
    "_name_or_path",
    "problem_type",
    "processor_fingerprint",
    "trained_in",
)
SWITCHES = (
    "output_attentions",
    "output_hidden_states",
    "return_dict",
    "is_encoder_decoder",
    "tie_word_embeddings",
    "torchscript",
    "gradient_checkpointing",
)
WORDS = ("architectures", "configuration_files", "layer_types")
MAPPINGS = (*PARTS, "auto_map", "id2label", "label2id", "pruned_heads")
INTEGERS = ("num_labels", "chunk_size_feed_forward")
DTYPES = ("dtype", "torch_dtype")
KINDS = {
    **dict.fromkeys(TEXTS, "a text"),
    **dict.fromkeys(SWITCHES, "true or false"),
    **dict.fromkeys(WORDS, "a list of words"),
    **dict.fromkeys(MAPPINGS, "a dictionary"),
    **dict.fromkeys(INTEGERS, "an integer"),
    **dict.fromkeys(DTYPES, "a dtype of torch, such as 'float32'"),
}
"""Key that the library itself reads of any configuration, or we -> its kind; any may be null."""
REFUSED = {
    "quantization_config": "quantized weights, and the analyses need them in full; save the model dequantized",
    "transformers_weights": "another file of weights; name the file model.safetensors",
    "fusion_config": "other modules than those of its family; remove the entry",
    "per_layer_config": "layers of different kinds; remove the entry",
}
"""Key -> its request, and the cure."""
LIMITS = {
    "num_hidden_layers": 1_000,
    "hidden_size": 2**16,
    "intermediate_size": 2**18,
    "num_attention_heads": 2**10,
    "image_size": 2**14,
    "patch_size": 2**14,
    "num_channels": 2**10,
    "num_register_tokens": 2**10,
    "num_labels": 2**20,
}
"""Sizes of a model, each well above the largest published one: a file that says more is broken or hostile."""


def check_values(values: Mapping[str, Any]) -> None:
    """Raise RelViTError unless the library can use the values of a configuration, before one is made of them.

    Sizes are checked here, too: some families make a name for every layer when their configuration is made.

    Args:
        values: of a config.json, with those of its parts.
    """
    for part in _parts(values):
        for name, value in part.items():
            _check_kind(name, value)
        if part.get("model_type", "vit") in FAMILIES:
            _check_sizes(part)
        _check_names(part)
        _check_implementations(part)


def _parts(values: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield values
    for name in PARTS:
        part = values.get(name)
        if isinstance(part, Mapping):
            yield from _parts(part)


def _check_sizes(part: Mapping[str, Any]) -> None:
    for name in LIMITS:
        side = square_side(name, part.get(name))
        if side is not None:
            check_size(name, side)


def _check_kind(name: str, value: Any) -> None:
    """Raise RelViTError for a key that is refused, or one of the library with a value of another type."""
    if value is None:
        return
    if name in REFUSED:
        raise RelViTError(f"{name} in the configuration asks for {REFUSED[name]}")
    if name in KINDS and not _is_kind(name, value):
        raise RelViTError(f"{name} in the configuration is {value!r}: expected {KINDS[name]}")


def _is_kind(name: str, value: Any) -> bool:
    if name in SWITCHES:
        return isinstance(value, bool)
    if name in INTEGERS:
        return isinstance(value, int) and not isinstance(value, bool)
    if name in MAPPINGS:
        return isinstance(value, Mapping)
    if name in WORDS:
        return isinstance(value, list) and all(isinstance(word, str) for word in value)
    if name in DTYPES:
        return isinstance(value, str) and isinstance(getattr(torch, value, None), torch.dtype)
    return isinstance(value, str)


def _check_names(part: Mapping[str, Any]) -> None:
    """Raise RelViTError for a key that would take the place of a method or of a fact of the configuration's class."""
    family = part.get("model_type") or ""
    config_class = PreTrainedConfig
    if family in CONFIG_MAPPING:
        config_class = CONFIG_MAPPING[family]
    fields = {field.name for field in dataclasses.fields(config_class)}
    for name in part.keys() - fields - {"model_type"}:
        taken = inspect.getattr_static(config_class, name, None)
        settable = isinstance(taken, property) and taken.fset is not None
        if taken is not None and not settable:
            raise RelViTError(
                f"key {name!r} in the configuration: {config_class.__name__} has something else of that name; "
                "remove the entry"
            )


def _check_implementations(part: Mapping[str, Any]) -> None:
    """Raise RelViTError for an implementation of attention that transformers would have to download: it is code."""
    known = {None, "eager", *AttentionInterface()}
    for kind in ("attn_implementation", "experts_implementation"):
        for name in (kind, f"_{kind}", f"_{kind}_internal"):
            wanted = part.get(name)
            asked = wanted.values() if isinstance(wanted, Mapping) else [wanted]
            for value in asked:
                if not isinstance(value, str | None) or value not in known:
                    raise RelViTError(
                        f"{name} in the configuration is {value!r}: expected one that is installed, such as sdpa; "
                        "remove the entry"
                    )


def check_size(name: str, value: Any) -> None:
    """Raise RelViTError unless the value is an integer from 1 (registers, labels: 0) to the limit."""
    least = 0 if name in ("num_register_tokens", "num_labels") else 1
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    if not is_integer or not least <= value <= LIMITS[name]:
        raise RelViTError(
            f"{name} is {value!r}: expected an integer between {least} and {LIMITS[name]}"
        )


def check_backbone(backbone: PreTrainedConfig) -> None:
    """Raise RelViTError for a backbone that cannot be built, before anything is.

    The sizes must be integers within ``LIMITS``, the other numbers finite and not negative, and the float32 weights
    must fit the memory of this machine.
    """
    sizes = {}
    for name in LIMITS:
        value = square_side(name, getattr(backbone, name, None))
        if value is not None:
            check_size(name, value)
            sizes[name] = value
    for name, value in vars(backbone).items():
        _check_number(name, value)
    width = sizes["hidden_size"]
    if width % sizes["num_attention_heads"]:
        raise RelViTError(
            f"hidden_size {width} of the backbone does not divide into {sizes['num_attention_heads']} heads: "
            "choose another num_attention_heads"
        )
    ratio = getattr(backbone, "mlp_ratio", 4)
    inner = sizes.get("intermediate_size", int(width * ratio))
    block = 4 * width**2 + 2 * width * inner
    patches = (sizes["image_size"] // sizes["patch_size"]) ** 2
    pixels = sizes.get("num_channels", 3) * sizes["patch_size"] ** 2
    parameters = sizes["num_hidden_layers"] * block + (patches + pixels) * width
    memory = _memory()
    if 4 * parameters > memory:
        raise RelViTError(
            f"a backbone of {parameters:,} parameters takes {4e-9 * parameters:,.0f} GB: this machine has "
            f"{1e-9 * memory:,.0f} GB; choose a smaller one"
        )


def _check_number(name: str, value: Any) -> None:
    """Raise RelViTError for a number with which a backbone computes nothing, such as a norm's epsilon of nan."""
    share = "drop" in name or name == "mask_ratio"
    most = 1 if share else sys.float_info.max
    if isinstance(value, float) and not 0 <= value <= most:
        expected = "from 0 to 1" if share else "that is finite and not negative"
        raise RelViTError(f"{name} of the backbone is {value}: expected a number {expected}")


def _memory() -> float:
    """Bytes of memory of this machine; infinite where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):
        return float("inf")


def square_side(name: str, size: Any) -> Any:
    """The side of a square, from an integer or a pair; of anything but image and patch sizes, the value itself."""
    if name not in ("image_size", "patch_size") or not isinstance(size, list | tuple):
        return size
    if not size or any(side != size[0] for side in size):
        raise RelViTError(
            f"{name} {size} of the backbone is not square: choose a backbone with square ones"
        )
    return size[0]
