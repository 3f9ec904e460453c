"""Which modules of any vision transformer are its blocks."""

from __future__ import annotations

from typing import Any

from torch import nn

from .errors import RelViTError


def blocks(model: nn.Module) -> nn.ModuleList:
    """The transformer blocks, in order.

    Raises:
        RelViTError: no list of modules is as long as the configuration says the model is deep.
    """
    config = vision_config(model)
    depth = getattr(config, "num_hidden_layers", None)
    for module in model.modules():
        if (
            isinstance(module, nn.ModuleList)
            and len(module) == depth
            and len({type(item) for item in module}) == 1
        ):
            return module
    raise RelViTError(
        f"{type(model).__name__} has no list of {depth} transformer blocks: expected a vision transformer of the "
        "transformers library, such as ViT, CLIP's image tower or DINOv2"
    )


def vision_config(model: nn.Module) -> Any:
    """The configuration of the image tower: the model's own, or its part in a CLIP or SigLIP."""
    config: Any = getattr(model, "config", None)
    return getattr(config, "vision_config", config)
