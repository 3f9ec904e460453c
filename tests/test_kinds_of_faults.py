"""docs/explanation/kinds_of_faults.md names, for each kind of fault, tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "explanation" / "kinds_of_faults.md"
KIND = re.compile(
    r"^### (?P<name>.+)\n- \*\*Siblings\*\*: (?P<siblings>.+)\n- \*\*Mechanism\*\*: (?P<mechanism>.+)\n"
    r"- \*\*Tests\*\*: (?P<tests>.+)\.$",
    re.MULTILINE,
)
TEXT = PAGE.read_text(encoding="utf-8")
KINDS = [match.groupdict() for match in KIND.finditer(TEXT)]


def by_name(kind: dict[str, str]) -> str:
    return kind["name"][:40]


def test_every_kind_has_its_siblings_its_mechanism_and_its_tests():
    names = [kind["name"] for kind in KINDS]
    assert names == re.findall(r"^### (.+)$", TEXT, re.MULTILINE)
    assert len(set(names)) == len(names) >= 25


@pytest.mark.parametrize("kind", KINDS, ids=by_name)
def test_its_tests_are_there(kind):
    named = re.findall(r"`(tests/[\w/]+\.py)`", kind["tests"])
    assert named and kind["tests"] == ", ".join(f"`{name}`" for name in named)
    for name in named:
        assert re.search(r"^def test_", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("kind", KINDS, ids=by_name)
def test_the_files_of_its_mechanism_are_there(kind):
    for name in re.findall(r"`([\w/]+\.py)`", kind["mechanism"]):
        assert list((ROOT / "hf_relvit").rglob(name)), name
