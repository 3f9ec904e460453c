"""`relvit study`: everything from stimuli to report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import RelViTError
from .options import ConfigFile, Out, Seed

study = typer.Typer(help="Everything from stimuli to report.", no_args_is_help=True)

Target = Annotated[
    str, typer.Argument(help="A preset (quick, quick-rmts, small, b16, b14, b32) or a grid.yaml.")
]
Images = Annotated[int | None, typer.Option(help="Images seen in training.")]
Seeds = Annotated[
    int | None,
    typer.Option(
        help="Runs of each setting, with seeds from --seed upwards; the grid's number, or 1.", min=1
    ),
]
Causal = Annotated[bool, typer.Option(help="Alignments, novel representations, probes, steering.")]
Photorealistic = Annotated[
    Path | None,
    typer.Option(
        help="Folder of `relvit data build photorealistic`, to test discrimination models on."
    ),
]


@study.command("run")
def study_run(
    study: Target,
    out: Out,
    config: ConfigFile = None,
    images: Images = None,
    seed: Seed = None,
    seeds: Seeds = None,
    causal: Causal = True,
    photorealistic: Photorealistic = None,
    cell: Annotated[
        int | None, typer.Option(help="Do this cell alone (`relvit study plan` has the numbers).")
    ] = None,
    executor: Annotated[
        str, typer.Option(help="local, or ray: on the Ray cluster of RAY_ADDRESS.")
    ] = "local",
    cpus: Annotated[float, typer.Option(help="With ray: CPUs of a cell.", min=0)] = 1,
    gpus: Annotated[float, typer.Option(help="With ray: GPUs of a cell.", min=0)] = 0,
):
    """Build, train, evaluate, analyze, write report.html. An interrupted study goes on where it was.

    With --executor ray, cells run side by side on a cluster whose machines share --out. With --cell, any job array can
    do a study, cell by cell; the report is written by a last run without it.

    Example: relvit study run quick --out runs/quick
    """
    from ..study.plan import plan
    from ..study.run import run_single, run_study

    given = {"causal": causal, "photorealistic": photorealistic, "images": images, "seed": seed}
    planned = plan(study, seeds=seeds, file=config, **given)
    if executor not in ("local", "ray"):
        raise RelViTError(f"unknown executor {executor!r}: expected local or ray")
    if cell is not None:
        typer.echo(run_single(planned, out, cell))
    elif executor == "ray":
        from ..study.cluster import run_on_ray

        typer.echo(f"report: {run_on_ray(planned, out, cpus=cpus, gpus=gpus)}")
    else:
        typer.echo(f"report: {run_study(planned, out, say=typer.echo)}")


@study.command("plan")
def study_plan(
    study: Target,
    out: Out,
    config: ConfigFile = None,
    images: Images = None,
    seed: Seed = None,
    seeds: Seeds = None,
    causal: Causal = True,
    photorealistic: Photorealistic = None,
):
    """List the cells of a study with their numbers: which are finished, and what each needs.

    Example: relvit study plan grid.yaml --out runs/grid
    """
    from ..manifest import is_finished
    from ..study.plan import plan
    from ..study.run import cells_of

    given = {"causal": causal, "photorealistic": photorealistic, "images": images, "seed": seed}
    planned = plan(study, seeds=seeds, file=config, **given)
    cells = [
        (run.name, cell) for run in planned.runs for cell in cells_of(run, planned, out / run.name)
    ]
    numbers = {(run, cell.name): number for number, (run, cell) in enumerate(cells, 1)}
    for (run, name), number in numbers.items():
        cell = cells[number - 1][1]
        state = "finished" if is_finished(out / run / name) else "to do"
        needs = ", ".join(str(numbers[run, need]) for need in cell.needs)
        typer.echo(f"{number:4} {state:9} {run}/{name}{f'  (after {needs})' if needs else ''}")
