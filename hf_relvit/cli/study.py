"""`relvit study`: everything from stimuli to report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .bridge import options, receives
from .habits import Commands, say, show
from .options import Base, ConfigFile, Out

if TYPE_CHECKING:
    from ..study.grid import Study

study = Commands(help="Everything from stimuli to report.")


@options("work", "study.grid:StudyConfig", make=dict)
@options(
    "analyses",
    "study.grid:CausalConfig",
    make=dict,
    prefix="causal",
    panel="Analyses, of the grid unless given",
)
@options(
    "settings",
    "training.config:TrainConfig",
    make=dict,
    panel="Settings, of the study unless given",
)
def planned(
    study: Annotated[
        str,
        typer.Argument(help="A preset (quick, quick-rmts, small, b16, b14, b32) or a grid.yaml."),
    ],
    work: dict,
    analyses: dict,
    settings: dict,
    config: ConfigFile = None,
    only: Annotated[
        str | None,
        typer.Option(
            help="The runs of these names alone, such as '*-seed0'; the report is of them."
        ),
    ] = None,
) -> Study:
    """The parameters of a command about a study, and the study that they plan."""
    from ..study.grid import plan

    whole = plan(study, file=config, analyses=analyses, **work, **settings)
    return whole if only is None else whole.only(only)


@study.command("run")
@receives("plan", planned)
def study_run(
    plan: Study,
    out: Out,
    cell: Annotated[
        int | None, typer.Option(help="Do this cell alone (`relvit study plan` has the numbers).")
    ] = None,
    executor: Annotated[
        Literal["local", "ray"],
        typer.Option(help="Here, or on the Ray cluster of RAY_ADDRESS."),
    ] = "local",
    cpus: Annotated[float, typer.Option(help="With ray: CPUs of a cell.", min=0)] = 1,
    gpus: Annotated[float, typer.Option(help="With ray: GPUs of a cell.", min=0)] = 0,
):
    """Build, train, evaluate, analyze, write report.html. An interrupted study goes on where it was.

    With --executor ray, cells run side by side on a cluster whose machines share --out. With --cell, any job array can
    do a study, cell by cell; the report is written by a last run without it.

    Example: relvit study run quick --out runs/quick
    """
    from ..study.run import run_single, run_study

    if cell is not None:
        say(run_single(plan, out, cell))
    elif executor == "ray":
        from ..study.cluster import run_on_ray

        say(f"report: {run_on_ray(plan, out, cpus=cpus, gpus=gpus)}")
    else:
        say(f"report: {run_study(plan, out, say=say)}")


@study.command("plan", numbers=True)
@receives("plan", planned)
def study_plan(
    plan: Study, out: Annotated[Path, typer.Option("--out", help="Folder of the study.")]
):
    """List the cells of a study with their numbers: which are finished, and the needs of each.

    Example: relvit study plan grid.yaml --out runs/grid
    """
    import pandas as pd

    from ..manifest import is_finished
    from ..study.cells import cells_of

    rows = []
    lines = []
    for run in plan.runs:
        folder = out / run.name
        cells = cells_of(run, plan, folder)
        numbers = {cell.name: number for number, cell in enumerate(cells, len(rows) + 1)}
        for cell in cells:
            number = numbers[cell.name]
            state = "finished" if is_finished(folder / cell.name) else "to do"
            needs = [numbers[need] for need in cell.needs]
            facts = {"number": number, "state": state, "run": run.name, "cell": cell.name}
            rows.append({**facts, "needs": needs})
            after = f"  (after {', '.join(map(str, needs))})" if needs else ""
            lines.append(f"{number:4} {state:9} {run.name}/{cell.name}{after}")
    say(plan.work)
    show("cells", pd.DataFrame(rows), text="\n".join(lines))


@study.command("compact")
def study_compact(
    run: Annotated[
        Path,
        typer.Argument(help="A finished run, such as runs/quick/seed0, or the --out of train."),
    ],
    out: Out,
    lora: Annotated[
        int | None,
        typer.Option(help="Rank of the adapter that a model fine-tuned as a whole becomes.", min=1),
    ] = None,
    base: Base = None,
):
    """A finished run as a few MB: its adapter or small model, alignments and probes in bfloat16, all tables, its card.

    Example: relvit study compact runs/clip/seed0 --out released/clip-discrimination
    """
    from ..study.compact import compact

    say(compact(run, out, lora=lora, base=base, say=say))
