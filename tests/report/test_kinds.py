"""The kind of failure of a frozen backbone follows from the intervals of its record, by rules."""

from __future__ import annotations

import pandas as pd
import pytest

from hf_relvit.report.kinds import kinds_of


def row(measure: str, claimed: bool, low: float = 0.9, **values):
    """Of a board's table."""
    return {
        "model": "vit",
        "task": "rmts",
        "measure": measure,
        "claimed": claimed,
        "value": low + 0.05,
        "ci_low": low,
        "ci_high": low + 0.1,
        "floor": 0.1,
        "shuffled_high": 0.2,
        **values,
    }


def kind(**claimed):
    """Of a backbone whose relation, objects and properties can be read or not."""
    shown = {"judgement": True, "same_object": True, "shape": True, "color": True, **claimed}
    rows = [row(name, ok, 0.9 if ok else 0.1) for name, ok in shown.items() if ok is not None]
    return kinds_of(pd.DataFrame(rows)).iloc[0]


@pytest.mark.parametrize(
    ("claimed", "expected"),
    [
        ({}, "relational"),
        ({"same_object": False}, "relational"),
        ({"judgement": False}, "bound but not compared"),
        ({"judgement": False, "same_object": False}, "objects not separable"),
        ({"judgement": False, "same_object": False, "shape": False}, "objects not separable"),
        ({"judgement": False, "color": False}, "properties not readable"),
        ({"judgement": False, "same_object": None}, "relation not readable"),
        (
            {"judgement": False, "same_object": None, "shape": None, "color": None},
            "relation not readable",
        ),
    ],
)
def test_the_first_rule_that_holds(claimed, expected):
    assert kind(**claimed).kind == expected


def test_random_weights_that_read_a_property_do_not_count_against_it():
    rows = [row(name, name == "same_object") for name in ("judgement", "same_object", "shape")]
    found = kinds_of(pd.DataFrame(rows)).iloc[0]
    assert found.kind == "bound but not compared"
    assert "shape 0.950 [0.900–1.000], above guessing and shuffled labels" in found.evidence


def test_the_evidence_names_what_was_not_measured():
    found = kind(same_object=None)
    assert "tokens of one object: not measured" in found.evidence
    assert any(line.startswith("relation of a pair 0.950") for line in found.evidence)
