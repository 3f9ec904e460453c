"""One small ViT, the same pictures, five objectives: the backbones of docs/experiments/objectives.md.

1. Draw pictures of one object each, of the combinations that training may show: no pairs, so no relation.
2. Learn by one objective, ``z`` the CLS state of the last block, ``(batch, hidden)``:
   "supervised": shape and color, a linear classifier of ``z`` each.
   "masked": half of the patches hidden, their pixels predicted (SimMIM, by transformers).
   "views": two crops of a picture, and the mean weights of the past as a teacher (the kind of DINO).
   "captions": ``z`` beside an embedding of "shape, color" (the kind of CLIP).
   "none": no step is made.
3. Write the backbone alone, as ``relvit train --backbone FOLDER`` opens it.

Example: python examples/pretrain_objectives.py --objective masked --seed 0 --out build/objectives/masked-0
"""

from __future__ import annotations

import argparse
import copy
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import (
    cross_entropy,
    grid_sample,
    log_softmax,
    normalize,
    softmax,
)
from torch.utils.data import Dataset
from transformers import (
    Trainer,
    TrainerCallback,
    TrainingArguments,
    ViTConfig,
    ViTForMaskedImageModeling,
    ViTModel,
)
from transformers.trainer_utils import get_last_checkpoint

from hf_relvit.geometry import geometry
from hf_relvit.places import check_out
from hf_relvit.stimuli.distribution import SceneDistribution
from hf_relvit.training.config import vit

MASKED = 0.5
"""Share of the patches that are hidden. SimMIM hides .6 of larger ones; most of ours are background."""
PROTOTYPES = 512
"""Outputs of the head of "views". DINO has 65,536, for a million kinds of pictures."""
MOMENTUM = 0.996
"""Of the teacher's weights per step (DINO's first value)."""
STUDENT, TEACHER = 0.1, 0.04
"""Temperatures of "views" (DINO's)."""
SMALLEST_CROP = 0.6
"""Side of the smallest crop, in sides of the picture: an object of a quarter of the side is mostly inside."""


class Pictures(Dataset):
    """Pictures of one object: the first of each scene of the training split.

    An item is ``pixel_values`` float32 ``(3, side, side)`` from -1 to 1, ``shape`` and ``color`` int.
    """

    def __init__(self, distribution: SceneDistribution, count: int):
        scenes = distribution.sample("train", count)
        self.scenes = replace(
            scenes,
            shape=scenes.shape[:, :1],
            color=scenes.color[:, :1],
            corner=scenes.corner[:, :1],
            jitter=scenes.jitter[:, :1],
        )

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {key: value[0] for key, value in self.__getitems__([index]).items()}

    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        rows = self.scenes[np.asarray(indices)]
        pixels = torch.from_numpy(rows.pixels())
        channels_first = pixels.permute(0, 3, 1, 2)
        return {
            "pixel_values": channels_first / 127.5 - 1,
            "shape": torch.from_numpy(rows.shape[:, 0].astype(np.int64)),
            "color": torch.from_numpy(rows.color[:, 0].astype(np.int64)),
        }


class Objective(nn.Module):
    """A backbone and what its objective adds to it. ``forward`` gives the loss of a batch."""

    def __init__(self, config: ViTConfig):
        super().__init__()
        self.backbone = ViTModel(config, add_pooling_layer=False)

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """CLS states, ``(batch, hidden)``."""
        return self.backbone(pixels).last_hidden_state[:, 0]


class Supervised(Objective):
    """Shape and color of the object, from its picture."""

    def __init__(self, config: ViTConfig, shapes: int, colors: int):
        super().__init__(config)
        self.of_shape = nn.Linear(config.hidden_size, shapes)
        self.of_color = nn.Linear(config.hidden_size, colors)

    def forward(self, pixel_values, shape, color):
        features = self.features(pixel_values)
        shape_loss = cross_entropy(self.of_shape(features), shape)
        color_loss = cross_entropy(self.of_color(features), color)
        return {"loss": shape_loss + color_loss}


