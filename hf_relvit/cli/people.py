"""`relvit people`: the same pictures for people and for models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .bridge import options
from .habits import Commands, say, show
from .options import OUT_FOLDER, Base, Device, Out, SceneSeed

people = Commands(help="Experiments for people, and their answers beside those of models.")


@people.command("export")
@options("settings", "report.experiment:ExperimentConfig")
def people_export(
    task: Annotated[str, typer.Argument(help="discrimination or rmts.")],
    settings,
    out: Out,
    config: Annotated[
        str, typer.Option(help="GEOMETRY-COMBINATIONS, such as b16-32 or quick-256.")
    ] = "b16-256",
    seed: SceneSeed = 0,
):
    """A folder whose index.html is an experiment, in any browser, without a network (jsPsych).

    Each person keeps a file answers-NAME.csv; nothing is sent anywhere. `index.html?participant=NAME` names a person.

    Example: relvit people export rmts --config b16-256 --out experiment
    """
    from ..geometry import parse_config
    from ..report.experiment import write_experiment
    from ..stimuli.distribution import SceneDistribution

    geometry, combinations = parse_config(config)
    distribution = SceneDistribution(task, geometry, combinations, seed=seed)
    say(write_experiment(distribution, settings, out))


@people.command("compare", numbers=True)
def people_compare(
    experiment: Annotated[Path, typer.Argument(help="Folder of `relvit people export`.")],
    answers: Annotated[list[Path], typer.Argument(help="Files that people kept.")],
    model: Annotated[
        list[str] | None,
        typer.Option(help="Checkpoint to answer the same pictures; may be repeated."),
    ] = None,
    base: Base = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(help="Of the bootstrap.", min=0)] = 0,
    out: Annotated[
        Path, typer.Option("--out", help="Folder for the tables and the figure.", **OUT_FOLDER)
    ] = Path("people"),
):
    """How often are people and models right, and do they err on the same pictures?

    Error consistency (kappa, arXiv 2006.16736): 0 for independent errors, 1 for the same ones.

    Example: relvit people compare experiment answers-*.csv --model runs/quick/seed0/training/model
    """
    from ..figures.people import people_figure
    from ..files import write_table
    from ..modeling.checkpoints import Checkpoint
    from ..report.pages import save_figures
    from ..study.people import compare_people

    opened = {
        name: Checkpoint.open(place, base=base, device=device)
        for name, place in _names(model or []).items()
    }
    observers, pairs = compare_people(experiment, answers, opened, seed=seed, progress=True)
    write_table(out / "observers.parquet", observers)
    write_table(out / "pairs.parquet", pairs)
    whole = observers[observers.condition == "all"]
    columns = ("observer", "kind", "accuracy", "ci_low", "ci_high", "n", "median_rt")
    show("observers", whole, columns)
    if len(pairs):
        save_figures(people_figure(observers, pairs), out / "people")
        show("pairs", pairs, ("first", "second", "kappa", "ci_low", "ci_high", "agreement", "n"))
        say(out / "people.png")


def _names(models: list[str]) -> dict[str, str]:
    """A short name for each checkpoint: the end of its path, or all of it where two end alike."""
    short = [_short(each) for each in models]
    unique = len({*short}) == len(short)
    return dict(zip(short if unique else models, models))


def _short(checkpoint: str) -> str:
    parts = [part for part in Path(checkpoint).parts if part not in ("training", "model")]
    return parts[-1] if parts else checkpoint
