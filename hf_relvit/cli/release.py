"""`relvit release`: the whole house on the Hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .habits import say, show
from .options import DryRun, Public

if TYPE_CHECKING:
    from ..hub.release import Part
    from ..schemas import BackboneRecord

SPACE = "interventions"


def release(
    owner: Annotated[str, typer.Option("--owner", help="User or organization on the Hub.")],
    data: Annotated[
        Path, typer.Option("--data", help="Folder of the data sets, as of `relvit data build`.")
    ] = Path("data"),
    models: Annotated[Path, typer.Option("--models", help="Folder of the runs to publish.")] = Path(
        "released"
    ),
    records: Annotated[
        Path,
        typer.Option("--records", help="Folder of records of backbones, as of `relvit measure`."),
    ] = Path("docs/results/records"),
    base: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the adapters' backbone, to publish beside them under its name, such as build/clip-vit-b16."
        ),
    ] = None,
    configs: Annotated[
        list[str] | None,
        typer.Option("--only", help="Configs to build, such as 'rmts/b16-*'; all by default."),
    ] = None,
    build: Annotated[
        bool, typer.Option(help="Build the configs that are not there; otherwise they are missing.")
    ] = True,
    public: Public = False,
    dry_run: DryRun = False,
):
    """Publish all data sets, the released models, their benchmark, the records of backbones, the Space, and a
    collection. Everything is looked at before anything is sent; an interrupted release goes on, a second one changes
    nothing.

    Example: relvit release --owner YOUR_NAME --dry-run
    """
    import pandas as pd

    from ..hub.client import check_id, signed_in
    from ..hub.release import release as publish

    check_id(f"{owner}/{SPACE}")
    if not dry_run:
        signed_in(f"{owner}/{SPACE}")  # before hours of building
    wanted = dict(_configs(configs or ["*"]))
    if build and not dry_run:
        _build(wanted, data)
    parts = [
        *(_dataset(owner, data / name, names) for name, names in wanted.items()),
        *_bases(owner, base),
        *_models(owner, models, base),
        _benchmark(owner, models),
        *_backbones(owner, records),
        _space(owner, base),
    ]
    if build and dry_run and any(part.missing for part in parts):
        say("a dry run builds no data: a release first builds the configs that are missing here")
    outcomes = publish(parts, owner, public=public, dry_run=dry_run, say=say)
    table = pd.DataFrame([asdict(outcome) for outcome in outcomes])
    show("release", table, ["repo", "repo_type", "state", "missing"])


RELEASED = ("discrimination", "rmts", "counterfactuals", "photorealistic")
"""Data sets of a release: those of the paper. Other tasks are built by their command."""


def _configs(patterns: list[str]) -> Iterator[tuple[str, list[str]]]:
    """(data set, its configs that match a pattern), in the order of publishing."""
    from ..building.build import BUILDERS

    for name in RELEASED:
        known = [config.name for config in BUILDERS[name].BUILDER_CONFIGS]
        if name == "counterfactuals":
            known = [config for config in known if config.startswith(RELEASED)]
        matching = [c for c in known if any(fnmatch(f"{name}/{c}", p) for p in patterns)]
        yield name, matching


def _build(wanted: dict[str, list[str]], data: Path) -> None:
    """Build absent configs; one that cannot be built here is missing then, and named."""
    from ..building.build import build
    from ..building.settings import BuildConfig
    from ..errors import RelViTError

    for name, configs in wanted.items():
        for config in configs:
            if (data / name / config / "manifest.json").exists():
                continue
            say(f"building {name}/{config} ...")
            try:
                build(BuildConfig(name, config), data / name, processes=2, say=say)
            except RelViTError as error:
                say(f"not built: {name}/{config}: {error}")


def _dataset(owner: str, folder: Path, configs: list[str]) -> Part:
    from ..building.card import MARK
    from ..hub.datasets import push_dataset
    from ..hub.release import Part

    name = folder.name
    there = {path.parent.name for path in folder.glob("*/manifest.json")}
    missing = tuple(config for config in configs if config not in there)
    push = partial(push_dataset, name, folder, f"{owner}/{name}") if there else None
    return Part(f"{owner}/{name}", "dataset", MARK, f"Stimuli: {name}", push, missing)


def _bases(owner: str, folder: Path | None) -> Iterator[Part]:
    from ..hub.bases import MARK, push_base
    from ..hub.release import Part

    if folder is not None:
        repo = _base_id(owner, folder)
        yield Part(
            repo, "model", MARK, "Backbone of the adapters", partial(push_base, folder, repo)
        )


def _base_id(owner: str, folder: Path) -> str:
    return f"{owner}/{folder.resolve().name}"


def _models(owner: str, folder: Path, base: Path | None) -> Iterator[Part]:
    from ..hub.release import Part
    from ..hub.runs import push
    from ..modeling.adapters import is_adapter
    from ..report.card import MARK
    from ..report.run_folder import RunFolder

    runs = _runs(folder)
    for run in runs:
        adapted = is_adapter(RunFolder.open(run).training.model)
        backbone = _base_id(owner, base) if base is not None and adapted else None
        send: Callable[..., object] = partial(push, run, f"{owner}/{run.name}", base=backbone)
        yield Part(f"{owner}/{run.name}", "model", MARK, "Model with its measurements", send)
    if not runs:
        say(f"missing: models, as {folder} holds no run; see relvit study compact")


def _runs(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.is_dir()) if folder.is_dir() else []


def _benchmark(owner: str, folder: Path) -> Part:
    from ..errors import RelViTError
    from ..hub.benchmark import MARK, NAME, boards_of, push_benchmark
    from ..hub.release import Part

    repo = f"{owner}/{NAME}"
    note = "Accuracy of the models on every split"
    runs = {f"{owner}/{run.name}": run for run in _runs(folder)}
    try:
        boards = boards_of(runs, say=say)
    except RelViTError as error:
        return Part(repo, "dataset", MARK, note, None, (str(error),))
    return Part(repo, "dataset", MARK, note, partial(push_benchmark, boards, repo))


def _backbones(owner: str, folder: Path) -> Iterator[Part]:
    """A board per geometry of scenes, since records of two are never compared."""
    from ..errors import RelViTError
    from ..hub.backbones import MARK, push_records
    from ..hub.release import Part
    from ..report.board import board_table
    from ..report.records import read_records

    boards: dict[str, list[BackboneRecord]] = {}
    for file in sorted(folder.glob("*.jsonl")):
        for record in read_records(file):
            boards.setdefault(record["geometry"], []).append(record)
    for geometry, found in boards.items():
        repo = f"{owner}/backbones-{geometry}"
        note = "Backbones without fine-tuning"
        try:
            board_table(found)
        except RelViTError as error:
            yield Part(repo, "dataset", MARK, note, None, (str(error),))
        else:
            yield Part(repo, "dataset", MARK, note, partial(push_records, found, repo))


def _space(owner: str, base: Path | None) -> Part:
    from hf_relvit.spaces.interventions.publish import MARK, push_space, space_files

    from ..errors import RelViTError
    from ..hub.release import Part

    repo = f"{owner}/{SPACE}"
    note = "Demo: change a scene or a state"
    try:
        space_files()
    except RelViTError as error:
        return Part(repo, "space", MARK, note, None, (str(error),))
    backbone = None if base is None else _base_id(owner, base)
    return Part(repo, "space", MARK, note, partial(push_space, repo, base=backbone))
