"""`relvit demo`: intervene on a model in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .habits import Commands, say
from .options import Base, DryRun, Public, Repo

space = Commands(help="The demo as a Space on the Hugging Face Hub.")


def demo(
    run: Annotated[
        Path | None, typer.Option(help="Run of a study to serve, such as runs/quick/seed0.")
    ] = None,
    base: Base = None,
    port: Annotated[
        int | None, typer.Option(help="7860 or the next free one by default.", min=1, max=65535)
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen at; this machine only by default.")
    ] = None,
):
    """Compose scenes, swap, steer and inject in the browser. Needs gradio, the extra "demo" of the package.

    Without --run it serves the released models; CLIP among them where its base is there. A run of
    yours is prepared first, once: its missing measurements are made, which takes a minute or two
    for a small model.

    Example: relvit demo --base build/clip-vit-b16
    """
    from hf_relvit.spaces.interventions.app import check_gradio, models, start

    check_gradio()
    folders = models()
    if run is not None:
        from hf_relvit.spaces.interventions.assets import build_assets, fresh

        folder = run / "demo" / run.resolve().name
        if not fresh(folder, run):
            say(f"preparing {run} for the demo ...")
            build_assets(run, folder, base=base)
        folders = [folder]
    start(folders, base=base, host=host, port=port)


@space.command("push")
def space_push(
    repo: Repo,
    base: Annotated[
        str | None,
        typer.Option(
            help="Hub id of the adapters' backbone, if it was a folder here.", metavar="OWNER/NAME"
        ),
    ] = None,
    public: Public = False,
    dry_run: DryRun = False,
):
    """Publish the demo with the models that come with the package. A second push of the same changes nothing.

    Example: relvit space push --repo relvit/interventions --dry-run
    """
    from hf_relvit.spaces.interventions.publish import push_space

    push_space(repo, base=base, public=public, dry_run=dry_run, say=say)
