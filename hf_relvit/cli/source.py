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
            yield from _fields_of(*_class(base.id, module))
    following = [*definition.body[1:], None]
    for statement, after in zip(definition.body, following):
        if not isinstance(statement, ast.AnnAssign):
            continue
        name = ast.unparse(statement.target)
        annotation = _evaluate(statement.annotation, module)
        default = _default(statement.value, module)
        yield Field(name, annotation, default, _docstring(after))


def _docstring(statement: ast.stmt | None) -> str:
    """The text of a statement that is nothing but a text, as one line."""
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Constant):
        return ""
    return " ".join(str(statement.value.value).split())


def _default(value: ast.expr | None, module: str) -> Any:
    if value is None or isinstance(value, ast.Call):
        return None
    return _evaluate(value, module)


def _evaluate(expression: ast.expr, module: str) -> Any:
    """The value of an expression of constants and of names that stand for constants or types."""
    parts = ast.walk(expression)
    names = {part.id for part in parts if isinstance(part, ast.Name)}
    namespace = {name: _lookup(name, module) for name in names}
    code = compile(ast.Expression(expression), module, "eval")
    return eval(code, {"__builtins__": {}}, namespace)  # the package's own source


def _lookup(name: str, module: str) -> Any:
    """The value of a name at the top of a module."""
    for statement in _tree(module).body:
        if isinstance(statement, ast.ImportFrom) and name in _imported(statement):
            return _import(statement, name, module)
        if isinstance(statement, ast.Assign | ast.AnnAssign) and name in _assigned(statement):
            assert statement.value is not None
            return _evaluate(statement.value, module)
    if hasattr(builtins, name):
        return getattr(builtins, name)
    raise LookupError(f"{module}: {name} is no constant and no type that options can be made of")


def _import(statement: ast.ImportFrom, name: str, module: str) -> Any:
    """A name that a module imports, from the package by its source or from the standard library."""
    original = _imported(statement)[name]
    if statement.level > 0:
        return _lookup(original, _imported_module(statement, module))
    package = str(statement.module)
    if package.split(".")[0] not in sys.stdlib_module_names:
        raise LookupError(f"{module}: {name} of {package} would have to be imported")
    return getattr(importlib.import_module(package), original)


def _class(name: str, module: str) -> tuple[ast.ClassDef, str]:
    """A class, and the module that defines it."""
    for statement in _tree(module).body:
        if isinstance(statement, ast.ClassDef) and statement.name == name:
            return statement, module
        if isinstance(statement, ast.ImportFrom) and name in _imported(statement):
            original = _imported(statement)[name]
            return _class(original, _imported_module(statement, module))
    raise LookupError(f"{module} has no class {name}")


def _imported(statement: ast.ImportFrom) -> dict[str, str]:
    """Name here -> name there."""
    return {alias.asname or alias.name: alias.name for alias in statement.names}


def _assigned(statement: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _imported_module(statement: ast.ImportFrom, module: str) -> str:
    """The module within the package that a relative import of ``module`` names."""
    folders = module.split(".")
    if _file(module).name != "__init__.py":
        folders.pop()
    depth = len(folders) - statement.level + 1
    names = [*folders[:depth], str(statement.module or "")]
    return ".".join(name for name in names if name)


@functools.cache
def _tree(module: str) -> ast.Module:
    return ast.parse(_file(module).read_text(encoding="utf-8"))


def _file(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
