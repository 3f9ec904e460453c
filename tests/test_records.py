"""Committed records of backbones: whole, comparable with themselves, and their numbers come out again."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from hf_relvit.analysis.battery import BatteryConfig, measure_battery
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.report.board import board_table
from hf_relvit.report.records import read_records
from hf_relvit.schemas import BackboneRecord, BackboneValue
from hf_relvit.tables import select
from hf_relvit.words import MEASURE_NAMES

ROOT = Path(__file__).parents[1]
RECORDS = sorted((ROOT / "docs" / "results" / "records").glob("*.jsonl"))
SCRATCH = ROOT / "released" / "scratch-discrimination" / "training" / "model"


@pytest.mark.parametrize("file", RECORDS, ids=lambda file: file.stem)
def test_a_committed_record_is_whole(file):
    table = board_table(read_records(file))
    assert len(table) == 14 and table.n.min() > 100


def test_three_numbers_of_the_small_network_come_out_again():
    """From the settings of its record alone; another processor may round an answer or two the other way."""
    (record,) = read_records(ROOT / "docs" / "results" / "records" / "scratch-discrimination.jsonl")
    config = BatteryConfig(**record["settings"], bf16=record["precision"] == "bf16")
    battery = measure_battery(Checkpoint.open(SCRATCH), "discrimination", config)
    again = select(battery.frame, chosen=True, condition="trained")
    values = [value for value in record["values"] if value["task"] == "discrimination"]
    picked = np.random.default_rng(0).choice(len(values), 3, replace=False)
    for number in picked:
        value = values[number]
        row = select(again, measure=value["measure"]).iloc[0]
        assert row.n == value["n"]
        assert row.value == pytest.approx(value["value"], abs=2.5 / value["n"])


def test_the_reference_names_every_field_in_its_order():
    tables = (ROOT / "docs" / "record.md").read_text().split("|---|---|\n")[1:]
    rows = [re.findall(r"^\| (.*?) \|", table.split("\n\n")[0], re.MULTILINE) for table in tables]
    record, settings, value, measures, _ = [re.findall("`(.*?)`", " ".join(row)) for row in rows]
    assert record == list(BackboneRecord.__annotations__)
    assert value == list(BackboneValue.__annotations__)
    (committed,) = read_records(RECORDS[0])
    assert settings == list(committed["settings"])
    assert set(measures) == set(MEASURE_NAMES)