class Masked(nn.Module):
    """Pixels of hidden patches; the same blocks, with a mask token and one linear decoder."""

    def __init__(self, config: ViTConfig):
        super().__init__()
        masking = copy.deepcopy(config)
        masking.encoder_stride = config.patch_size
        self.model = ViTForMaskedImageModeling(masking)
        self.patches = (config.image_size // config.patch_size) ** 2

    @property
    def backbone(self) -> ViTModel:
        return self.model.vit

    def forward(self, pixel_values, shape, color):
        chances = torch.rand(len(pixel_values), self.patches, device=pixel_values.device)
        hidden = chances.argsort(1) < MASKED * self.patches
        return {"loss": self.model(pixel_values, bool_masked_pos=hidden).loss}


class Views(Objective):
    """Two crops of a picture agree on prototypes, as a slow teacher sees them."""

    def __init__(self, config: ViTConfig):
        super().__init__(config)
        width = config.hidden_size
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, PROTOTYPES))
        self.teacher = copy.deepcopy(nn.ModuleList([self.backbone, self.head]))
        self.teacher.requires_grad_(False)
        self.register_buffer("center", torch.zeros(PROTOTYPES))

    def forward(self, pixel_values, shape, color):
        views = [cropped(pixel_values), cropped(pixel_values)]
        backbone, head = self.teacher
        with torch.no_grad():
            seen = [head(backbone(view).last_hidden_state[:, 0]) for view in views]
            targets = [softmax((each - self.center) / TEACHER, -1) for each in seen]
            mean = torch.cat(seen).mean(0)
            if self.training:
                self.center.lerp_(mean, 0.1)
        loss = pixel_values.new_zeros(())
        for view, target in zip(views, reversed(targets)):
            answers = log_softmax(self.head(self.features(view)) / STUDENT, -1)
            loss = loss - (target * answers).sum(-1).mean() / 2
        return {"loss": loss}

    @torch.no_grad()
    def follow(self) -> None:
        """Move the teacher toward the student."""
        student = [*self.backbone.parameters(), *self.head.parameters()]
        for mean, value in zip(self.teacher.parameters(), student):
            mean.lerp_(value, 1 - MOMENTUM)


class Captions(Objective):
    """A picture and its caption are near, others far.

    Equal captions in a batch have equal logits: to share the target among them gives the same loss.
    """

    def __init__(self, config: ViTConfig, shapes: int, colors: int):
        super().__init__(config)
        width = config.hidden_size
        self.words = nn.Embedding(shapes + colors, width)
        self.shapes = shapes
        self.text = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.project = nn.Linear(width, width)
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))  # CLIP's start

    def forward(self, pixel_values, shape, color):
        words = self.words(shape) + self.words(self.shapes + color)
        captions = normalize(self.text(words), dim=-1)
        pictures = normalize(self.project(self.features(pixel_values)), dim=-1)
        logits = self.scale.exp().clamp(max=100) * pictures @ captions.T
        own = torch.arange(len(logits), device=logits.device)
        both_ways = cross_entropy(logits, own) + cross_entropy(logits.T, own)
        return {"loss": both_ways / 2}


class Nothing(Objective):
    """Random weights, as they are drawn."""


def cropped(pixels: torch.Tensor) -> torch.Tensor:
    """A square of each picture, of random size and place, mirrored in half of the cases, at the old resolution.

    Colors stay: they are a factor here (DINO changes them, too).
    """
    count = len(pixels)
    device = pixels.device
    side = SMALLEST_CROP + (1 - SMALLEST_CROP) * torch.rand(count, device=device)
    slack = (1 - side)[:, None]
    middle = slack * (2 * torch.rand(count, 2, device=device) - 1)
    mirror = 1 - 2 * torch.randint(2, (count,), device=device)
    affine = torch.zeros(count, 2, 3, device=device)
    affine[:, 0, 0] = side * mirror
    affine[:, 1, 1] = side
    affine[:, :, 2] = middle
    grid = nn.functional.affine_grid(affine, list(pixels.shape), align_corners=False)
    return grid_sample(pixels, grid, padding_mode="border", align_corners=False)


