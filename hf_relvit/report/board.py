"""A board: records of backbones side by side, as a table, a figure and a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..claims import exceeds_controls
from ..errors import RelViTError
from ..figures.battery import board_figure
from ..files import write_table
from ..measurements import Measurement
from ..schemas import BackboneRecord
from ..tables import records as records_of
from ..words import MEASURE_NAMES
from .kinds import kinds_of
from .pages import embedded, save_figures, write_page
from .records import check_alike

CONTROLS = {
    "shuffled": "shuffled",
    "places": "places",
    "subspace": "random directions",
    "wrong_object": "wrong object",
}
"""Controls beside random weights, as the board calls them; a record has those that its measures have."""


def board_table(records: Sequence[BackboneRecord]) -> pd.DataFrame:
    """One row per record and number: ``model`` and the keys of ``schemas.BackboneValue``, with ``claimed``.

    ``claimed`` says whether the interval lies above those of all controls: random weights, guessing, shuffled labels
    and places (``claims.exceeds_controls``).

    Raises:
        RelViTError: records of unlike measurements, or two of one model.
    """
    check_alike(records)
    names = [record["model"] for record in records]
    if twice := {name for name in names if names.count(name) > 1}:
        raise RelViTError(
            f"{min(twice)} has several records: expected one per backbone; leave out all but one, "
            "or measure it under another --name"
        )
    rows = []
    for record in records:
        for value in record["values"]:
            row = {
                "model": record["model"],
                **value,
                "claimed": _claimed(value),
            }
            rows.append(row)
    return pd.DataFrame(rows)


def _measured(value: Mapping[str, Any]) -> Measurement:
    """A number of a record, or a row of the table, as every page shows one."""
    return Measurement(
        MEASURE_NAMES[value["measure"]],
        value["value"],
        value["ci_low"],
        value["ci_high"],
        value["n"],
        floor=value["floor"],
    )


def _claimed(value: Mapping[str, Any]) -> bool:
    n = value["n"]
    low, high = value["random_low"], value["random_high"]
    controls = [Measurement("random weights", value["random"], low, high, n)]
    for name in CONTROLS:
        end = value.get(f"{name}_high")
        if end is not None:
            controls.append(Measurement(name, end, end, end, n))
    return exceeds_controls(_measured(value), controls)


def board_text(table: pd.DataFrame) -> str:
    """The board for the terminal: for each task and measure a line per backbone; a star where no claim can be made."""
    width = max(len(name) for name in table.model)
    lines = []
    for (task, measure), rows in table.groupby(["task", "measure"], sort=False):
        lines.append(f"{MEASURE_NAMES[str(measure)]} ({task})")
        lines += [_line(row, width) for row in rows.itertuples()]
    lines.append("* not above all of its controls")
    lines += _remarks(table)
    lines += [f"{row.model} ({row.task}): {row.kind}" for row in kinds_of(table).itertuples()]
    return "\n".join(lines)


def _remarks(table: pd.DataFrame) -> list[str]:
    """Which backbones lack a measure that others have: their records are older, or it could not be asked."""
    lines = []
    for (task, measure), rows in table.groupby(["task", "measure"], sort=False):
        of_task = table[table.task == task]
        missing = sorted(set(of_task.model) - set(rows.model))
        if missing:
            lines.append(
                f"not measured: {MEASURE_NAMES[str(measure)]} ({task}) of {', '.join(missing)}"
            )
    return lines


def _line(row: Any, width: int) -> str:
    star = " " if row.claimed else "*"
    layer = f"layer {row.layer:2}" if row.layer >= 0 else "      -"
    controls = [f"random weights {row.random:.3f}"]
    for name in (*CONTROLS, "floor"):
        value = getattr(row, name, None)
        if not pd.isna(value):
            controls.append(f"{CONTROLS.get(name, name)} {value:.3f}")
    measured = _measured(row._asdict())
    number = f"{measured.value:.3f}{star} [{measured.interval}]"
    return f"  {row.model:{width}}  {layer}  {number}  {', '.join(controls)}"


def write_board(
    records: Sequence[BackboneRecord],
    out: Path,
    title: str,
    curves: Path | None = None,
    edits: Path | None = None,
) -> Path:
    """Write ``board.html``, ``board.parquet`` and the figure into a folder.

    Args:
        records: one or more.
        out: the folder.
        title: of the page.
        curves: a figure by layer, of a single record; none by default.
        edits: a figure of its edits, likewise.

    Returns:
        The path of the page.

    Raises:
        RelViTError: as ``board_table``.
    """
    table = board_table(records)
    write_table(out / "board.parquet", table)
    picture = save_figures(board_figure(table), out / "board")
    return write_page(
        out / "board.html",
        "board.html",
        title=title,
        lead="Numbers on test scenes, with 95 % intervals; validation scenes chose the layer.",
        image=embedded(picture),
        curves=embedded(curves) if curves else None,
        edits=embedded(edits) if edits else None,
        kinds=records_of(kinds_of(table)),
        remarks=_remarks(table),
        records=records,
        tasks=_by_task(table),
    )


def _by_task(table: pd.DataFrame) -> list[tuple[str, Any]]:
    whole = table.astype(object).where(table.notna(), None)
    by_task = whole.groupby("task", sort=False)
    return [(str(task), _groups(rows)) for task, rows in by_task]


def _groups(table: pd.DataFrame) -> list[tuple[str, list[Any]]]:
    """Of a task: each measure by its name, with its rows, and None where there is no such number."""
    groups = []
    for measure, rows in table.groupby("measure", sort=False):
        name = MEASURE_NAMES[str(measure)]
        pairs = [(row, _measured(row)) for row in records_of(rows)]
        groups.append((name, pairs))
    return groups
