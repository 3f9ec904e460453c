"""Options that several commands share, and what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import RelViTError

Out = Annotated[Path, typer.Option("--out", help="Folder for the results.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML file of settings; options override it.")]
Seed = Annotated[int | None, typer.Option(help="Of weights, scenes and their order.")]
Count = Annotated[int, typer.Option("-n", help="Scenes.", min=1)]
Masks = Annotated[Path | None, typer.Option(help="Folder of your own mask PNGs (black is object), or 3D objects.")]
Palette = Annotated[Path | None, typer.Option(help="JSON file of your own colors.")]
Task = Annotated[str | None, typer.Option(help="discrimination or rmts; by default what the model was trained on.")]
Scenes = Annotated[str | None, typer.Option(help="GEOMETRY-COMBINATIONS; by default what the model was trained on.")]
Checkpoint = Annotated[str, typer.Argument(help="Checkpoint folder or Hub id.")]
Labels = Annotated[
    str | None,
    typer.Option(help="What the classes of anybody's classifier mean: different,same or same,different."),
]


def scenes_of(model, task: str | None, config: str | None):
    """Task, name, geometry and combinations of the scenes: what is given, else what the model was trained on."""
    from ..geometry import parse_config

    known = model.config.scenes or {}
    task = task or known.get("task")
    if known and config is None:
        config = f"{known['geometry']}-{known['combinations']}"
    if not task or not config:
        raise RelViTError("the checkpoint does not say what it was trained on: name it with --task and --config")
    return task, config, *parse_config(config)
