"""From a preset or a grid to a report, cell by cell."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ..errors import RelViTError
from ..limits import duration
from ..manifest import is_finished
from ..owned import check_free, claim
from ..places import check_out
from ..report.run_folder import RunFolder, StudyFolder
from ..training.resolved import check_model
from ..training.setup import check_tracker
from .cell import Cell, run_cell
from .cells import cells_of
from .grid import Run, Study


def run_study(study: Study, out: Path, *, say: Callable[[str], object] = print) -> Path:
    """Do the cells that are not done yet, one after the other, then write the report.

    Each run has a folder of its own, with a folder for each cell; see ``cells.cells_of`` and ``cell.run_cell``.

    Args:
        study: of ``grid.plan``.
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