class Follow(TrainerCallback):
    """The teacher follows after each step."""

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if isinstance(model, Views):
            model.follow()


def whole_batch(batch: dict[str, Any]) -> dict[str, Any]:
    """``Pictures`` gives batches, so nothing is left to collate."""
    return batch


def objective(name: str, config: ViTConfig, distribution: SceneDistribution) -> Any:
    """The module of an objective."""
    kinds = distribution.objects.n_shapes, distribution.objects.n_colors
    if name == "supervised":
        return Supervised(config, *kinds)
    if name == "captions":
        return Captions(config, *kinds)
    return {"masked": Masked, "views": Views, "none": Nothing}[name](config)


def backbone_config(side: int, patch: int, layers: int = 6, width: int = 128) -> ViTConfig:
    """Of the small ViT of the quick run."""
    values = vit(layers, width, width // 32)
    values.pop("model_type")
    return ViTConfig(image_size=side, patch_size=patch, **values)


def pretrain(
    name: str,
    out: Path,
    config: ViTConfig,
    pictures: Pictures,
    distribution: SceneDistribution,
    arguments: TrainingArguments,
) -> None:
    """Learn by one objective and write the backbone; goes on from a checkpoint of an interrupted call."""
    torch.manual_seed(arguments.seed)
    model = objective(name, config, distribution)
    if name != "none":
        trainer = Trainer(
            model,
            arguments,
            data_collator=whole_batch,
            train_dataset=pictures,
            callbacks=[Follow()],
        )
        folder = Path(arguments.output_dir)
        last = get_last_checkpoint(str(folder)) if folder.exists() else None
        trainer.train(resume_from_checkpoint=last)
    save_backbone(model.backbone, out)


def save_backbone(backbone: ViTModel, out: Path) -> None:
    """As any published ViT: weights, config, and the settings of its image processor."""
    backbone.embeddings.mask_token = None  # of the objective "masked" alone
    side = backbone.config.image_size
    half = [0.5, 0.5, 0.5]
    processor = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": side, "width": side},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": half,
        "image_std": half,
    }
    backbone.cpu().save_pretrained(out)
    (out / "preprocessor_config.json").write_text(json.dumps(processor, indent=1))


def training_arguments(out: Path, seed: int, epochs: float, batch_size: int) -> TrainingArguments:
    """The same for all objectives."""
    return TrainingArguments(
        str(out.with_name(f"{out.name}.training")),
        per_device_train_batch_size=batch_size,
        num_train_epochs=epochs,
        learning_rate=5e-4,
        weight_decay=0.05,
        warmup_steps=200,
        lr_scheduler_type="cosine",
        max_grad_norm=1.0,
        seed=seed,
        save_steps=200,
        save_total_limit=1,
        logging_steps=100,
        remove_unused_columns=False,
        report_to="none",
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    names = ["supervised", "masked", "views", "captions", "none"]
    parser.add_argument("--objective", choices=names, required=True)
    parser.add_argument("--seed", type=int, default=0, help="of weights and order")
    parser.add_argument("--out", type=Path, required=True, help="folder of the backbone")
    parser.add_argument("--pictures", type=int, default=50_000)
    parser.add_argument("--epochs", type=float, default=4)
    parser.add_argument("--batch-size", type=int, default=128)
    asked = parser.parse_args()
    check_out(asked.out)
    place = geometry("quick")
    distribution = SceneDistribution("discrimination", place, 128)
    config = backbone_config(place.image_size, place.patch_size)
    pictures = Pictures(distribution, asked.pictures)
    arguments = training_arguments(asked.out, asked.seed, asked.epochs, asked.batch_size)
    pretrain(asked.objective, asked.out, config, pictures, distribution, arguments)
    print(f"backbone: {asked.out}")


if __name__ == "__main__":
    main()
