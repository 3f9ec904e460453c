"""A study's cells on a Ray cluster whose machines share a file system (extra: cluster)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import RelViTError
from ..extras import need
from .cell import Cell, run_cell
from .cells import cells_of
from .grid import Study
from .run import open_place, report_study

_PATIENCE = 180  # seconds: a shared disk keeps a lost machine's lock for a while (NFS: 90)
_here: dict[
    tuple[str, str], list[Cell]
] = {}  # of one run: states that its cells share stay in the worker's memory


def run_on_ray(
    study: Study,
    out: Path,
    *,
    cpus: float = 1,
    gpus: float = 0,
    retries: int = 3,
    progress: bool = True,
) -> Path:
    """Do the cells that are not done yet on the cluster that ``RAY_ADDRESS`` names or this machine is part of.

    A cell starts as soon as those it needs are finished. If its worker dies, the cell is done again from its remains
    (training resumes); a finished cell is never done twice. Errors of one cell do not stop the others.

    Args:
        study: of ``grid.plan``.
        out: folder of the study, the same on all machines.
        cpus, gpus: that a cell asks for.
        retries: of a cell whose worker dies.
        progress: show a table.

    Returns:
        The path of ``report.html``.

    Raises:
        RelViTError: ray is not installed, there is no cluster, it has not as many CPUs or GPUs as a cell asks for, or
            cells failed (the message names the first; the others are finished).
    """
    ray = _connected()
    out = Path(out).resolve()
    _check(ray.cluster_resources(), cpus, gpus)
    open_place(study, out)
    work = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=retries)
    remote = work(_do)
    names: dict[Any, tuple[str, str]] = {}
    for run in study.runs:
        references: dict[str, Any] = {}
        for cell in cells_of(run, study, out / run.name):
            needs = [references[name] for name in cell.needs]
            named = remote.options(name=f"{run.name}/{cell.name}")
            reference = named.remote(study, out, run.name, cell.name, *needs)
            references[cell.name] = reference
            names[reference] = (run.name, cell.name)
    failed: dict[tuple[str, str], Exception] = {}
    finished = _shown(ray, names, failed) if progress else _finished(ray, names)
    for reference in finished:
        try:
            ray.get(reference)
        except ray.exceptions.RayError as error:
            failed[names[reference]] = error
    if failed:
        (run, cell), error = next(iter(failed.items()))
        raise RelViTError(
            f"{len(failed)} of {len(names)} cells failed, first {run}/{cell}: {_cause(error)}; finished cells are "
            "kept, mend it and run the same command"
        )
    return report_study(study, out)


def _do(
    study: Study,
    out: Path,
    run: str,
    cell: str,
    *needs: object,
) -> None:
    """One cell, on a worker; Ray waits for ``needs``."""
    key = (str(out), run)
    if key not in _here:
        _here.clear()
        plans = {plan.name: plan for plan in study.runs}
        folder = out / run
        _here[key] = cells_of(plans[run], study, folder)
    cells = {known.name: known for known in _here[key]}
    wanted = cells[cell]
    run_cell(out / run / cell, wanted.settings, wanted.work, patience=_PATIENCE)


def _connected():
    ray = need("ray", "cluster")
    if not ray.is_initialized():
        try:
            ray.init(address="auto", log_to_driver=False, logging_level="error")
        except ConnectionError as error:
            raise RelViTError(
                "no Ray cluster found: start one with `ray start --head`, or set RAY_ADDRESS to that of a running one"
            ) from error
    return ray


def _check(resources: dict[str, float], cpus: float, gpus: float) -> None:
    asked = {"CPU": cpus, "GPU": gpus}
    for kind, wanted in asked.items():
        present = resources.get(kind, 0)
        if wanted > present:
            raise RelViTError(
                f"a cell asks for {wanted:g} {kind}s, the cluster has {present:g}: ask for less"
            )


def _finished(ray, names: dict) -> Iterator[Any]:
    waiting = list(names)
    while waiting:
        done, waiting = ray.wait(waiting, num_returns=1, timeout=1)
        yield from done


def _shown(ray, names: dict, failed: dict) -> Iterator[Any]:
    """As ``_finished``, with a live table: for each run how many cells are done, and the last of them."""
    from rich.live import Live
    from rich.table import Table

    totals = Counter(run for run, _ in names.values())
    done: Counter[str] = Counter()
    last: dict[str, str] = {}

    def table() -> Table:
        drawn = Table("run", "finished", "failed", "last")
        faults = Counter(run for run, _ in failed)
        for run, total in totals.items():
            progress = f"{done[run]} of {total}"
            drawn.add_row(run, progress, str(faults[run]), last.get(run, ""))
        return drawn

    with Live(table(), refresh_per_second=2) as live:
        for reference in _finished(ray, names):
            yield reference  # which the caller looks at before the table is drawn again
            run, cell = names[reference]
            if (run, cell) not in failed:
                done[run] += 1
            last[run] = cell
            live.update(table())


def _cause(error: BaseException) -> str:
    """The last line of an error on the worker."""
    lines = str(getattr(error, "cause", None) or error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
