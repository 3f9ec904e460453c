"""From a preset or a grid to a report, cell by cell."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ..errors import RelViTError
from ..limits import duration
from ..manifest import is_finished
from ..owned import check_free, claim
from ..places import check_out
from ..report.folder import (
    ATTENTION,
    DATA,
    EVALUATION,
    TRAINING,
    RunFolder,
    StudyFolder,
    write_accuracy,
)
from ..training.config import TrainConfig
from ..training.resolved import check_model
from ..training.setup import check_tracker
from .cells import Cell, run_cell
from .plan import Run, Study

ATTENTION_SCENES = 500  # the paper's: 250 same, 250 different


def run_study(study: Study, out: Path, *, say: Callable[[str], object] = print) -> Path:
    """Do the cells that are not done yet, one after the other, then write the report.

    Each run has a folder of its own, with a folder for each cell; see ``cells_of`` and ``cells.run_cell``.

    Args:
        study: of ``plan.plan``.
        out: folder of the study.
        say: is told what happens.

    Returns:
        The path of ``report.html``.

    Raises:
        RelViTError: ``out`` holds cells of other settings.
    """
    out = Path(out)
    open_place(study, out)
    say(study.work)
    seconds = []
    for number, run in enumerate(study.runs, 1):
        began = time.monotonic()
        if _run(run, study, out, say):
            seconds.append(time.monotonic() - began)
        remaining = len(study.runs) - number
        if seconds and remaining:
            mean = sum(seconds) / len(seconds)
            rest = duration(mean * remaining)
            say(
                f"{number} of {len(study.runs)} runs: about {rest} more at {duration(mean)} per run"
            )
    say("report ...")
    return report_study(study, out)


def _run(
    run: Run,
    study: Study,
    out: Path,
    say: Callable[[str], object],
) -> bool:
    """Do the cells of a run; returns whether any was left to do."""
    folder = out / run.name
    where = f"{run.name}, " if len(study.runs) > 1 else ""
    cells = cells_of(run, study, folder)
    worked = False
    for number, cell in enumerate(cells, 1):
        heading = f"[{where}{number}/{len(cells)}] {cell.name}"
        work = partial(_announced, cell, f"{heading} ...", say)
        if run_cell(folder / cell.name, cell.settings, work):
            worked = True
        else:
            say(f"{heading}: finished before")
    return worked


def open_place(study: Study, out: Path) -> None:
    """Check the models and trackers of a study, then its folders: files of others stay theirs.

    Raises:
        RelViTError: a model that cannot be built, a tracker that is not installed, or a file of somebody else that the
            report would overwrite.
    """
    for config in study.distinct_settings:
        check_model(config)
        check_tracker(config.report_to)
    reports = [RunFolder(out / run.name).report for run in study.runs]
    claim_reports(out, [StudyFolder(out).report, *reports])


def claim_reports(out: Path, reports: Sequence[Path]) -> None:
    """Check that a folder can be written to, and that the names of the reports in it are free or ours.

    Raises:
        RelViTError: it cannot, or they are taken by files of somebody else.
    """
    check_out(out)
    for report in reports:
        claim(report.parent)
        check_free(report)


def _announced(
    cell: Cell,
    words: str,
    say: Callable[[str], object],
    folder: Path,
) -> None:
    say(words)
    cell.work(folder)


def report_study(study: Study, out: Path) -> Path:
    """Write the report of a study whose cells are finished.

    Returns:
        The path of ``report.html``.

    Raises:
        RelViTError: it could not be written; no finished cell is lost by that.
    """
    from ..report.run_page import write_report

    runs = {run.name: run.config for run in study.runs}
    try:
        return write_report(
            study.name,
            runs,
            out,
            photorealistic=study.photorealistic is not None,
            analyses=study.causal.analyses if study.causal is not None else (),
        )
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, OSError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise RelViTError(
            f"all cells in {out} are finished and kept, but the report cannot be drawn ({reason}): run the same "
            "command again, and if that does not help report this line as a fault of hf_relvit"
        ) from error


def run_single(study: Study, out: Path, number: int) -> Path:
    """Do one cell of a study, for any job array; the report comes with ``run_study`` when all are done.

    Args:
        number: of the cell, from 1, over all runs in their order; ``relvit study plan`` lists them.

    Returns:
        Its folder.

    Raises:
        RelViTError: no such cell, a cell that it needs is not finished, or as ``run_study``.
    """
    cells: dict[str, tuple[Path, Cell]] = {}
    for run in study.runs:
        folder = Path(out) / run.name
        for cell in cells_of(run, study, folder):
            cells[f"{run.name}/{cell.name}"] = (folder, cell)
    names = list(cells)
    if not 1 <= number <= len(names):
        raise RelViTError(f"cell {number}: expected 1 to {len(names)}, see `relvit study plan`")
    name = names[number - 1]
    folder, cell = cells[name]
    for need in cell.needs:
        if not is_finished(folder / need):
            needed = f"{folder.name}/{need}"
            first = names.index(needed) + 1
            raise RelViTError(f"cell {number} ({name}) needs {needed}: run cell {first} first")
    open_place(study, Path(out))
    run_cell(folder / cell.name, cell.settings, cell.work)
    return folder / cell.name


def cells_of(plan: Run, study: Study, folder: Path) -> list[Cell]:
    """The cells of a run in the order of their needs; ``folder`` is the run's."""
    config = plan.config
    run = RunFolder(folder)
    cells = [
        Cell(DATA, partial(_data, config)),
        Cell(TRAINING, partial(_training, config)),
        Cell(EVALUATION, partial(_evaluation, config, run), (DATA, TRAINING)),
        Cell(ATTENTION, partial(_attention, config, run), (TRAINING,)),
    ]
    cells = [dataclasses.replace(cell, settings=config.to_dict()) for cell in cells]
    if study.photorealistic is not None:
        from .photorealistic import photorealistic_cells

        cells += photorealistic_cells(config, study.photorealistic, folder)
    if study.causal is not None:
        from .causal import causal_cells

        cells += causal_cells(config, study.causal, folder)
    return cells


