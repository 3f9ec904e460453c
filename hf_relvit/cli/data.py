"""`relvit data`: stimulus sets."""

from __future__ import annotations

import glob
import json
from pathlib import Path
from typing import Annotated

import typer

from .bridge import options
from .habits import Commands, say
from .options import (
    OUT_FILE,
    Count,
    DryRun,
    Masks,
    Out,
    Palette,
    Public,
    Repo,
    Revision,
    SceneSeed,
    check_revision,
)

data = Commands(help="Stimulus sets: build, look at, publish.")


@data.command("build")
@options("given", "building.settings:BuildConfig", skip=("task", "config"), make=dict)
def data_build(
    task: Annotated[
        str, typer.Argument(help="A task such as rmts, or counterfactuals, or photorealistic.")
    ],
    config: Annotated[
        str,
        typer.Option(
            help="Such as b16-32, b16-free-32 or arrows-b16-256; of counterfactuals rmts-b16-32; "
            "of photorealistic default or tiny."
        ),
    ],
    given: dict,
    out: Out,
    processes: Annotated[int, typer.Option(help="Worker processes.", min=1)] = 2,
    shard: Annotated[
        str | None, typer.Option(help="Only part I of K, such as 2/8, for several machines.")
    ] = None,
):
    """Write a dataset folder (Parquet and card) that plain `load_dataset` opens.

    With --shard, several machines share the work: each builds its part, in any order; then the same command without
    --shard joins the parts into the data set of one machine.

    Example: relvit data build rmts --config b16-32 --out data/rmts
    """
    from ..building.build import build
    from ..building.settings import BuildConfig

    settings = BuildConfig(task, config, **given)
    folder = build(settings, out, shard=shard, processes=processes)
    if folder.name != config:
        say(f"{folder}\nwhen all parts are there: the same command without --shard")
        return
    if glob.has_magic(str(out)):
        say(
            f"{folder}\nload_dataset takes brackets and stars in a path as a pattern: rename {out} first"
        )
        return
    arguments = f'{json.dumps(str(out), ensure_ascii=False)}, "{config}", split="test"'
    say(f"{folder}\nopen it with: load_dataset({arguments})")


@data.command("preview")
def data_preview(
    task: Annotated[str, typer.Argument(help="A task, such as rmts.")],
    config: Annotated[
        str,
        typer.Option(
            help="[STYLE-]GEOMETRY-COMBINATIONS, such as b16-32, b16-free-32 or arrows-b16-256."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="PNG file.", **OUT_FILE)] = Path("preview.png"),
    split: str = "train",
    n: Count = 16,
    seed: SceneSeed = 0,
    masks: Masks = None,
    palette: Palette = None,
):
    """Draw a labeled contact sheet.

    Example: relvit data preview rmts --config b16-32 --split test_compositional
    """
    from ..files import atomic_write
    from ..geometry import parse_config
    from ..limits import check_memory
    from ..stimuli.preview import contact_sheet
    from ..stimuli.scenes import sample
    from ..stimuli.styles import open_objects, parse_style
    from ..stimuli.tasks import task_of

    style, rest = parse_style(config)
    objects = open_objects(masks, palette, style)
    geometry, combinations = parse_config(rest)
    check_memory("-n", n, 3 * geometry.image_size**2)
    balance = task_of(task).balance
    rounded = -(-n // balance) * balance
    scenes = sample(
        task, geometry, split, rounded, combinations=combinations, seed=seed, objects=objects
    )
    with atomic_write(out) as temporary:
        contact_sheet(scenes[:n]).save(temporary, format="PNG")
    say(out)


@data.command("check")
def data_check(
    folder: Annotated[Path, typer.Argument(help="Of your own pictures, described beside them.")],
    out: Annotated[Path, typer.Option("--out", help="PNG file.", **OUT_FILE)] = Path("check.png"),
    image_size: Annotated[int, typer.Option(help="Of the model, pixels.", min=8, max=4096)] = 224,
    patch_size: Annotated[int, typer.Option(help="Of the model, pixels.", min=2, max=4096)] = 16,
    n: Count = 16,
):
    """Read your own pictures as an analysis would, say what was repaired, and draw the patches of each object.

    Example: relvit data check my_pictures --patch-size 16 --image-size 224 --out check.png
    """
    from ..figures.own_pictures import pictures_figure
    from ..files import atomic_write
    from ..geometry import PatchGeometry
    from ..stimuli.own_pictures import OwnPictures
    from ..stimuli.scenes import LABELS
    from .options import tell_repairs

    pictures = OwnPictures.open(folder, PatchGeometry(image_size, patch_size))
    tell_repairs(pictures)
    same = int(pictures.label.sum())
    groups = len(set(pictures.clusters))
    say(
        f"{len(pictures)} pictures, {same} same and {len(pictures) - same} different, {groups} independent"
    )
    some = pictures[:n]
    titles = [LABELS[label] for label in some.label]
    figure = pictures_figure(some.pixels(), some.patches(), titles, patch_size)
    with atomic_write(out) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    say(out)


@data.command("import")
def data_import(
    source: Annotated[str, typer.Argument(help="Hub id of a data set, or a folder of one.")],
    out: Out,
    column: Annotated[
        list[str],
        typer.Option(
            help="OURS=THEIRS, where a column of the data set has another name, such as label=answer; "
            "may be given several times."
        ),
    ] = [],  # noqa: B006
    split: Annotated[str, typer.Option(help="Of the data set.")] = "test",
    subset: Annotated[
        str | None,
        typer.Option(help="Config of the data set; needed where it has several."),
    ] = None,
    revision: Revision = None,
):
    """Bring a data set of pictures as a folder of your own pictures, which every analysis takes.

    Columns: image, label, mask or objects (boxes), and group; see docs/how_to/own_pictures.md.

    Example: relvit data import somebody/pairs --column label=answer --out my_pictures
    """
    check_revision(source, revision)
    from ..hub.pictures import import_pictures

    named = {ours: theirs for ours, _, theirs in (each.partition("=") for each in column)}
    import_pictures(
        source,
        out,
        columns=named,
        split=split,
        subset=subset,
        revision=revision,
        say=say,
    )


@data.command("push")
def data_push(
    task: Annotated[
        str, typer.Argument(help="A task such as rmts, or counterfactuals, or photorealistic.")
    ],
    data: Annotated[
        Path, typer.Option("--data", help="Folder that `relvit data build` made: all its configs.")
    ],
    repo: Repo,
    public: Public = False,
    dry_run: DryRun = False,
):
    """Publish a built dataset with its card, and tag it with the version of the generator.

    Needs `hf auth login` once. Interrupted, it goes on where it was; a second push changes nothing.

    Example: relvit data push rmts --data data/rmts --repo YOUR_NAME/rmts --dry-run
    """
    from ..hub.datasets import push_dataset

    push_dataset(task, data, repo, public=public, dry_run=dry_run, say=say)
