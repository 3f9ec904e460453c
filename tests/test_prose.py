"""The checker of prose finds each kind of fault, and lets plain sentences pass."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

PROSE = runpy.run_path(str(Path(__file__).parents[1] / "docs/_site/prose.py"))


def faults(text: str) -> list[str]:
    found = [*PROSE["matches"](PROSE["EVERYWHERE"], text), *PROSE["clauses"](text)]
    return [words for _, words, _ in found]


@pytest.mark.parametrize(
    "text",
    [
        "A row a layer.",
        "Images a second, over all processes.",
        "It takes 12 s a step.",
        "pass one row of tokens an image",
        "f'{count} pixels a side'",
        "Our favourite colour is grey.",
        "states are normalised towards the centre",
        "a labelled sheet",
        "What is read is what is written.",
        "It counts what looks like a token.",
        "The tokens are pushed along a direction.",
    ],
)
def test_a_fault_is_found(text):
    assert faults(text)


@pytest.mark.parametrize(
    "text",
    [
        "One row per layer, 12 s per step.",
        "What can be read from the objects?",
        "Say what its classes mean. The card says what was measured.",
        "It is a run of a study, as a picture.",
        "add 1 for a model with a CLS token; such a layer is left alone",
        "The color of a gray, labeled object near the center.",
        "Which of the judgements is right?",
        "Push the run to the Hub, and steer a pair along the probe.",
    ],
)
def test_a_plain_sentence_passes(text):
    assert faults(text) == []


def test_the_line_of_a_fault_is_told():
    assert [line for line, *_ in PROSE["clauses"]("One.\n\nIt is\nwhat it is.")] == [4]


def test_code_in_a_page_is_no_prose():
    text = "Write `what it is` in\n```sh\necho what it is\n```\n"
    assert PROSE["without_code"](text).strip() == "Write              in"


def test_of_code_docstrings_and_messages_are_read():
    source = '''
def work():
    """What it does inside."""
    raise RelViTError(f"{name} is what it was")

@app.command()
def command():
    """What it does for you."""
'''
    read = [text for _, text in PROSE["sentences"](source)]
    assert sorted(read) == [" is what it was", "What it does for you.", "What it does inside."]
