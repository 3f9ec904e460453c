"""`relvit analyze frozen`: can a photorealistic set be solved at all?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Checkpoint, Out


def analyze_frozen(
    checkpoint: Checkpoint,
    out: Out,
    data: Annotated[Path, typer.Option("--data", help="Folder of `relvit data build photorealistic`.")],
    config: Annotated[str | None, typer.Option(help="Of the set, such as default.")] = None,
    base: Annotated[str | None, typer.Option(help="The backbone before fine-tuning: folder or Hub id.")] = None,
):
    """How well untrained likeness of the objects' tokens tells same from different: AUC by layer.

    Example: relvit analyze frozen runs/quick/seed0/training/model --data data/photorealistic --out runs/frozen
    """
    from ..analysis.frozen import frozen_features
    from ..modeling import RelViTForImageClassification
    from ..modeling.processing import PixelProcessor, fit_processor, load_checkpoint, load_processor
    from ..study.photorealistic import open_set
    from ..training.evaluation import random_twin

    photos = open_set(data, config)
    model, processor = load_checkpoint(checkpoint, device="auto")
    models = {"checkpoint": (model, processor), "random weights": (random_twin(model), processor)}
    if base is not None:
        backbone = RelViTForImageClassification.from_backbone(base)
        size = backbone.config.image_size
        models["base"] = (backbone.eval(), PixelProcessor(fit_processor(load_processor(base), size), size))
    pairs = {name: photos.pairs(pair[0].config.geometry) for name, pair in models.items()}
    frozen = frozen_features(models, pairs, progress=True)
    frozen.save(out)
    for kind in ("png", "svg"):
        frozen.plot(out / f"frozen.{kind}")
    best = frozen.frame[frozen.frame.level == "all"].sort_values("auc").groupby("model").last()
    typer.echo(best[["layer", "auc", "ci_low", "ci_high", "n"]].round(3).to_string())
    typer.echo(out / "frozen.png")


def conditions_text(table) -> str:
    """The table of ``evaluate_photorealistic`` for the terminal."""
    columns = ["condition", "accuracy", "ci_low", "ci_high", "n", "auc", "base_accuracy", "floor"]
    return table[columns].round(3).to_string(index=False)