def _data(config: TrainConfig, folder: Path) -> None:
    from ..building.build import build
    from ..building.settings import BuildConfig

    cores = os.cpu_count() or 1
    processes = min(cores // 2, config.n_eval // 500)  # does not change the rows
    settings = BuildConfig(
        config.task,
        f"{config.geometry}-{config.combinations}",
        n_train=config.n_eval if config.fresh else config.n_train,
        n_eval=config.n_eval,
        seed=config.seed,
        masks=config.objects,
        palette=config.palette,
    )
    build(settings, folder, processes=max(processes, 1))


def _training(config: TrainConfig, folder: Path) -> None:
    from ..report.card import write_training_card
    from ..training.run import train

    write_training_card(train(config, folder))


def _evaluation(config: TrainConfig, run: RunFolder, folder: Path) -> None:
    from ..building.folder import open_folder
    from ..training.evaluation import evaluate
    from ..training.precision import training_autocast

    checkpoint = run.checkpoint()
    splits = open_folder(run.cell(DATA), f"{config.geometry}-{config.combinations}")
    tests = {split: scenes for split, scenes in splits.items() if split != "train"}
    with training_autocast(config):
        table = evaluate(checkpoint, tests, progress=True)
    write_accuracy(folder, table, seed=config.seed, processor=checkpoint.processor.fingerprint)


def _attention(config: TrainConfig, run: RunFolder, folder: Path) -> None:
    from ..analysis.attention import measure_attention, save_viewer
    from ..training.precision import training_autocast

    checkpoint = run.checkpoint()
    scenes = config.distribution().sample("test", ATTENTION_SCENES)
    with training_autocast(config):
        stages = measure_attention(checkpoint, scenes, progress=True)
    stages.save(folder)
    stages.plot(folder / "attention")
    save_viewer(checkpoint, scenes, stages, folder / run.viewer.name)
