"""Plain English: a list of our own beside codespell, checked by `make quality`. CONTRIBUTING has the words to use."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
TEXTS = ("*.md", "*.html", "*.ipynb")
CODE = ("*.py", "*.yaml", "Makefile")
LEFT_OUT = ("tests/", "docs/results/", "docs/_site/prose.py", "released/")
UNIT = (
    "step|layer|row|point|seed|scene|pair|image|split|block|epoch|page|batch|head|file|line|second|run|object|"
    "property|task|core|machine|device|process|pixel|side|push|channel|cell|class|token|column|set|patch|setting|"
    "model|minute|hour|day|picture|condition|question|table|group|word"
)
COUNTED = (
    "images|scenes|pairs|steps|pixels|patches|rows|bytes|seconds|minutes|hours|times|pictures|vectors|tokens|paths|"
    "samples|points|threads|processes|px|ms|GB|MB|GFLOP"
)
NO_NOUN = "as|at|for|in|is|of|on|or|to|and|with|like|than|from|by|per|gives|needs|has|holds|"
NO_NOUN += "makes|into|but|if|about|leaves|where|when"
ASKING = "say|says|said|know|knows|tell|tells|told|ask|asks|asked|see|decide|decides|explain|explains|show|shows"


class Rule(NamedTuple):
    """A pattern that no text of ours may match, and what to write instead."""

    pattern: re.Pattern[str]
    advice: str


def rule(pattern: str, advice: str) -> Rule:
    return Rule(re.compile(pattern, re.IGNORECASE), advice)


EVERYWHERE = [
    rule(
        rf"\b(?<!such )an? (?!(?:{NO_NOUN})\b)[\w-]+ an? (?:{UNIT})\b",
        "per, as in: one row per layer",
    ),
    rule(rf"[\d}}] (?!(?:{NO_NOUN})\b)[\w-]+ an? (?:{UNIT})\b", "per, as in: 12 s per step"),
    rule(rf"\b(?<!which )(?:{COUNTED}) an? (?:{UNIT})\b", "per, as in: images per step"),
    rule(
        r"\b(?:whilst|amongst|hitherto|thereof|wherein|whatsoever|towards|learnt|spelt|heretofore)\b",
        "the modern word",
    ),
    rule(r"\b\w*(?:colour|neighbour|behaviour|favour|honour)\w*", "American spelling: -or"),
    rule(r"\b(?:labell|modell|travell|cancell(?=ed|ing))\w*", "American spelling: one l"),
    rule(r"\b(?:grey|centre[sd]?|catalogue|artefact|sceptic|defence)\w*", "American spelling"),
    rule(
        r"\b(?:normal|general|optim|initial|visual|summar|organ|recogn|minim|maxim)is(?:e|es|ed|ing|ation)\b",
        "-ize",
    ),
    rule(
        r"\bpush(?:e[sd]|ing)?\b[\w ']{0,25}\b(?:along|a pair|pairs|tokens)\b",
        "steer: to push is to publish",
    ),
]
NO_CLAUSE = "a noun instead of the clause that begins with 'what'"
WHATEVER = rule(r"\bwhatever\b", "any")


class Finding(NamedTuple):
    file: Path
    line: int
    text: str
    advice: str


def tracked(patterns: tuple[str, ...]) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [ROOT / name for name in listed if not name.startswith(LEFT_OUT)]


def text_of(file: Path) -> str:
    """Its text; of a notebook the cells that are written, not their outputs."""
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".ipynb":
        return text
    sources = ["".join(cell["source"]) for cell in json.loads(text)["cells"]]
    return "\n".join(sources)


def without_code(text: str) -> str:
    """Blocks and inline code blanked out, lines kept."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match[0])

    text = re.sub(r"^```.*?^```", blank, text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"\{[%{].*?[%}]\}", blank, text, flags=re.DOTALL)
    return re.sub(r"``?[^`\n]+``?", blank, text)


def matches(rules: list[Rule], text: str) -> Iterator[tuple[int, str, str]]:
    for each in rules:
        for match in each.pattern.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            yield line, match[0], each.advice


def clauses(text: str) -> Iterator[tuple[int, str, str]]:
    """Clauses that begin with 'what' and stand for a noun; questions, direct or indirect, are none."""
    asking = re.compile(rf"\b(?:{ASKING})\W+$|[\"*]$", re.IGNORECASE)  # or a title
    for match in re.finditer(r"\bwhat\b", text, re.IGNORECASE):
        rest = re.split(r"[.;|]\s|\n\s*\n|\n[#|-]", text[match.start() :], maxsplit=1)[0]
        before = text[max(0, match.start() - 20) : match.start()]
        if "?" not in rest and not asking.search(before):
            line = text.count("\n", 0, match.start()) + 1
            yield line, " ".join(rest.split())[:50], NO_CLAUSE


def sentences(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of the strings in code that hold words: docstrings, help and messages."""
    for node in ast.walk(ast.parse(source)):
        value = node.value if isinstance(node, ast.Constant) else None
        if isinstance(value, str) and len(value.split()) > 2:
            yield node.lineno, value


def findings() -> list[Finding]:
    found = []
    for file in tracked(CODE + TEXTS):
        text = without_code(text_of(file)) if file.suffix == ".md" else text_of(file)
        for line, words, advice in matches(EVERYWHERE, text):
            found.append(Finding(file, line, words, advice))
    for file in tracked(TEXTS):
        text = without_code(text_of(file))
        for line, words, advice in [*clauses(text), *matches([WHATEVER], text)]:
            found.append(Finding(file, line, words, advice))
    for file in tracked(("hf_relvit/*.py",)):
        for first, shown in sentences(file.read_text()):
            for line, words, advice in clauses(without_code(shown)):
                found.append(Finding(file, first + line - 1, words, advice))
    return found


def main() -> None:
    found = findings()
    for each in found:
        place = f"{each.file.relative_to(ROOT)}:{each.line}"
        print(f"{place}: {each.text!r}: write {each.advice}")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
