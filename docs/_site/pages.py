"""The reference pages that are made from the code: public objects, commands, columns of data sets and records."""

from __future__ import annotations

import inspect
import re
import sys
import typing
from collections.abc import Collection
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import jinja2
import typer
from sphinx.pycode import ModuleAnalyzer
from typer.cli import get_docs_for_click

import hf_relvit
from hf_relvit import dataset_builders, schemas
from hf_relvit.building.common import COMBINATIONS
from hf_relvit.cli import app as commands
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.stimuli.tasks import task_of
from hf_relvit.tables import COLUMNS

FOLDERS = ("stimuli", "building", "modeling", "training", "analysis", "report", "study")
MADE = "made from the code by docs/_site/pages.py"


def write_all(folder: Path) -> None:
    """Write the pages, each only if its text has changed, so that Sphinx reads no page again for nothing."""
    texts = {
        "cli.md": commands_page(),
        "datasets.md": datasets_page(),
        "records.md": records_page(),
    }
    packages = objects_by_package()
    texts["api/index.rst"] = packages_page(list(packages))
    for package, names in packages.items():
        texts[f"api/{package}.rst"] = objects_page(package, names)
    for name, text in texts.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists() or file.read_text() != text:
            file.write_text(text)


def packages_page(packages: list[str]) -> str:
    lines = [f".. {MADE}", "", "Python", "======", "", ".. toctree::", ""]
    return "\n".join([*lines, *indented(packages), ""])


def public_names() -> dict[str, list[str]]:
    """Package -> the names in its ``__all__``."""
    modules = ["hf_relvit"] + [f"hf_relvit.{folder}" for folder in FOLDERS]
    return {name: list(import_module(name).__all__) for name in modules}


def objects_by_package() -> dict[str, list[str]]:
    """Package -> the public names that its page describes.

    A name of ``hf_relvit`` itself stands on the page of the folder that defines it.
    """
    listed = public_names()
    by_package: dict[str, list[str]] = {package: [] for package in listed}
    for package, names in listed.items():
        for name in names:
            home = home_of(package, name)
            if name not in by_package[home]:
                by_package[home].append(name)
    return {package: sorted(names, key=str.lower) for package, names in by_package.items() if names}


def home_of(package: str, name: str) -> str:
    """The package of ours in which an object is defined; ``hf_relvit`` for the ground floor."""
    value = getattr(import_module(package), name)
    module = getattr(value, "__module__", package).split(".")
    is_folder = len(module) > 1 and module[1] in FOLDERS
    return ".".join(module[:2]) if is_folder else package


def importable_name(package: str, name: str) -> str:
    """The shortest name that a program imports an object by."""
    return f"hf_relvit.{name}" if name in hf_relvit.__all__ else f"{package}.{name}"


def missing_objects(described: Collection[str]) -> list[str]:
    """Public objects that are not among those described, by their importable names."""
    wanted = {
        importable_name(package, name)
        for package, names in objects_by_package().items()
        for name in names
    }
    return sorted(wanted - set(described))


def objects_page(package: str, names: list[str]) -> str:
    """One entry per object, functions and classes by their docstrings, constants by their comments."""
    module = import_module(package)
    title = f"``{package}``"
    lines = [f".. {MADE}", "", title, "=" * len(title), "", module_summary(module), ""]
    for name in names:
        value = getattr(hf_relvit if name in hf_relvit.__all__ else module, name)
        lines += entry(importable_name(package, name), value, name)
    return "\n".join(lines)


def module_summary(module: ModuleType) -> str:
    return inspect.getdoc(module) or ""


def entry(full_name: str, value: Any, name: str) -> list[str]:
    heading = [name, "-" * len(name), ""]
    if inspect.isclass(value):
        return [*heading, f".. autoclass:: {full_name}", "   :members:", ""]
    if callable(value):
        return [*heading, f".. autofunction:: {full_name}", ""]
    return [*heading, f".. py:data:: {full_name}", "", *indented(comment_of(name, value)), ""]


def comment_of(name: str, value: Any) -> list[str]:
    """The text below a constant, in the module that defines it."""
    for module_name, module in sorted(sys.modules.items()):
        if module_name.startswith("hf_relvit.") and vars(module).get(name) is value:
            comments = ModuleAnalyzer.for_module(module_name).find_attr_docs()
            if ("", name) in comments:
                return comments["", name]
    raise LookupError(
        f"no text below the public constant {name}: say what it is, where it is defined"
    )


def indented(lines: list[str]) -> list[str]:
    return [f"   {line}" if line else "" for line in lines]


