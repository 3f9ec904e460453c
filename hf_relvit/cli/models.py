"""`relvit train` and `relvit evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import RelViTError
from .bridge import options, receives
from .connection import check_reachable
from .habits import say, show
from .options import OUT_FILE, ConfigFile, Out, Subject, hub_name, subject, tell_repairs


@options(
    "settings",
    "training.config:TrainConfig",
    make=dict,
    panel="Settings, of the preset unless given",
)
def train(
    preset: Annotated[
        str, typer.Argument(help="quick, quick-rmts, small, adapters, b16, b14 or b32.")
    ],
    out: Out,
    settings: dict,
    config: ConfigFile = None,
    push_to_hub: Annotated[
        bool, typer.Option("--push-to-hub", help="Publish the finished run, private.")
    ] = False,
    repo: Annotated[
        str | None,
        typer.Option(
            help="OWNER/NAME to push to; by default you and the folder.", callback=hub_name
        ),
    ] = None,
):
    """Fine-tune a backbone, or train one from scratch. An interrupted run goes on where it was.

    Example: relvit train adapters --backbone openai/clip-vit-base-patch16 --out runs/clip
    """
    from ..training.config import read_yaml, resolve

    if repo is not None and not push_to_hub:
        raise RelViTError(
            f"--repo {repo} without --push-to-hub: add it, or publish later with relvit push"
        )
    in_file = read_yaml(config) if config is not None else {}
    resolved = resolve(preset, in_file, **settings)
    _ = resolved.distribution().splits  # scenes that cannot be drawn are refused before torch loads

    if isinstance(resolved.backbone, str):
        check_reachable(resolved.backbone)
    from ..hub import runs
    from ..report.card import write_training_card
    from ..training.run import train as run

    if push_to_hub:
        repo = repo or runs.own_repo(out)
        runs.reserve(repo)
    folder = run(resolved, out)
    write_training_card(folder)
    say(f"checkpoint: {folder.model}")
    if repo is not None:
        runs.push(out, repo, say=say)


@receives("subject", subject)
@options("settings", "training.evaluation:EvaluationConfig", make=dict)
def evaluate(
    subject: Subject,
    settings: dict,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Parquet file for the table.", **OUT_FILE),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Folder of `relvit data build`, or of your own pictures."),
    ] = None,
):
    """Accuracy on every split, with intervals, base accuracy and floor.

    --data takes the scenes of a built dataset, all of them: --config names the one of several in the folder.
    Photorealistic scenes: zero-shot, by difference, occlusion, distance and rotation. Your own pictures: zero-shot.

    Example: relvit evaluate runs/quick/seed0/training/model
    """
    drawn = {**vars(subject), **settings}
    for name in ("task", "seed", "objects", "scenes", "splits"):
        if data is not None and drawn.get(name) is not None:
            raise RelViTError(
                f"{name} with --data {data}: its scenes are drawn already, leave it out",
                page="drawn-scenes",
            )
    from ..report.tables import accuracy_text
    from ..stimuli.own_rows import is_own_folder
    from ..study.photorealistic import open_test_set, photo_configs
    from ..training.evaluation import EvaluationConfig, sample_splits

    config = EvaluationConfig(**settings)
    if data is not None and (photo_configs(data) or is_own_folder(data)):
        photos = open_test_set(data, subject.config)
        checkpoint = subject.open()
        pictures = photos.pairs(checkpoint.geometry)
        tell_repairs(pictures)
        splits = {pictures.task: pictures}
        _report(checkpoint, splits, config, out, conditions_text)
        return
    checkpoint = subject.open()
    if data is not None:
        _, name = checkpoint.trained_on(subject.task, subject.config)
        splits = _built_splits(data, name)
    else:
        distribution = subject.distribution(checkpoint)
        splits = sample_splits(distribution, config.scenes, config.splits)
    _report(checkpoint, splits, config, out, accuracy_text)


def conditions_text(table) -> str:
    """The table of accuracies by kind of photorealistic scenes for the terminal."""
    columns = ["condition", "accuracy", "ci_low", "ci_high", "n", "auc", "base_accuracy", "floor"]
    return table[columns].round(3).to_string(index=False)


def _built_splits(data: Path, config: str) -> dict:
    """The splits of a built dataset that test something."""
    from ..building.dataset_folder import open_folder

    splits = open_folder(data, config)
    return {name: rows for name, rows in splits.items() if name != "train"}


def _report(checkpoint, splits: dict, config, out: Path | None, text) -> None:
    from ..files import write_table
    from ..training.evaluation import evaluate
    from ..training.precision import checkpoint_autocast

    with checkpoint_autocast(checkpoint):
        table = evaluate(checkpoint, splits, batch_size=config.batch_size, progress=True)
    if out is not None:
        write_table(out, table)
    show("accuracy", table, text=text(table))
