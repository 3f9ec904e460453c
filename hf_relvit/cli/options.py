"""Options that several commands share, and their meaning."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import RelViTError
from ..limits import MOST_ROWS
from ..places import check_out
from .bridge import SEED_RANGE
from .connection import check_reachable
from .habits import say

if TYPE_CHECKING:
    from ..modeling.checkpoints import Checkpoint
    from ..stimuli.distribution import SceneDistribution
    from ..stimuli.objects import ObjectSet


def hub_name(repo: str | None) -> str | None:
    """The name of a repository; RelViTError for one that the Hub would refuse."""
    from ..hub.client import check_id

    return repo if repo is None else check_id(repo)


def out_folder(out: Path | None) -> Path | None:
    """A folder for results, that can be written to; RelViTError before any work if not."""
    return out if out is None else check_out(out)


def out_file(out: Path | None) -> Path | None:
    """A file for a result, that can be written; RelViTError before any work if not."""
    return out if out is None else check_out(out, file=True)


def named(text: str | Path) -> Path:
    """The path of an --out; an empty one, as of a variable that is not set, would be the current folder."""
    if not str(text):
        raise ValueError("expected a name")
    return Path(text)


OUT_FOLDER: dict[str, Any] = {"parser": named, "metavar": "FOLDER", "callback": out_folder}
OUT_FILE: dict[str, Any] = {"parser": named, "metavar": "FILE", "callback": out_file}
COUNT: dict[str, Any] = {"min": 1, "max": MOST_ROWS}
Out = Annotated[Path, typer.Option("--out", help="Folder for the results.", **OUT_FOLDER)]
Repo = Annotated[
    str, typer.Option("--repo", help="OWNER/NAME on the Hub; made if it is new.", callback=hub_name)
]
Public = Annotated[
    bool, typer.Option("--public", help="Visible to all; otherwise a new one is private.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="List files and sizes, send nothing.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--settings", help="YAML file of settings; options override it.")
]
SceneSeed = Annotated[int, typer.Option("--seed", help="Of scenes and of chance.", **SEED_RANGE)]
Count = Annotated[int, typer.Option("--scenes", "-n", help="Scenes to draw.", **COUNT)]
Masks = Annotated[
    Path | None, typer.Option(help="Folder of your own mask PNGs (black is object), or 3D objects.")
]
Palette = Annotated[Path | None, typer.Option(help="JSON file of your own colors.")]
Task = Annotated[
    str | None,
    typer.Option(help="A task, such as rmts; by default that of its training."),
]
SceneConfig = Annotated[
    str | None,
    typer.Option(
        "--config", help="[STYLE-]GEOMETRY-COMBINATIONS; by default that of its training."
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        help="Meaning of the classes of anybody's classifier: different,same or same,different."
    ),
]
Base = Annotated[
    str | None,
    typer.Option(help="Folder or Hub id of an adapter's backbone, if it is not where it says."),
]
Revision = Annotated[
    str | None, typer.Option(help="Commit, tag or branch of a Hub id; the newest by default.")
]
Device = Annotated[
    str, typer.Option(help="cpu, cuda, cuda:1 ...; by default the GPU if there is one.")
]
_PICTURES = typer.Option(
    "--data",
    help="Folder of your own pictures (docs/how_to/own_pictures.md) or of `relvit data build photorealistic`.",
)
PictureSet = Annotated[Path | None, _PICTURES]
RequiredPictureSet = Annotated[Path, _PICTURES]


def tell_repairs(pictures: Any) -> None:
    """Say what was done to somebody's own pictures so that they fit."""
    for repair in getattr(pictures, "repairs", ()):
        say(f"repaired: {repair}")


def check_revision(checkpoint: str, revision: str | None) -> None:
    """RelViTError for a revision of a folder, which has none."""
    if revision is not None and Path(checkpoint).exists():
        raise RelViTError(
            f"--revision {revision} with the folder {checkpoint}: expected a Hub id, or leave it out"
        )


@dataclass(frozen=True)
class Subject:
    """The checkpoint that a command measures, and the scenes that it is measured on.

    Attributes:
        checkpoint: folder or Hub id.
        task: None for that of the training.
        config: GEOMETRY-COMBINATIONS, or the name of a photorealistic set; None for that of the training.
        seed: of the scenes; None for 0.
        objects: of the user's own; None for those of the config.
        labels: of an ordinary classifier; None where it names them itself.
        base: of an adapter, where its backbone is not where it says.
        revision: of a Hub id; None for the newest.
        device: of the model; "auto" for the GPU if there is one.
    """

    checkpoint: str
    task: str | None = None
    config: str | None = None
    seed: int | None = None
    objects: ObjectSet | None = None
    labels: tuple[str, ...] | None = None
    base: str | None = None
    revision: str | None = None
    device: str = "auto"

    def __post_init__(self):
        check_revision(self.checkpoint, self.revision)
        if self.task is not None:
            from ..stimuli.tasks import task_of

            task_of(self.task)

    def open(self) -> Checkpoint:
        """The checkpoint, on its device."""
        check_reachable(self.checkpoint, self.revision)
        from ..modeling.checkpoints import Checkpoint

        return Checkpoint.open(
            self.checkpoint,
            revision=self.revision,
            labels=self.labels,
            base=self.base,
            device=self.device,
        )

    def distribution(self, checkpoint: Checkpoint) -> SceneDistribution:
        """Where the scenes come from."""
        return checkpoint.distribution(
            self.task, self.config, objects=self.objects, seed=self.seed or 0
        )


def subject(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint folder or Hub id.")],
    task: Task = None,
    config: SceneConfig = None,
    seed: Annotated[
        int | None, typer.Option(help="Of scenes and of chance; 0 by default.", **SEED_RANGE)
    ] = None,
    masks: Masks = None,
    palette: Palette = None,
    labels: Labels = None,
    base: Base = None,
    revision: Revision = None,
    device: Device = "auto",
) -> Subject:
    """The parameters of a command that measures a checkpoint."""
    classes = tuple(labels.split(",")) if labels else None
    objects = None
    if masks is not None or palette is not None:
        from ..stimuli.objects import open_objects

        objects = open_objects(masks, palette)
    return Subject(checkpoint, task, config, seed, objects, classes, base, revision, device)
