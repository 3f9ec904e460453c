"""Adapters: a fine-tuned model as a few MB beside its published base (LoRA, Hu et al., arXiv 2106.09685).

1. In training, each linear layer of a block, weight ``W (out, in)``, also adds ``alpha / r * B (A x)`` to its output:
   A ``(r, in)`` and B ``(out, r)`` learn, together with the head; W stays as published. peft does this.
2. Saved are A, B and the head by peft's names, the base's id and revision, and a fingerprint of its weights.
3. Opened, ``W + alpha / r * B A`` is the weight of an ordinary model: everything else knows nothing of adapters, and
   opening needs no peft. Products are summed in a fixed order, direction by direction.
"""

from __future__ import annotations

import copy
import hashlib
import importlib
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers.utils import cached_file

from ..errors import RelViTError
from .blocks import blocks

FOLDER = "adapter"
"""In a saved checkpoint. Not its root: there transformers' Auto classes would open the base in place of our model."""
CONFIG_FILE = f"{FOLDER}/adapter_config.json"
WEIGHTS_FILE = f"{FOLDER}/adapter_model.safetensors"
HEADS = ("classifier", "disentanglement")
_PREFIX = "base_model.model."
ALPHA = 2
"""alpha / r; our choice, as most recipes for LoRA."""


def is_adapter(checkpoint: Path) -> bool:
    """Whether a saved checkpoint is an adapter, which opens on its base only."""
    return (checkpoint / CONFIG_FILE).is_file()


def adapted_layers(model: nn.Module) -> list[str]:
    """Names of the layers that get an adapter: all linear ones of attention and MLP, in any family."""
    prefix = next(name for name, module in model.named_modules() if module is blocks(model))
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    return [name for name in names if name.startswith(f"{prefix}.")]


def add_adapters(model: Any, rank: int, *, bf16: bool) -> Any:
    """The model with adapters in its layers, as peft's PeftModel; all else but the head is frozen.

    ``base_fingerprint`` of the result is that of the backbone as it was published.

    Args:
        model: to be fine-tuned; changed in place.
        rank: of the adapters.
        bf16: keep the frozen weights of these layers in bfloat16. Training in bf16 rounds them in every step anyway.

    Raises:
        RelViTError: peft is not installed, or the rank is larger than a layer.
    """
    try:
        peft = importlib.import_module("peft")
    except ImportError:
        raise RelViTError(
            "adapters need peft, which is not installed: pip install 'hf_relvit[lora]'"
        ) from None
    names = adapted_layers(model)
    if not names:
        raise RelViTError(
            f"the blocks of {type(model.backbone).__name__} have no linear layers: adapters need them; leave lora out"
        )
    smallest = min(min(model.get_submodule(name).weight.shape) for name in names)
    if not 1 <= rank <= smallest:
        raise RelViTError(
            f"lora {rank}: expected a rank from 1 to {smallest}, the smallest layer of the model"
        )
    heads = [name for name in HEADS if getattr(model, name, None) is not None]
    config = peft.LoraConfig(
        r=rank, lora_alpha=ALPHA * rank, target_modules=names, modules_to_save=heads
    )
    base = weights_fingerprint(model.backbone.state_dict())
    with warnings.catch_warnings():  # peft 0.21 asks transformers 5.23 for a deprecated property
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        adapted = peft.get_peft_model(model, config)
    adapted.base_fingerprint = base
    if bf16:
        for name in names:
            adapted.base_model.model.get_submodule(name).base_layer.to(torch.bfloat16)
    return adapted


@torch.no_grad()
def as_adapter(tuned: Any, published: Mapping[str, torch.Tensor], rank: int) -> Any:
    """A model that was fine-tuned as a whole, as adapters of its published backbone: peft's PeftModel.

    In each layer the change of the weight keeps its largest singular values, which is the nearest change of that rank
    (Eckart and Young, 1936). Heads stay. Biases, norms and embeddings go back to the published ones: it is another
    model, to be measured anew.

    Args:
        tuned: the model; it stays as it is.
        published: weights of its backbone before the fine-tuning, by their names in the backbone.
        rank: of the adapters.

    Raises:
        RelViTError: as ``add_adapters``.
    """
    model = copy.deepcopy(tuned)
    model.backbone.load_state_dict(published)
    names = adapted_layers(model)
    adapted = add_adapters(model, rank, bf16=False)
    for name in names:
        layer = adapted.base_model.model.get_submodule(name)
        change = tuned.get_submodule(name).weight - layer.base_layer.weight
        left, strengths, right = torch.linalg.svd(change, full_matrices=False)
        root = strengths[:rank].sqrt()
        layer.lora_A["default"].weight.copy_(root[:, None] * right[:rank])
        layer.lora_B["default"].weight.copy_(left[:, :rank] * root / ALPHA)
    return adapted


