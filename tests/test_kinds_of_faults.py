"""docs/explanation/kinds_of_faults.md names, for each kind of fault, tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "explanation" / "kinds_of_faults.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if re.match(r"\| (\d+|–) \|", line)
]


def test_every_kind_has_its_row():
    assert {int(row[0]) for row in ROWS if row[0] != "–"} == set(range(17))
    assert all(len(row) == 5 and all(row) for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1][:40])
def test_its_tests_are_there(row):
    named = re.findall(r"`(tests/[\w/]+\.py)`", row[4])
    assert named and row[4] == ", ".join(f"`{name}`" for name in named)
    for name in named:
        assert re.search(r"^def test_", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1][:40])
def test_the_files_of_its_mechanism_are_there(row):
    for name in re.findall(r"`([\w/]+\.py)`", row[3]):
        assert list((ROOT / "hf_relvit").rglob(name)), name
