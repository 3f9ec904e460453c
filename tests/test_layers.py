"""The house: data flows one way, and no file imports another in a circle."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import hf_relvit

ROOT = Path(hf_relvit.__file__).parent
FLOORS = (
    (
        "addresses",
        "allocator",
        "doors",
        "lazy",
        "errors",
        "extras",
        "words",
        "geometry",
        "statistics",
        "owned",
        "files",
        "places",
        "limits",
        "progress",
        "schemas",
        "tables",
        "manifest",
        "measurements",
        "claims",
        "provenance",
    ),
    ("stimuli",),
    ("building", "dataset_builders"),
    ("modeling",),
    ("training",),
    ("metrics", "figures"),
    ("analysis",),
    ("recipes",),
    ("report", "model_cards"),
    ("study",),
    ("hub",),
    ("cli", "spaces"),
)
"""From the ground up: a file imports from its own floor and from those below."""


def modules() -> dict[str, Path]:
    return {
        ".".join(("hf_relvit", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): path
        for path in ROOT.rglob("*.py")
    }


def imports(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """The files of ours that a file imports, in functions too."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    for_types = {
        id(inner)
        for node in nodes
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in nodes:
        if id(node) in for_types:
            continue
        targets = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            start = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            base = ".".join(filter(None, (start, node.module)))
            targets = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        found |= {
            target for target in targets if target in known and target not in ("hf_relvit", name)
        }
    return {
        target for target in found if known[target].name != "__init__.py" or target.count(".") == 1
    }


@functools.cache
def graph() -> dict[str, set[str]]:
    """Each file -> the files that it imports; read once for both tests."""
    known = modules()
    return {name: imports(name, path, known) for name, path in known.items()}


def floor(name: str) -> int:
    part = name.split(".")[1]
    return next(i for i, parts in enumerate(FLOORS) if part in parts)


def test_every_file_has_a_floor_and_nothing_runs_uphill():
    rising = [
        f"{name} -> {target}"
        for name, targets in graph().items()
        if name != "hf_relvit"
        for target in targets
        if floor(target) > floor(name)
    ]
    assert rising == []


def test_no_file_imports_another_in_a_circle():
    done: set[str] = set()

    def walk(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above[above.index(name) :], name))
        if name not in done:
            for target in graph()[name]:
                walk(target, (*above, name))
            done.add(name)

    for name in graph():
        walk(name, ())
