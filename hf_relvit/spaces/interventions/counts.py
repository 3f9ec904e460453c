"""How often an intervention works over many scenes: the rows of about.json, counted when the model was prepared."""

from __future__ import annotations

from typing import Any

from hf_relvit.claims import Reading
from hf_relvit.measurements import Measurement
from hf_relvit.stimuli.scenes import LABELS

from .state import State

CONDITION_NAMES = {
    "other": "the other source object",
    "random": "random directions",
    "tokens": "random background tokens",
    "labels": "shuffled labels",
    "noise": "pure noise in the same directions",
    "shuffled": "shuffled probe",
}
"""The controls, as sentences name them."""
EITHER = "either"
"""In place of the answer before, where a table does not tell the two apart."""
Row = dict[str, Any]


def pair_relation(state: State) -> int:
    """Of the pair that is edited, 1 same."""
    pair = state.edited // 2 if state.action == "swap" else state.pair
    one, other = state.scene[2 * pair : 2 * pair + 2]
    return int(one.shape == other.shape and one.color == other.color)


def counted(about: dict[str, Any], state: State) -> list[Row]:
    """The rows of the chosen intervention, of all layers; for steering those of the nearest alpha."""
    rows = select_rows(about["measured"], action=state.action)
    if state.action == "swap":
        return select_rows(rows, what=state.prop)
    if state.action == "inject":
        return select_rows(rows, what=f"{state.prop} {state.method}")
    pair = ("sample", "display")[state.pair]
    known = {row["what"] for row in rows if row["what"].startswith(pair)}

    def distance(what: str) -> float:
        alpha = float(what.split()[1])
        return abs(alpha - state.alpha)

    nearest = min(sorted(known), key=distance, default="")
    return select_rows(rows, what=nearest)


def measured(about: dict[str, Any], state: State) -> list[Row]:
    """Those rows whose pair was, like that of the state, different or same."""
    relations = (LABELS[pair_relation(state)], EITHER)
    return [row for row in counted(about, state) if row["before"] in relations]


def select_rows(rows: list[Row], **values: str) -> list[Row]:
    """The rows that have these values."""
    return [row for row in rows if values.items() <= row.items()]


def read_counts(about: dict[str, Any], state: State) -> Reading | None:
    """The counts at the chosen layer, as reports read their tables; None without counts."""
    rows = [row for row in measured(about, state) if row["layer"] == state.layer]
    parts = {}
    for row in rows:
        condition = row["condition"]
        key = "effect" if condition == "edit" else condition
        parts[key] = Measurement.from_row(row, CONDITION_NAMES.get(condition, "the edit"))
    if "effect" not in parts:
        return None
    return Reading(
        subject=rows[0]["before"],
        split="test",
        layer=state.layer,
        parts=parts,
        controls=tuple(CONDITION_NAMES),
    )
