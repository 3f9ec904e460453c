"""The kind of failure of a frozen backbone on a task, by rules over the intervals of its record.

In this order, the first that holds:

1. "relational": the relation of a pair can be read above all of its controls.
2. "objects not separable": whether two tokens are of one object cannot be read above all of its controls, places
   among them.
3. "properties not readable": shape or color cannot be read above guessing and shuffled labels. Random weights do not
   count here: pixels show both, and a backbone needs no more to compare them.
4. "bound but not compared": none of these, and the relation cannot be read all the same.

Where the first two questions were not asked, as of pictures of your own, the kind is "relation not readable". The
order and the limits are our choice. A kind says what can be read; that something uses it is the question of the edits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ..tables import records as records_of
from ..words import MEASURE_NAMES

COLUMNS = ("model", "task", "kind", "evidence")
PROPERTIES = ("shape", "color")
EDITS = ("binding", "shape_swap_relation", "color_swap_relation")


def kinds_of(table: pd.DataFrame) -> pd.DataFrame:
    """One row per backbone and task whose relation was read: COLUMNS, the last a list of a sentence per measure.

    Args:
        table: of ``board.board_table``.
    """
    rows = []
    for (model, task), part in table.groupby(["model", "task"], sort=False):
        found = {row["measure"]: row for row in records_of(part)}
        if "judgement" not in found:  # a record of somebody else may lack it
            continue
        kind = {
            "model": model,
            "task": task,
            "kind": _kind(found),
            "evidence": _evidence(found),
        }
        rows.append(kind)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _kind(found: Mapping[str, Any]) -> str:
    asked = [found[name] for name in PROPERTIES if name in found]
    binding = found.get("same_object")
    if found["judgement"]["claimed"]:
        return "relational"
    if binding is not None and not binding["claimed"]:
        return "objects not separable"
    if not all(_readable(row) for row in asked):
        return "properties not readable"
    if asked and binding is not None:
        return "bound but not compared"
    return "relation not readable"


def _readable(row: Mapping[str, Any]) -> bool:
    """Whether a property is read above guessing and shuffled labels."""
    return bool(row["ci_low"] > max(row["floor"], row["shuffled_high"]))


def _evidence(found: Mapping[str, Any]) -> list[str]:
    """The numbers that the kind rests on, and those of the edits."""
    sentences = []
    for name in ("judgement", "same_object", *PROPERTIES, *EDITS):
        if name in found:
            row = found[name]
            above = _readable(row) if name in PROPERTIES else row["claimed"]
            limit = "guessing and shuffled labels" if name in PROPERTIES else "all of its controls"
            verdict = "above" if above else "not above"
            interval = f"{row['ci_low']:.3f}–{row['ci_high']:.3f}"
            sentences.append(
                f"{MEASURE_NAMES[name]} {row['value']:.3f} [{interval}], {verdict} {limit}"
            )
        elif name in ("same_object", "binding"):
            sentences.append(f"{MEASURE_NAMES[name]}: not measured")
    return sentences
