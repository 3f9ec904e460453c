"""In which precision a run trains and is measured."""

from __future__ import annotations

import torch

from ..modeling.checkpoints import Checkpoint
from .config import TrainConfig

BF16 = "bf16 autocast"
FLOAT32 = "float32"
"""The precision of a checkpoint's training, by its own record."""


def computes_bf16() -> bool:
    """Whether the device multiplies bf16 matrices in hardware; elsewhere bf16 autocast is slower than float32."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def trains_in_bf16(config: TrainConfig) -> bool:
    """Whether this run trains under bf16 autocast."""
    return computes_bf16() if config.bf16 is None else config.bf16


def training_autocast(config: TrainConfig) -> torch.autocast:
    """The context in which a study measures a run: the precision of its training, on the device at hand.

    On a CPU ViT-B/16 takes a tenth of the time under bf16 autocast. Without this context all is measured in float32.
    """
    return _autocast(trains_in_bf16(config))


def checkpoint_autocast(checkpoint: Checkpoint) -> torch.autocast:
    """The context in which the study of a checkpoint measured it, so that its published numbers come out again.

    A checkpoint that does not say how it was trained is measured in float32.
    """
    return _autocast(getattr(checkpoint.config, "trained_in", None) == BF16)


def _autocast(enabled: bool) -> torch.autocast:
    # a CUDA build of torch on a machine without a GPU names one that is not there
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    device = accelerator or torch.device("cpu")
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)