def weights_fingerprint(weights: Mapping[str, torch.Tensor]) -> str:
    """16 hexadecimal digits (of a SHA-256) of named weights, the same on any device."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def save_adapter(adapted: Any, folder: Path, base: Mapping[str, Any]) -> None:
    """Write configuration, adapter and head; see the head of this module.

    Args:
        adapted: of ``add_adapters``.
        folder: new.
        base: ``id``, ``revision`` and ``fingerprint`` of the backbone.
    """
    peft = importlib.import_module("peft")
    settings = copy.deepcopy(adapted.peft_config["default"])
    settings.base_model_name_or_path = base["id"]
    settings.revision = base["revision"]
    settings.inference_mode = True
    settings.save_pretrained(folder / FOLDER)
    weights = peft.get_peft_model_state_dict(adapted)
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    save_file(contiguous, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    config = copy.deepcopy(adapted.get_base_model().config)
    config.adapter = {**base, "rank": settings.r, "alpha": settings.lora_alpha}
    config.save_pretrained(folder)


def check_base(adapter: Mapping[str, Any], weights: Mapping[str, torch.Tensor], where: Any) -> None:
    """Raise RelViTError unless these are the weights of the backbone that an adapter was trained on."""
    found = weights_fingerprint(weights)
    if found != adapter["fingerprint"]:
        raise RelViTError(
            f"the backbone {where} has weights {found}, the adapter was trained on {adapter['fingerprint']} "
            f"({adapter['id']}, revision {adapter['revision']}): name a folder with those weights as base"
        )


def merged(
    path_or_id: str | os.PathLike,
    adapter: Mapping[str, Any],
    weights: dict[str, torch.Tensor],
    layers: list[str],
    **hub: Any,
) -> dict[str, torch.Tensor]:
    """All weights of a model: those of the base with the adapter in them, and the heads.

    Args:
        path_or_id: of the saved adapter.
        adapter: of its configuration.
        weights: of the base, float32, by the names of the whole model; changed in place.
        layers: of ``adapted_layers``.
        hub: revision, token and the like, for a Hub id.

    Raises:
        RelViTError: no adapter, tensors that lack or that no layer takes, or of other shapes.
    """
    file = cached_file(path_or_id, WEIGHTS_FILE, **hub)
    if file is None:
        raise RelViTError(f"{path_or_id} has no {WEIGHTS_FILE}: save or download it again")
    saved = {name.removeprefix(_PREFIX): tensor for name, tensor in load_file(file).items()}
    scale = adapter["alpha"] / adapter["rank"]
    for layer in layers:
        down = _taken(saved, f"{layer}.lora_A.weight", path_or_id)
        up = _taken(saved, f"{layer}.lora_B.weight", path_or_id)
        weight = weights[f"{layer}.weight"]
        fits = down.shape[1:] == weight.shape[1:] and up.shape[:1] == weight.shape[:1]
        if not fits or len(down) != adapter["rank"] or up.shape[1] != adapter["rank"]:
            raise RelViTError(
                f"the adapter {path_or_id} has {tuple(up.shape)} x {tuple(down.shape)} for {layer}, of "
                f"{tuple(weight.shape)}: expected rank {adapter['rank']}; it is an adapter of another base"
            )
        change = torch.zeros_like(weight)
        for direction in range(len(down)):
            change += up[:, direction, None].float() * down[direction].float()
        weights[f"{layer}.weight"] = weight + scale * change
    strange = [name for name in saved if name.split(".")[0] not in HEADS]
    if strange:
        raise RelViTError(
            f"the adapter {path_or_id} has {len(strange)} tensors for no layer of the model, first {strange[0]}: "
            "it is an adapter of another base"
        )
    heads = {name: tensor.float() for name, tensor in saved.items()}
    return weights | heads


def _taken(saved: dict[str, torch.Tensor], name: str, origin: Any) -> torch.Tensor:
    if name not in saved:
        raise RelViTError(
            f"the adapter {origin} lacks {name}: it is an adapter of another base, or incomplete; save it again"
        )
    return saved.pop(name)
