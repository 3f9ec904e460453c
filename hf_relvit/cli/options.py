"""Options that several commands share, and what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[Path, typer.Option("--out", help="Folder for the results.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="YAML file of settings; options override it.")
]
Seed = Annotated[int | None, typer.Option(help="Of weights, scenes and their order.")]
Count = Annotated[int, typer.Option("-n", help="Scenes.", min=1)]
Masks = Annotated[
    Path | None, typer.Option(help="Folder of your own mask PNGs (black is object), or 3D objects.")
]
Palette = Annotated[Path | None, typer.Option(help="JSON file of your own colors.")]
Task = Annotated[
    str | None,
    typer.Option(help="discrimination or rmts; by default what the model was trained on."),
]
Scenes = Annotated[
    str | None,
    typer.Option(help="GEOMETRY-COMBINATIONS; by default what the model was trained on."),
]
CheckpointPath = Annotated[str, typer.Argument(help="Checkpoint folder or Hub id.")]
Labels = Annotated[
    str | None,
    typer.Option(
        help="What the classes of anybody's classifier mean: different,same or same,different."
    ),
]
