"""`relvit push` and `relvit hub`: runs on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .habits import Commands, say, show
from .options import OUT_FOLDER, DryRun, Public, Repo

hub = Commands(help="Published runs.")


def push(
    run: Annotated[
        Path,
        typer.Argument(help="A run of a study, such as runs/quick/seed0, or the --out of train."),
    ],
    repo: Repo,
    base: Annotated[
        str | None,
        typer.Option(
            help="Hub id of an adapter's backbone, if it was a folder here.", metavar="OWNER/NAME"
        ),
    ] = None,
    subfolder: Annotated[
        str | None,
        typer.Option(
            help="RUN is one result, such as the --out of `relvit analyze`: its place in the repository.",
            metavar="FOLDER",
        ),
    ] = None,
    public: Public = False,
    dry_run: DryRun = False,
):
    """Publish a run: checkpoint, tables, figures, alignments, probes and a card; or the result of one analysis. The
    same command goes on if it was interrupted, and changes nothing the second time.

    Example: relvit push runs/quick/seed0 --repo relvit/quick --dry-run
    """
    from ..analysis.results import open_result
    from ..errors import RelViTError
    from ..hub.runs import push as send
    from ..hub.runs import push_result

    if subfolder is None:
        send(run, repo, base=base, public=public, dry_run=dry_run, say=say)
        return
    if base is not None:
        raise RelViTError(
            f"--base {base} with --subfolder: one result has no backbone; leave it out"
        )
    result = open_result(run)
    push_result(
        result,
        repo,
        subfolder=subfolder,
        public=public,
        dry_run=dry_run,
        say=say,
    )


@hub.command("compare", numbers=True)
def hub_compare(
    ids: Annotated[
        list[str],
        typer.Argument(help="Hub ids of published runs, or folders of runs.", metavar="ID..."),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", help="Folder for the page, tables and plots.", **OUT_FOLDER),
    ] = Path("comparison"),
):
    """Put published runs side by side: accuracies, and disentanglement against generalization. Reads no weights.

    Example: relvit hub compare relvit/quick relvit/quick-seed1 --out comparison
    """
    from ..hub.leaderboard import compare, save

    boards = compare(ids, say=say)
    for board in boards:
        show(board.task, board.frame, text=board.text())
    say(save(boards, out))
