"""`relvit train` and `relvit evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import CheckpointPath, ConfigFile, Count, Labels, Out, Scenes, Seed, Task


def train(
    preset: Annotated[str, typer.Argument(help="quick, quick-rmts, small, b16, b14 or b32.")],
    out: Out,
    config: ConfigFile = None,
    task: Annotated[str | None, typer.Option(help="discrimination or rmts.")] = None,
    backbone: Annotated[
        str | None, typer.Option(help="Folder or Hub id of a pretrained model.")
    ] = None,
    combinations: Annotated[
        int | None, typer.Option(help="Training combinations of shape and color.")
    ] = None,
    images: Annotated[int | None, typer.Option(help="Images seen in training.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak.")] = None,
    seed: Seed = None,
    report_to: Annotated[
        str | None, typer.Option(help="Any tracker of transformers, such as trackio.")
    ] = None,
    push_to_hub: Annotated[
        bool, typer.Option("--push-to-hub", help="Publish the finished run, private.")
    ] = False,
    repo: Annotated[
        str | None, typer.Option(help="OWNER/NAME to push to; by default you and the folder.")
    ] = None,
):
    """Fine-tune a backbone, or train one from scratch. An interrupted run goes on where it was.

    Every setting of docs/paper_index.md may stand in the file of --config.

    Example: relvit train b16 --backbone openai/clip-vit-base-patch16 --out runs/clip
    """
    from ..errors import RelViTError
    from ..report.card import write_training_card
    from ..training.config import read_yaml, resolve
    from ..training.run import train as run

    if repo is not None and not push_to_hub:
        raise RelViTError(
            f"--repo {repo} without --push-to-hub: add it, or publish later with relvit push"
        )
    if push_to_hub and repo is None:
        from ..hub.runs import own_repo

        repo = own_repo(out)
    overrides = dict(
        task=task,
        backbone=backbone,
        combinations=combinations,
        images=images,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        report_to=report_to,
    )
    settings = read_yaml(config) if config is not None else {}
    resolved = resolve(preset, settings, **overrides)
    if repo is not None:
        from ..hub.runs import reserve

        reserve(repo)
    folder = run(resolved, out)
    write_training_card(folder)
    typer.echo(f"checkpoint: {folder.model}")
    if repo is not None:
        from ..hub.runs import push

        push(out, repo, say=typer.echo)


def evaluate(
    checkpoint: CheckpointPath,
    task: Task = None,
    config: Scenes = None,
    n: Count = 1024,
    seed: int = 0,
    out: Annotated[Path | None, typer.Option("--out", help="Parquet file for the table.")] = None,
    data_folder: Annotated[
        Path | None, typer.Option("--data", help="Folder of `relvit data build` to read.")
    ] = None,
    labels: Labels = None,
):
    """Accuracy on every split, with intervals, base accuracy and floor.

    --data with photorealistic scenes: zero-shot, by what differs, occlusion, distance and rotation.

    Example: relvit evaluate runs/quick/seed0/training/model
    """
    from ..modeling.checkpoints import Checkpoint
    from ..report.tables import accuracy_text
    from ..study.photorealistic import open_set, photo_configs
    from ..training import evaluation
    from .photorealistic import conditions_text

    opened = Checkpoint.open(
        checkpoint, labels=labels.split(",") if labels else None, device="auto"
    )
    if data_folder is not None and photo_configs(data_folder):
        pairs = open_set(data_folder, config).pairs(opened.geometry)
        table = evaluation.evaluate(opened, {evaluation.PHOTOREALISTIC: pairs}, progress=True)
        _report(table, out, conditions_text)
        return
    distribution = opened.distribution(task, config, seed=seed)
    if data_folder is None:
        splits = evaluation.scene_splits(distribution, n)
    else:
        from ..building.build import open_folder

        splits = {
            name: rows
            for name, rows in open_folder(data_folder, distribution.name).items()
            if name != "train"
        }
    _report(evaluation.evaluate(opened, splits, progress=True), out, accuracy_text)


def _report(table, out: Path | None, text) -> None:
    from ..files import atomic_write

    if out is not None:
        with atomic_write(out) as temporary:
            table.to_parquet(temporary)
    typer.echo(text(table))
