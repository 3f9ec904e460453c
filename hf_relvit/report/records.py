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

from ..errors import RelViTError
from ..files import write_text
from ..schemas import BackboneRecord, read_as_shape
from ..tables import records as rows_of
from ..tables import select

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
        values.append(value)
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


def read_records(path: Path) -> list[BackboneRecord]:
    """The records of a file.

    Raises:
        RelViTError: no such file, one that is too large, a line that is no record, or one that was changed by hand.
    """
    if not path.is_file():
        raise RelViTError(
            f"no records in {path}: expected a file such as the record.jsonl of `relvit measure`"
        )
    if (size := path.stat().st_size) > MAX_BYTES:
        raise RelViTError(f"{path} has {size / 1e6:.0f} MB: expected records, of some kB each")
    found = []
    text = path.read_text("utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            found.append(_record(line, f"{path}, line {number}"))
    if not found:
        raise RelViTError(f"{path} is empty: expected a line of JSON per record")
    return found


def _record(line: str, where: str) -> BackboneRecord:
    try:
        values = json.loads(line)
    except json.JSONDecodeError as error:
        raise RelViTError(f"{where} is no JSON: measure the backbone again") from error
    cure = "measure the backbone again"
    record = read_as_shape(values, BackboneRecord, f"{where} is no record", cure)
    if sealed(values)["checksum"] != values["checksum"]:
        raise RelViTError(
            f"{where}, {record['model']}: the checksum does not fit the numbers, so they were changed; {cure}"
        )
    return record


def check_alike(records: Sequence[BackboneRecord]) -> None:
    """Raise RelViTError for records whose numbers must not stand beside each other, with the first difference."""
    first, *others = records
    for other in others:
        for key in LIKE:
            if other[key] != first[key]:
                one, two = first[key], other[key]
                raise RelViTError(
                    f"{first['model']} has {key} {one}, {other['model']} {two}: their numbers are of unlike "
                    "measurements; measure both alike, or make a board of each"
                )
