"""Boards and what they refuse: each bad file of records ends in one line, whoever wrote it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from walk import run_quietly

from hf_relvit.errors import RelViTError
from hf_relvit.report.board import board_table, board_text, write_board
from hf_relvit.report.records import read_records, sealed, write_records

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "docs" / "results" / "records" / "scratch-discrimination.jsonl"


@pytest.fixture
def record():
    (found,) = read_records(COMMITTED)
    return found


def with_first(record, **changes):
    """The record with another first number, sealed as a program of somebody else could do."""
    first, *others = record["values"]
    return sealed({**record, "values": [{**first, **changes}, *others]})


def refused(text, tmp_path):
    """The line in which `relvit board` refuses a file of this text."""
    file = tmp_path / "record.jsonl"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RelViTError) as error:
        read_records(file)
    message = str(error.value)
    assert message.startswith(str(file)) and "\n" not in message
    return message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty: expected a line of JSON per record"),
        (" \n\n", "is empty"),
        ("not json", "line 1 is no JSON: measure the backbone again"),
        (b"PAR1\x00\xff\xfe", "line 1 is no JSON"),
        ("[" * 100_000, "line 1 is no JSON"),
        ("9" * 10_000, "line 1 is no JSON"),
        ('{"protocol": NaN}', "line 1 is no JSON"),
        ("null", "line 1 is no record"),
        ("[]", "line 1 is no record"),
        ('{"log": [], "provenance": {}}', "missing required field"),
        ('{"protocol": 1' + "0" * 30 + "}", "line 1 is no record"),
    ],
)
def test_what_is_no_record(text, told, tmp_path):
    assert told in refused(text, tmp_path)


def test_the_line_of_another_kind_is_named(record, tmp_path):
    text = json.dumps(record) + '\n\n{"task": "rmts"}\n'
    assert "line 3 is no record" in refused(text, tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["values"][0].update(value=1.0),
        lambda record: record["settings"].update(scenes=100_000),
        lambda record: record.update(model="better"),
        lambda record: record.update(added=1),
        lambda record: record["provenance"].clear(),
        lambda record: record["values"].pop(),
        lambda record: record.update(checksum="0" * 16),
    ],
)
def test_every_change_by_hand_is_noticed(record, change, tmp_path):
    change(record)
    assert "the checksum does not fit the numbers" in refused(json.dumps(record), tmp_path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"measure": "depth"}, "measure depth is unknown to hf_relvit"),
        ({"measure": "shape"}, "has two numbers for shape, discrimination"),
        ({"value": 7}, "Expected `float` <= 1.25 at `.values[0].value"),
        ({"value": True}, "values[0].value"),
        ({"n": 0}, "values[0].n"),
        ({"layer": 10**30}, "values[0].layer"),
        ({"task": "rmts\n"}, "values[0].task"),
        ({"task": "\x1b[2J"}, "values[0].task"),
    ],
)
def test_a_number_that_cannot_be_is_refused_under_a_fitting_checksum(
    record, changes, told, tmp_path
):
    assert told in refused(json.dumps(with_first(record, **changes)), tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"values": []},
        {"model": "two\nlines"},
        {"revision": "\ud800"},
        {"settings": {"two\nlines": 1}},
        {"parameters": 10**400},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_key_that_cannot_be_is_refused_under_a_fitting_checksum(record, changes, tmp_path):
    text = json.dumps(sealed({**record, **changes}))
    assert next(iter(changes)) in refused(text, tmp_path)


def test_two_records_of_one_name_are_refused(record, tmp_path, capsys):
    other = sealed({**record, "weights": "f" * 16})
    write_records(tmp_path / "twice.jsonl", [record, other])
    assert run_quietly(["board", str(tmp_path / "twice.jsonl")]) == 2
    error = capsys.readouterr().err
    assert f"{record['model']} has several records" in error and error.count("\n") == 1


def test_unlike_settings_are_told_by_what_differs(record):
    other = {**record["settings"], "seed": 1}
    two = sealed({**record, "model": "two", "settings": other})
    with pytest.raises(RelViTError, match=r"has settings \{'seed': 0\}, two \{'seed': 1\}"):
        board_table([record, two])


def test_a_backbone_may_lack_a_task_of_another(record, tmp_path):
    values = [value for value in record["values"] if value["task"] == "rmts"]
    short = sealed({**record, "model": "short", "values": values})
    table = board_table([record, short])
    assert len(table) == len(record["values"]) + len(values)
    page = write_board([record, short], tmp_path, "Backbones").read_text()
    assert page.count("<td>short</td>") == len(values)
    assert board_text(table).count("  short") == len(values)


def test_the_page_shows_each_number_with_its_controls_and_its_star(record, tmp_path):
    places = with_first(record, measure="same_object", task="sosd", places=0.25, places_high=0.9)
    page = write_board([places], tmp_path, "Backbones").read_text()
    rows = board_table([places])
    for row in rows.itertuples():
        star = "" if row.claimed else "*"
        interval = f"{row.ci_low:.3f}–{row.ci_high:.3f}"
        assert f"<td>{row.value:.3f}{star}</td><td>{interval}</td><td>{row.n}</td>" in page
    assert "<td>0.250</td>" in page
    assert rows.claimed.nunique() == 2
