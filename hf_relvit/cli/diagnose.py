"""`relvit diagnose`: which stage of a model fails."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import CheckpointPath, Labels, Out, Scenes, Task


def diagnose(
    checkpoint: CheckpointPath,
    out: Out,
    task: Task = None,
    config: Scenes = None,
    scenes: Annotated[int, typer.Option(help="Scenes of each split.", min=1)] = 300,
    pairs: Annotated[
        int, typer.Option(help="Pairs to find each alignment on, and to score it on.", min=1)
    ] = 256,
    epochs: Annotated[int, typer.Option(help="Passes over the pairs.", min=1)] = 8,
    layer: Annotated[
        list[int] | None, typer.Option(help="Several: blocks whose output is swapped.")
    ] = None,
    seed: int = 0,
    labels: Labels = None,
):
    """Which stage fails, perceptual or relational, on what evidence, and which loss would the paper prescribe?

    Writes diagnosis.html, verdict.json, figures and tables.

    Example: relvit diagnose runs/quick/seed0/training/model --out runs/diagnosis
    """
    from ..analysis import diagnosis
    from ..modeling.checkpoints import Checkpoint
    from ..report.diagnosis_page import diagnosis_text, write_diagnosis

    settings = diagnosis.DiagnosisConfig(
        scenes=scenes,
        pairs=pairs,
        test_pairs=pairs,
        epochs=epochs,
        layers=tuple(layer) if layer else None,
        seed=seed,
    )
    opened = Checkpoint.open(
        checkpoint, labels=labels.split(",") if labels else None, device="auto"
    )
    distribution = opened.distribution(task, config, seed=seed)
    found = diagnosis.diagnose(opened, distribution, settings, progress=True)
    page = write_diagnosis(found, checkpoint, out)
    typer.echo(f"{diagnosis_text(found)}\nreport: {page}")
