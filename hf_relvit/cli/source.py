"""The fields of a dataclass, read from its source: names, types, defaults and the docstring under each.

The module is parsed and not imported, so that `--help` and the answer to a typo need no torch. Names
in an annotation or a default (``Literal``, an alias, a constant) are looked up in the same way, in the module
or where they come from.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Field:
    """A field of a dataclass.

    Attributes:
        name: of the field.
        type: its annotation, evaluated.
        default: its default, evaluated; None where there is none, or where a factory makes it.
        help: the docstring under it, as one line.
    """

    name: str
    type: Any
    default: Any
    help: str


def read_fields(source: str) -> list[Field]:
    """The fields of a dataclass, those of its bases first.

    Args:
        source: "module:Class" within the package, such as "training.config:TrainConfig".

    Raises:
        LookupError: no such class, or a name in it that is no constant and no type.
    """
    module, _, name = source.partition(":")
    definition, home = _class(name, module)
    return list(_fields_of(definition, home))


def _fields_of(definition: ast.ClassDef, module: str) -> Iterator[Field]:
    for base in definition.bases:
        if isinstance(base, ast.Name):
            parent, home = _class(base.id, module)
            yield from _fields_of(parent, home)
    following = [*definition.body[1:], None]
    for statement, after in zip(definition.body, following):
        if isinstance(statement, ast.AnnAssign):
            yield Field(
                name=ast.unparse(statement.target),
                type=_evaluate(statement.annotation, module),
                default=_default(statement.value, module),
                help=_docstring(after),
            )


def _docstring(statement: ast.stmt | None) -> str:
    """The text of a statement that is nothing but a text, as one line."""
    if not isinstance(statement, ast.Expr):
        return ""
    content = statement.value
    if not isinstance(content, ast.Constant):
        return ""
    words = str(content.value).replace("``", "`").split()
    return " ".join(words)


def _default(value: ast.expr | None, module: str) -> Any:
    if value is None or isinstance(value, ast.Call):
        return None
    return _evaluate(value, module)


def _evaluate(expression: ast.expr, module: str) -> Any:
    """The value of an expression of constants and of names that stand for constants or types."""
    namespace: dict[str, Any] = {}
    for part in ast.walk(expression):
        if isinstance(part, ast.Name):
            namespace[part.id] = _lookup(part.id, module)
    code = compile(ast.Expression(expression), module, "eval")
    no_builtins = {"__builtins__": {}}
    return eval(code, no_builtins, namespace)  # the package's own source


def _lookup(name: str, module: str) -> Any:
    """The value of a name at the top of a module."""
    statements: list[Any] = _tree(module).body
    for statement in statements:
        if name in _imported(statement):
            return _import(statement, name, module)
        if name in _assigned(statement):
            return _evaluate(statement.value, module)
    if hasattr(builtins, name):
        return getattr(builtins, name)
    raise LookupError(f"{module}: {name} is no constant and no type that options can be made of")


def _import(statement: Any, name: str, module: str) -> Any:
    """A name that a module imports, from the package by its source or from the standard library."""
    original = _imported(statement)[name]
    if statement.level > 0:
        home = _imported_module(statement, module)
        return _lookup(original, home)
    package = str(statement.module)
    top, _, _ = package.partition(".")
    if top not in sys.stdlib_module_names:
        raise LookupError(f"{module}: {name} of {package} would have to be imported")
    imported = importlib.import_module(package)
    return getattr(imported, original)


def _class(name: str, module: str) -> tuple[ast.ClassDef, str]:
    """A class, and the module that defines it."""
    for statement in _tree(module).body:
        if isinstance(statement, ast.ClassDef) and statement.name == name:
            return statement, module
        imported = _imported(statement)
        if name in imported:
            home = _imported_module(statement, module)
            return _class(imported[name], home)
    raise LookupError(f"{module} has no class {name}")


def _imported(statement: ast.stmt) -> dict[str, str]:
    """Name here -> name there, of ``from ... import``; of other statements nothing."""
    if not isinstance(statement, ast.ImportFrom):
        return {}
    return {alias.asname or alias.name: alias.name for alias in statement.names}


def _assigned(statement: ast.stmt) -> list[str]:
    """The names that a statement assigns."""
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _imported_module(statement: Any, module: str) -> str:
    """The module within the package that a relative import of ``module`` names."""
    folders = module.split(".")
    if _file(module).name != "__init__.py":
        folders.pop()
    depth = len(folders) - statement.level + 1
    names = folders[:depth]
    if statement.module:
        names.append(statement.module)
    return ".".join(names)


@functools.cache
def _tree(module: str) -> ast.Module:
    source = _file(module).read_text(encoding="utf-8")
    return ast.parse(source)


def _file(module: str) -> Path:
    steps = module.split(".")
    path = PACKAGE.joinpath(*steps)
    if path.is_dir():
        return path / "__init__.py"
    return path.with_suffix(".py")
