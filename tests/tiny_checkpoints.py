"""Small checkpoints on disk: one of ours, the ordinary classifier of the same weights, and its bare backbone."""

from __future__ import annotations

from pathlib import Path

from hf_relvit.modeling import RelViTForImageClassification
from hf_relvit.training.config import TrainConfig, vit
from hf_relvit.training.run import build_model


def saved_checkpoints(root: Path) -> Path:
    """Folders "ours", "plain" and "backbone": a network of two blocks for images of 64 pixels."""
    checkpoint = build_model(TrainConfig(backbone=vit(2, 32, 2), combinations=32))
    model: RelViTForImageClassification = checkpoint.model
    checkpoint.save(root / "ours")
    plain = model.to_plain()
    for name, part in {"plain": plain, "backbone": model.backbone}.items():
        part.save_pretrained(root / name)
        checkpoint.processor.save_pretrained(root / name)
    return root
