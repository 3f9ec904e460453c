"""Committed records of backbones: whole, comparable with themselves, and their numbers come out again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hf_relvit.analysis.battery import BatteryConfig, measure_battery
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.report.board import board_table
from hf_relvit.report.records import read_records
from hf_relvit.tables import select

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
