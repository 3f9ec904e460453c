"""A record: one backbone's numbers of the battery as one line of JSON, which others can read, compare and make again.

A record names everything that its numbers depend on: protocol, settings, scenes, processor, weights. Its last key is a
checksum over the rest, so a number that was changed by hand is noticed.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from .. import __version__
from ..errors import RelViTError
from ..files import write_text
from ..schemas import BackboneRecord, check_shape
from ..tables import records as rows_of
from ..tables import select
from ..words import MEASURE_NAMES

PROTOCOL = 1
"""Of the battery. Another measurement, or another way to choose the layer, is another protocol."""
MAX_BYTES = 20_000_000
"""Of a file of records; one of ours has 5 kB."""

LIKE = ("protocol", "geometry", "objects", "settings")
"""Keys that two records must share to be compared."""


def record_values(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The ``values`` of a record.

    Args:
        frame: of both batteries of all tasks, with the columns ``task`` and ``weights``.
    """
    chosen = frame[frame.chosen]
    values = []
    for row in rows_of(chosen, weights="trained", condition="trained"):
        same = select(chosen, task=row["task"], measure=row["measure"])
        random = rows_of(same, weights="random", condition="trained")[0]
        value = {
            "measure": row["measure"],
            "task": row["task"],
            "layer": int(row["layer"]),
            "value": float(row["value"]),
            "ci_low": float(row["ci_low"]),
            "ci_high": float(row["ci_high"]),
            "n": int(row["n"]),
            "floor": None if math.isnan(row["floor"]) else float(row["floor"]),
            "random": float(random["value"]),
            "random_low": float(random["ci_low"]),
            "random_high": float(random["ci_high"]),
        }
        for control in ("shuffled", "places"):
            found = rows_of(same, weights="trained", condition=control)
            value[control] = float(found[0]["value"]) if found else None
            value[f"{control}_high"] = float(found[0]["ci_high"]) if found else None
        values.append(value | _of_edits(rows_of(same, weights="trained")))
    return values


def _of_edits(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The controls of an edit among the rows of a measure; none of others."""
    controls = {"subspace": ("subspace", "varying"), "wrong_object": ("wrong_object",)}
    values = {}
    for name, conditions in controls.items():
        found = [row for row in rows if row["condition"] in conditions]
        if found:
            strongest = max(found, key=lambda row: row["ci_high"])
            values[name] = float(strongest["value"])
            values[f"{name}_high"] = float(strongest["ci_high"])
    return values


def sealed(record: dict[str, Any]) -> Any:
    """The record with its checksum as the last key."""
    rest = {key: value for key, value in record.items() if key != "checksum"}
    text = json.dumps(rest, sort_keys=True, allow_nan=False)
    return {**rest, "checksum": hashlib.sha256(text.encode()).hexdigest()[:16]}


def write_records(path: Path, records: Sequence[Any]) -> None:
    """A file of records, a line of JSON each."""
    lines = [json.dumps(record, allow_nan=False) for record in records]
    write_text(path, "\n".join(lines) + "\n")


def read_records(path: Path, name: str | None = None) -> list[BackboneRecord]:
    """The records of a file, which somebody else may have written.

    Args:
        path: of the file.
        name: in messages; its path by default.

    Raises:
        RelViTError: no such file, one that is too large, a line that is no record, one that was changed by hand, or
            one that names a measure that this version does not know.
    """
    name = name or str(path)
    if not path.is_file():
        raise RelViTError(
            f"no records in {name}: expected a file such as the record.jsonl of `relvit measure`, "
            "or a Hub id, OWNER/NAME"
        )
    check_file_size(name, path.stat().st_size)
    found = []
    text = path.read_text("utf-8", errors="replace")
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            found.append(_record(line, f"{name}, line {number}"))
    if not found:
        raise RelViTError(f"{name} is empty: expected a line of JSON per record")
    return found


def check_file_size(name: str, size: int) -> None:
    """Raise RelViTError for a file that is too large to be one of records; ``size`` in bytes."""
    if size > MAX_BYTES:
        raise RelViTError(f"{name} has {size / 1e6:.0f} MB: expected records, of some kB each")


def _record(line: str, where: str) -> BackboneRecord:
    cure = "measure the backbone again"
    try:
        values = json.loads(line)
        json.dumps(values, allow_nan=False)
    except (ValueError, RecursionError) as error:  # of JSON, of its numbers, of its depth
        raise RelViTError(f"{where} is no JSON: {cure}") from error
    check_shape(values, BackboneRecord, f"{where} is no record", cure)
    if sealed(values)["checksum"] != values["checksum"]:
        raise RelViTError(
            f"{where}, {values['model']}: the checksum does not fit the numbers, so they were changed; {cure}"
        )
    _check_measures(values, where)
    return values  # with the keys of later versions, which the checksum covers


def _check_measures(record: BackboneRecord, where: str) -> None:
    """Raise RelViTError for a measure that is unknown, or given twice for a task."""
    known = ", ".join(MEASURE_NAMES)
    given = set()
    for value in record["values"]:
        measure = value["measure"]
        number = f"{measure}, {value['task']}"
        if measure not in MEASURE_NAMES:
            raise RelViTError(
                f"{where}: measure {measure} is unknown to hf_relvit {__version__}, which knows {known}; "
                "update hf_relvit"
            )
        if number in given:
            raise RelViTError(
                f"{where} has two numbers for {number}: expected one; measure the backbone again"
            )
        given.add(number)


def check_alike(records: Sequence[BackboneRecord]) -> None:
    """Raise RelViTError for records whose numbers must not stand beside each other, with the first difference."""
    first, *others = records
    for other in others:
        for key in LIKE:
            if other[key] != first[key]:
                one, two = _different(first[key], other[key])
                raise RelViTError(
                    f"{first['model']} has {key} {one}, {other['model']} {two}: their numbers are of unlike "
                    "measurements; measure both alike, or make a board of each"
                )


def _different(one: Any, two: Any) -> tuple[Any, Any]:
    """Of two settings only the part that differs; other values as they are."""
    if not isinstance(one, dict):
        return one, two
    first = dict(sorted(one.items() - two.items()))
    second = dict(sorted(two.items() - one.items()))
    return first, second
