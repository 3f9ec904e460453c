"""What does a fine-tuned model lose if an analysis feeds it through another model's image processor?

    python examples/processor_mismatch.py runs/quick/seed0/training/model --out mismatch.json
    python examples/processor_mismatch.py --train runs/imagenet-constants      # 3 minutes of training first

The official analysis normalizes with mean = spread = 0.5 whatever model but CLIP it opens, though DINO and MAE were
trained with ImageNet's constants (docs/replication.md). This measures the same mistake on any checkpoint of yours: one
set of images, three normalizations. A `Checkpoint` refuses such a processor; here it is put in on purpose.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import pandas as pd
import torch
from transformers import ViTConfig, ViTModel

from hf_relvit.files import write_json
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.modeling.processing import PixelProcessor, default_processor
from hf_relvit.provenance import provenance
from hf_relvit.training.config import TrainConfig, resolve
from hf_relvit.training.evaluation import predict, sample_splits
from hf_relvit.training.metrics import accuracy_table
from hf_relvit.training.run import train

OTHERS = {
    "mean = spread = 0.5": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "ImageNet's": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


def mismatch(
    checkpoint: str, n: int = 1024, split: str = "test", seed: int = 0, batch_size: int = 64
) -> pd.DataFrame:
    """Accuracy of a checkpoint under each normalization, on the same new scenes of what it was trained on.

    Args:
        checkpoint: folder or Hub id of one of our checkpoints.
        n: scenes.
        split: of the scenes; "test": combinations seen in training, scenes not seen.
        seed: of the scenes.
        batch_size: for small memories.

    Returns:
        A row a normalization: ``normalization, mean, spread, accuracy, n, ci_low, ci_high`` (Wilson, 95 %),
        ``says_same`` (share of scenes answered "same"; right would be 0.5) and ``agrees`` (share of the answers that
        are those under its own processor).
    """
    opened = Checkpoint.open(checkpoint)
    model, own = opened
    scenes = sample_splits(opened.distribution(seed=seed), n, (split,))[split]
    size = own.image_size
    processors = {"its own": own}
    processors |= {
        name: PixelProcessor(default_processor(size, *values), size)
        for name, values in OTHERS.items()
    }
    rows, answers = [], {}
    for name, processor in processors.items():
        foreign = Checkpoint(
            model, processor, any_processor=True
        )  # on purpose: this is what is measured
        logits = predict(foreign, scenes, batch_size=batch_size, progress=name)
        answers[name] = logits[:, 1] > logits[:, 0]
        settings, row = processor.image_processor, accuracy_table(logits, scenes.label)[0]
        row = {key: row[key] for key in ("accuracy", "n", "ci_low", "ci_high")}
        row = {
            "normalization": name,
            "mean": settings.image_mean[0],
            "spread": settings.image_std[0],
            **row,
        }
        agrees = (answers[name] == answers["its own"]).mean()
        rows.append(row | {"says_same": float(answers[name].mean()), "agrees": float(agrees)})
    return pd.DataFrame(rows)


def train_with_imagenets(config: TrainConfig, out: Path) -> Path:
    """Train a ViT from scratch on images normalized with ImageNet's constants, as DINO and MAE saw theirs.

    Args:
        config: of the run; its backbone is a ViT from scratch.
        out: folder of the run; what was interrupted goes on.

    Returns:
        The checkpoint's folder.
    """
    scenes = GEOMETRIES[config.geometry]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        sizes = {"image_size": scenes.image_size, "patch_size": scenes.patch_size}
        ViTModel(ViTConfig(**config.backbone, **sizes), add_pooling_layer=False).save_pretrained(
            out / "start"
        )
    default_processor(scenes.image_size, *OTHERS["ImageNet's"]).save_pretrained(out / "start")
    return train(dataclasses.replace(config, backbone=str(out / "start")), out / "run").model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("checkpoint", nargs="?", help="folder or Hub id of one of our checkpoints")
    source.add_argument(
        "--train", type=Path, help="folder: first train `quick` there, with ImageNet's constants"
    )
    parser.add_argument("--seed", type=int, default=0, help="of that training")
    parser.add_argument("--n", type=int, default=1024, help="scenes")
    parser.add_argument("--split", default="test", help="such as test or test_ood_shape")
    parser.add_argument("--batch-size", type=int, default=64, help="images at once")
    parser.add_argument("--out", type=Path, help="JSON file for the table")
    args = parser.parse_args()
    checkpoint = args.checkpoint or train_with_imagenets(
        resolve("quick", seed=args.seed), args.train
    )
    table = mismatch(checkpoint, args.n, args.split, batch_size=args.batch_size)
    print(table.to_string(index=False, float_format="%.3f"))
    if args.out:
        trained = (
            {"trained_with": "ImageNet's constants", "training_seed": args.seed}
            if args.train
            else {}
        )
        facts = provenance(split=args.split, seed=0, **trained)
        write_json(args.out, {"rows": table.to_dict("records"), "provenance": facts})


if __name__ == "__main__":
    main()
