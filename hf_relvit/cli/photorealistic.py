"""`relvit analyze frozen`: can a photorealistic set be solved at all?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import CheckpointPath, Out


def analyze_frozen(
    checkpoint: CheckpointPath,
    out: Out,
    data: Annotated[
        Path, typer.Option("--data", help="Folder of `relvit data build photorealistic`.")
    ],
    config: Annotated[str | None, typer.Option(help="Of the set, such as default.")] = None,
    base: Annotated[
        str | None, typer.Option(help="The backbone before fine-tuning: folder or Hub id.")
    ] = None,
):
    """How well untrained likeness of the objects' tokens tells same from different: AUC by layer.

    Example: relvit analyze frozen runs/quick/seed0/training/model --data data/photorealistic --out runs/frozen
    """
    from ..analysis.similarity import measure_similarity
    from ..modeling import RelViTForImageClassification
    from ..modeling.checkpoints import Checkpoint
    from ..modeling.processing import fit_processor, load_processor
    from ..study.photorealistic import open_set

    photos = open_set(data, config)
    opened = Checkpoint.open(checkpoint, device="auto")
    models = {"checkpoint": opened, "random weights": opened.randomly_initialized()}
    if base is not None:
        backbone = RelViTForImageClassification.from_backbone(base).eval()
        models["base"] = Checkpoint(
            backbone, fit_processor(load_processor(base), backbone.config.image_size)
        )
    pairs = {name: photos.pairs(one.geometry) for name, one in models.items()}
    frozen = measure_similarity(models, pairs, progress=True)
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
