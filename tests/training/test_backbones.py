"""The grids for the paper's other backbones: planned as they are, and trained here on a tiny random model of each."""

import dataclasses
from pathlib import Path

import pytest
import torch
import transformers

from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.report.card import run_card
from hf_relvit.report.results import of_training
from hf_relvit.study.grid import plan
from hf_relvit.training.run import train

EXAMPLES = Path(__file__).parents[2] / "examples"
RUNS = {
    run.name.removesuffix("-seed0"): run.config
    for name in ("other_backbones", "dinov2")
    for run in plan(str(EXAMPLES / f"{name}.yaml")).runs
}
SIZES = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
DECODER = dict(decoder_hidden_size=32, decoder_num_hidden_layers=1, decoder_num_attention_heads=2)
FAMILIES = {
    "facebook/dino-vitb16": ("ViT", "ViTImageProcessor", {}),
    "facebook/dinov2-base": ("Dinov2", "BitImageProcessor", {"mlp_ratio": 2}),
    "facebook/dinov3-vitb16-pretrain-lvd1689m": ("DINOv3ViT", "ViTImageProcessor", {}),
    "facebook/vit-mae-base": ("ViTMAE", "ViTImageProcessor", DECODER),
    "google/vit-base-patch16-224-in21k": ("ViT", "ViTImageProcessor", {}),
    "google/siglip-base-patch16-224": ("Siglip", "SiglipImageProcessor", {}),
}
"""Hub id -> family and image processor of what is published under it, and further sizes of a tiny one."""


def published(backbone: str, geometry, folder: Path) -> Path:
    """A tiny random model, saved as the published one is: with its text tower, its decoder or its head."""
    family, processor, extra = FAMILIES[backbone]
    layout = {"image_size": geometry.image_size, "patch_size": geometry.patch_size}
    settings = {**SIZES, **layout, **extra}
    if family == "Siglip":
        text = transformers.SiglipTextConfig(**SIZES, vocab_size=8, max_position_embeddings=4)
        config = transformers.SiglipConfig(
            text_config=text.to_dict(), vision_config={**settings, "hidden_act": "gelu"}
        )
        name = "SiglipModel"
    else:
        config = getattr(transformers, f"{family}Config")(**settings)
        name = "ViTMAEForPreTraining" if family == "ViTMAE" else f"{family}Model"
    torch.manual_seed(0)
    getattr(transformers, name)(config).save_pretrained(folder)
    size = {"height": geometry.image_size, "width": geometry.image_size}
    if processor == "BitImageProcessor":
        size = {"shortest_edge": geometry.image_size}
    getattr(transformers, processor)(size=size).save_pretrained(folder)
    return folder


def test_every_backbone_of_the_grids_has_its_family_here():
    assert {config.backbone for config in RUNS.values()} == set(FAMILIES)


@pytest.mark.backbones
@pytest.mark.parametrize("name", RUNS)
def test_its_adapter_is_trained_and_opened(name, tmp_path):
    config = RUNS[name]
    geometry = config.distribution().geometry
    folder = published(str(config.backbone), geometry, tmp_path / "base")
    small = dataclasses.replace(
        config,
        backbone=str(folder),
        lora=2,
        images=8,
        batch_size=4,
        n_eval=8,
        warmup_steps=0,
        evaluations=1,
    )
    run = train(small, tmp_path / "run", progress=False)
    assert not run.weights.exists(), "an adapter, not a whole model"
    opened = Checkpoint.open(run.model)
    scenes = config.distribution().sample("test", 4)
    with torch.no_grad():
        assert opened.model(pixel_values=opened.pixel_values(scenes)).logits.isfinite().all()
    results = of_training(run)
    named = dataclasses.replace(results, config={**results.config, "backbone": config.backbone})
    card = run_card(named).data
    assert card.base_model == config.backbone and card["base_model_relation"] == "adapter"
