"""`relvit study`: everything from stimuli to report."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import ConfigFile, Out, Seed

study = typer.Typer(help="Everything from stimuli to report.", no_args_is_help=True)


@study.command("run")
def study_run(
    study: Annotated[str, typer.Argument(help="A preset (quick, quick-rmts, small, b16, b14, b32) or a grid.yaml.")],
    out: Out,
    config: ConfigFile = None,
    images: Annotated[int | None, typer.Option(help="Images seen in training.")] = None,
    seed: Seed = None,
    seeds: Annotated[int, typer.Option(help="Runs of each setting, with seeds from --seed upwards.")] = 1,
    causal: Annotated[bool, typer.Option(help="Alignments, novel representations, probes, steering.")] = True,
):
    """Build, train, evaluate, analyze, write report.html. An interrupted study goes on where it was.

    Example: relvit study run quick --out runs/quick
    """
    from ..study.plan import plan
    from ..study.run import run_study

    planned = plan(study, seeds=seeds, file=config, causal=causal, images=images, seed=seed)
    report = run_study(planned, out, say=typer.echo)
    typer.echo(f"report: {report}")
