"""`relvit measure` and `relvit board`: backbones without fine-tuning, one by one and side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import RelViTError
from ..geometry import Placement
from .bridge import options
from .connection import check_reachable
from .habits import say, show
from .options import (
    OUT_FOLDER,
    Base,
    Device,
    DryRun,
    Out,
    Public,
    Revision,
    check_revision,
    hub_name,
)


@options("settings", "analysis.battery:BatteryConfig")
def measure(
    backbone: Annotated[
        str,
        typer.Argument(help="Folder or Hub id of a backbone, or of a checkpoint of ours."),
    ],
    settings,
    out: Out,
    task: Annotated[
        list[str],
        typer.Option(help="A task, such as sosd; may be given several times."),
    ] = ["discrimination", "rmts"],  # noqa: B006
    style: Annotated[
        str | None, typer.Option(help="Of the objects, such as irregular; ours by default.")
    ] = None,
    placement: Annotated[
        Placement,
        typer.Option(
            help="Of the objects: on the grid of patches, at any pixel, or at any pixel in any scale and turn."
        ),
    ] = "grid",
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder of your own pictures, in place of tasks; see docs/how_to/own_pictures.md."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="In the record; by default the end of the path or id.")
    ] = None,
    base: Base = None,
    revision: Revision = None,
    device: Device = "auto",
):
    """Is a backbone relational, without fine-tuning? Attention stages, probes, binding and likeness of objects, edits.

    Each number stands beside the same network with random weights, and beside its controls; a rule names the kind of
    failure of each task. Writes record.jsonl, which `relvit board` compares, and board.html. About half an hour per
    task for a ViT-B/16 on two cores; an interrupted one goes on.

    Example: relvit measure openai/clip-vit-base-patch16 --out runs/clip-frozen
    """
    if data is not None:
        _check_pictures(data, style, placement)
    check_revision(backbone, revision)
    check_reachable(backbone, revision)
    from ..report.board import board_table, board_text
    from ..study.measure import PAGE, Backbone, measure_backbone, measure_folder

    subject = Backbone(backbone, name, revision, base, device)
    if data is not None:
        record = measure_folder(subject, out, data, settings, say=say)
    else:
        record = measure_backbone(
            subject,
            out,
            settings,
            tasks=task,
            style=style,
            placement=placement,
            say=say,
        )
    table = board_table([record])
    show("measure", table, text=board_text(table))
    say(f"record: {out / 'record.jsonl'}")
    say(f"page: {out / PAGE}")


def _check_pictures(data: Path, style: str | None, placement: Placement) -> None:
    """Your own pictures have their own style and places."""
    if style is not None:
        raise RelViTError(
            f"style {style} with --data {data}: its pictures have their own, leave it out"
        )
    if placement != "grid":
        raise RelViTError(
            f"--placement {placement} with --data {data}: its objects stand where they are, leave it out"
        )


def board(
    records: Annotated[
        list[str],
        typer.Argument(
            help="Files of records, as of `relvit measure`, or Hub ids of repositories that hold some.",
            metavar="RECORDS...",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", help="Folder for the page, the table and the plot.", **OUT_FOLDER),
    ] = Path("board"),
    repo: Annotated[
        str | None,
        typer.Option(
            help="OWNER/NAME of a data set: publish records and board there, beside those of others.",
            metavar="OWNER/NAME",
            callback=hub_name,
        ),
    ] = None,
    public: Public = False,
    dry_run: DryRun = False,
):
    """Records of backbones side by side. Refuses records of unlike measurements, and says in which way they differ.

    Example: relvit board runs/clip-frozen/record.jsonl runs/dino-frozen/record.jsonl --out board
    """
    if repo is None and (public or dry_run):
        raise RelViTError(
            "--public and --dry-run are about publishing: name the data set by --repo"
        )
    from ..hub.records import open_records
    from ..report.board import board_table, board_text, write_board

    found = open_records(records)
    table = board_table(found)
    page = write_board(found, out, "Backbones without fine-tuning")
    show("board", table, text=board_text(table))
    say(page)
    if repo is not None:
        from ..hub.backbones import push_records

        push_records(found, repo, public=public, dry_run=dry_run, say=say)