def commands_page() -> str:
    """Every command with its arguments and options, as `--help` tells them."""
    command = typer.main.get_command(commands)
    whole_summaries(command)
    context = typer.Context(command, info_name="relvit")
    text = get_docs_for_click(obj=command, ctx=context, name="relvit", title="Commands")
    return f"<!-- {MADE} -->\n\n{text}"


def whole_summaries(command: Any) -> None:
    """Let lists of commands show the first sentence of each help, which is cut after 45 letters otherwise."""
    for child in getattr(command, "commands", {}).values():
        paragraph = " ".join(inspect.cleandoc(child.help or "").partition("\n\n")[0].split())
        sentence = re.match(r".*?[.?](?= |$)", paragraph)
        child.short_help = sentence[0] if sentence else child.short_help
        whole_summaries(child)


def datasets_page() -> str:
    """Configs, geometries and columns of the data sets."""
    rows = [
        f"| `{name}` | {one.image_size} | {one.patch_size} | {one.object_size} | {one.sprite_size} |"
        for name, one in GEOMETRIES.items()
    ]
    combinations = ", ".join(str(count) for count in sorted(COMBINATIONS))
    parts = [f"<!-- {MADE} -->", DATASETS.format(combinations=combinations), GEOMETRY, *rows]
    for kind, title in DATASET_TITLES.items():
        parts += ["", f"## Columns of {title}", *columns_of(kind)]
    return "\n".join(parts) + "\n"


def columns_of(kind: str) -> list[str]:
    """The table of columns in the card that a data set gets, with the words of RMTS where tasks differ."""
    template = Path(dataset_builders.__path__[0], kind, "README.md").read_text()
    section = template.split("## Columns")[1].split("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    rendered = jinja2.Template("\n".join(table)).render(task=task_of("rmts"))
    return rendered.splitlines()


def records_page() -> str:
    """The JSON files and the columns of tables that readers check, field by field."""
    parts = [
        f"<!-- {MADE} -->",
        RECORDS,
        *[f"| `{name}` | {words_of(COLUMNS[name])} |" for name in sorted(COLUMNS)],
    ]
    for name, shape in vars(schemas).items():
        if typing.is_typeddict(shape):
            parts += [
                "",
                f"## {name}",
                "",
                inspect.getdoc(shape) or "",
                "",
                "| field | type |",
                "|---|---|",
            ]
            parts += [field_row(shape, field) for field in shape.__annotations__]
    return "\n".join(parts) + "\n"


def words_of(expected: Any) -> str:
    return getattr(expected, "words", expected)


def field_row(shape: Any, field: str) -> str:
    kind = typing.get_type_hints(shape)[field]
    text = getattr(kind, "__name__", None) if isinstance(kind, type) else str(kind)
    plain = str(text if not typing.get_args(kind) else kind).replace("typing.", "")
    optional = "" if field in shape.__required_keys__ else ", may be missing"
    return f"| `{field}` | `{plain.replace('|', 'or')}`{optional} |"


DATASET_TITLES = {
    "scenes": "scenes (of any task)",
    "counterfactuals": "counterfactual pairs",
    "photorealistic": "photorealistic pairs",
}
DATASETS = """# Data sets

`relvit data build TASK --config CONFIG --out FOLDER` writes a data set that plain `datasets.load_dataset` opens.

| task | configs | one row |
|---|---|---|
| `discrimination`, `rmts` | GEOMETRY-COMBINATIONS, such as `b16-32` | a scene |
| `counterfactuals` | TASK-GEOMETRY-COMBINATIONS, such as `rmts-b16-32` | a base scene and a source scene |
| `photorealistic` | `default`, `tiny` | a rendered scene |

COMBINATIONS is the number of shape-color combinations in training: {combinations}, of 256. Counterfactual pairs need
more than 16, since with 16 no two objects differ in one property alone. Why the splits share no scene:
[splits](../explanation/splits.md).

## Geometries"""
GEOMETRY = """
Sizes in pixels. An object owns a square of whole patches; the drawn object is smaller and moves within that square.
With `-free` behind its name, such as `b16-free-256`, objects stand at any pixel; with `-posed`, turned and scaled
([how to](../how_to/stimuli.md#free-placement)).

| name | image | patch | object | drawn object |
|---|---|---|---|---|"""
RECORDS = """# Records

Every JSON file and every table is compared with a shape when it is read. A file may hold more than its shape says. The
names of the files: [layout of a run folder](../run_folder.md).

## Columns of tables
A column means the same in every table. Tables have further columns, described with the object that makes them
([API](../reference/api/hf_relvit.analysis.rst)). An empty cell was not measured.

| column | values |
|---|---|"""
