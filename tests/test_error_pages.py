"""Every page of an error that a line names exists, and its heading is the literal message of that line."""

from __future__ import annotations

import ast
import pickle
import re
from pathlib import Path

import pytest

from hf_relvit.errors import RelViTError

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs/errors").glob("*.md"))
HEADINGS = ["Symptom", "Cause", "Cure"]
VALUE = "\0"


def message_template(argument: ast.expr) -> str:
    """The text of a message, with a mark for each value in it."""
    if isinstance(argument, ast.Constant):
        return str(argument.value)
    pieces = argument.values if isinstance(argument, ast.JoinedStr) else [None]
    return "".join(
        str(piece.value) if isinstance(piece, ast.Constant) else VALUE for piece in pieces
    )


def raised_with_a_page() -> list[tuple[str, str]]:
    """Name of the page and template of the message of every RelViTError that names one."""
    found = []
    for file in sorted((ROOT / "hf_relvit").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "RelViTError":
                pages = [
                    ast.literal_eval(word.value) for word in node.keywords if word.arg == "page"
                ]
                found += [(page, message_template(node.args[0])) for page in pages]
    return found


RAISED = raised_with_a_page()


@pytest.mark.parametrize("page", sorted({page for page, _ in RAISED}))
def test_a_page_that_an_error_names_exists(page):
    assert ROOT / f"docs/errors/{page}.md" in PAGES


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.stem)
def test_the_heading_of_a_page_is_the_message_of_an_error_that_names_it(file):
    heading = file.read_text().splitlines()[0].removeprefix("# ").strip("` ")
    literal = ".*".join(re.escape(part) for part in heading.split("..."))
    templates = [template for page, template in RAISED if page == file.stem]
    assert any(re.fullmatch(literal, template) for template in templates), templates


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.stem)
def test_a_page_tells_symptom_cause_and_cure(file):
    assert re.findall(r"^## (.*)$", file.read_text(), re.MULTILINE) == HEADINGS
    index = (ROOT / "docs/errors.md").read_text()
    assert f"](errors/{file.name})" in index and f"<errors/{file.stem}>" in index


def test_the_line_ends_with_the_path_of_the_page():
    error = RelViTError("no room: free some", page="disk-full")
    assert str(error) == "no room: free some (docs/errors/disk-full.md)"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # of a worker process
    assert str(RelViTError("no room: free some")) == "no room: free some"
