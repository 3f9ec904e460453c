"""Options of a command from a dataclass of settings: names, types, choices, defaults and help stand there alone.

    @analyze.command("steer")
    @options("config", "analysis.steering:SteeringConfig")
    def analyze_steer(checkpoint: CheckpointPath, out: Out, config): ...

gives the command ``--alpha``, which may be repeated, ``--batch-size`` and ``--bf16/--no-bf16``. Three steps:

1. The source of the dataclass is parsed, not imported: `--help` and the answer to a typo need no torch.
2. Each field becomes an option without a default of its own, so that only what was given changes anything. Where the
   command or another dataclass has a parameter of that name, they share one option.
3. When the command runs, the dataclass is made before the command's own code: its checks come before any work.
"""

from __future__ import annotations

import ast
import builtins
import dataclasses
import functools
import importlib
import inspect
import math
import sys
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import RelViTError

PACKAGE = Path(__file__).parents[1]
SEEDS = {"min": 0, "max": 2**32 - 1}
"""The seeds that every random generator of the package takes."""


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of a dataclass, as its source has it.

    Attributes:
        name: of the field.
        type: its annotation, evaluated.
        default: its default, evaluated; a string of the source where that needs more than constants; None for none.
        help: the docstring under it, as one line.
    """

    name: str
    type: Any
    default: Any
    help: str

    @property
    def alternatives(self) -> tuple[Any, ...]:
        """The types of a union without None; else the type alone."""
        if typing.get_origin(self.type) not in (types.UnionType, typing.Union):
            return (self.type,)
        return tuple(one for one in typing.get_args(self.type) if one is not type(None))

    @property
    def repeatable(self) -> bool:
        """Whether the field takes several values."""
        return typing.get_origin(self.alternatives[0]) in (list, tuple)

    @property
    def option(self) -> str:
        """The option's name: that of the field, in the singular where the option is repeated."""
        name = self.name.replace("_", "-")
        if not self.repeatable:
            return f"--{name}"
        return (
            f"--{name.removesuffix('es')}is"
            if name.endswith("ses")
            else f"--{name.removesuffix('s')}"
        )

    def as_declared(self, value: Any) -> Any:
        """What was given, in the field's type.

        Raises:
            RelViTError: a number that is not finite.
        """
        values = value if isinstance(value, list) else [value]
        for each in values:
            if isinstance(each, float) and not math.isfinite(each):
                raise RelViTError(f"{self.option} {each}: expected a finite number")
        is_tuple = typing.get_origin(self.alternatives[0]) is tuple
        return tuple(values) if is_tuple else value

    def annotation(self, show_default: bool, panel: str | None = None) -> Any:
        """The option as typer takes it, None where it is not given."""
        first = self.alternatives[0]
        declaration = self.option
        extra: dict[str, Any] = dict(SEEDS) if self.name == "seed" else {}
        if bool in self.alternatives:
            declaration = f"{self.option}/--no-{self.option.removeprefix('--')}"
        if any(dict in (one, typing.get_origin(one)) for one in self.alternatives):
            extra |= {"parser": _mapping_or_text, "metavar": "YAML"}
            first = str
        elif self.repeatable:
            element = typing.get_args(first)[0]
            choices = typing.get_args(element)
            if choices:  # typer takes a Literal alone, but not a list of them
                extra |= {"parser": _one_of(choices), "metavar": "|".join(choices)}
            first = list[str if choices else element]
        shown = show_default and self.default is not None and _text(self.default)
        option = typer.Option(
            declaration, help=self.help, show_default=shown, rich_help_panel=panel, **extra
        )
        return Annotated[first | None, option]


def options(
    keyword: str,
    source: str,
    *,
    skip: tuple[str, ...] = (),
    make: Callable[..., Any] | None = None,
    panel: str | None = None,
) -> Callable[[Callable], Callable]:
    """A decorator that gives a command the fields of a dataclass as options.

    Args:
        keyword: the command's parameter that receives the dataclass.
        source: where the dataclass stands, "module:Class" within the package.
        skip: fields that are no options: the command decides them.
        make: receives the options that were given, instead of the dataclass: where they change other settings.
        panel: heading of these options in the help.
    """
    fields = {field.name: field for field in read_fields(source) if field.name not in skip}

    def provider(**given: Any) -> Any:
        values = {
            name: fields[name].as_declared(value)
            for name, value in given.items()
            if value is not None
        }
        return (make or _load(source))(**values)

    provider.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=field.annotation(show_default=make is None, panel=panel),
            )
            for name, field in fields.items()
        ]
    )
    return receives(keyword, provider)


def receives(keyword: str, provider: Callable[..., Any]) -> Callable[[Callable], Callable]:
    """A decorator that gives a command the parameters of ``provider``, and what it returns as ``keyword``.

    It is called before the command. A parameter that both have is one option, which both receive.
    """

    def decorate(function: Callable) -> Callable:
        own = _parameters(function, without=keyword)
        provided = _parameters(provider)
        merged = {**own, **{name: each for name, each in provided.items() if name not in own}}

        @functools.wraps(function)
        def command(**given: Any) -> Any:
            made = provider(**{name: given[name] for name in provided})
            return function(**{name: given[name] for name in own}, **{keyword: made})

        by_keyword = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in merged.values()]
        command.__signature__ = inspect.Signature(by_keyword)  # type: ignore[attr-defined]
        command.__annotations__ = {name: each.annotation for name, each in merged.items()}
        return command

    return decorate


def _parameters(function: Callable, without: str = "") -> dict[str, inspect.Parameter]:
    """The parameters of a function, their annotations evaluated; that of ``without`` may be for type checkers only."""
    parameters = {}
    for name, parameter in inspect.signature(function).parameters.items():
        annotation = parameter.annotation
        if name != without and isinstance(annotation, str):
            annotation = eval(annotation, vars(inspect.getmodule(function)))  # our own source
        parameters[name] = parameter.replace(annotation=annotation)
    parameters.pop(without, None)
    return parameters


def read_fields(source: str) -> list[Field]:
    """The fields of a dataclass, those of its bases first, from its source.

    Args:
        source: "module:Class" within the package, such as "training.config:TrainConfig".
    """
    module, _, name = source.partition(":")
    return list(_fields_of(*_definition(name, module)))


def _fields_of(node: ast.ClassDef, module: str) -> Iterator[Field]:
    for base in node.bases:
        if isinstance(base, ast.Name):
            yield from _fields_of(*_definition(base.id, module))
    for statement, following in zip(node.body, [*node.body[1:], None]):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        annotation = _evaluate(statement.annotation, module)
        if annotation is dataclasses.KW_ONLY:
            continue
        text = following.value if isinstance(following, ast.Expr) else None
        documented = isinstance(text, ast.Constant) and isinstance(text.value, str)
        help_text = " ".join(text.value.split()) if documented else ""
        yield Field(statement.target.id, annotation, _default(statement.value, module), help_text)


def _default(value: ast.expr | None, module: str) -> Any:
    """The default's value; None where there is none, or where a factory makes it."""
    if value is None or isinstance(value, ast.Call):
        return None
    return _evaluate(value, module)


@functools.cache
def _tree(module: str) -> ast.Module:
    path = PACKAGE.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def _evaluate(expression: ast.expr, module: str) -> Any:
    """The value of an expression of a module: of constants, and of names that stand for such."""
    names = {node.id for node in ast.walk(expression) if isinstance(node, ast.Name)}
    namespace = {name: _lookup(name, module) for name in names}
    code = compile(ast.Expression(expression), module, "eval")
    return eval(code, {"__builtins__": {}}, namespace)  # our own source


def _lookup(name: str, module: str) -> Any:
    """A name at the head of a module: a constant, an alias of a type, or what the standard library has."""
    if hasattr(builtins, name):
        return getattr(builtins, name)
    for node in _tree(module).body:
        if isinstance(node, ast.ImportFrom) and name in _imported(node):
            if node.level == 0 and str(node.module).split(".")[0] in sys.stdlib_module_names:
                return getattr(importlib.import_module(str(node.module)), _imported(node)[name])
            return _lookup(_imported(node)[name], _relative(node, module))
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return _evaluate(node.value, module)  # type: ignore[attr-defined]
    raise LookupError(f"{module}: {name} is no constant and no type that options can be made of")


def _definition(name: str, module: str) -> tuple[ast.ClassDef, str]:
    """A class and the module that defines it."""
    for node in _tree(module).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return node, module
        if isinstance(node, ast.ImportFrom) and name in _imported(node):
            return _definition(_imported(node)[name], _relative(node, module))
    raise LookupError(f"{module} has no class {name}")


def _imported(node: ast.ImportFrom) -> dict[str, str]:
    return {alias.asname or alias.name: alias.name for alias in node.names}


def _relative(node: ast.ImportFrom, module: str) -> str:
    folder = (
        module.split(".")
        if (PACKAGE / module.replace(".", "/")).is_dir()
        else module.split(".")[:-1]
    )
    above = folder[: len(folder) - node.level + 1]
    return ".".join([*above, *str(node.module or "").split(".")]).strip(".")


def _load(source: str) -> Callable[..., Any]:
    module, _, name = source.partition(":")
    return getattr(importlib.import_module(f"hf_relvit.{module}"), name)


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    """A parser of one choice, with typer's own message."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"{text!r} is not one of {', '.join(map(repr, choices))}")
        return text

    return parse


def _mapping_or_text(text: str) -> Any:
    """``{key: value}`` as the mapping that YAML sees in it, anything else as it is."""
    import yaml

    if not text.lstrip().startswith("{"):
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError("expected a mapping such as {layer: 2}") from error


def _text(default: Any) -> str:
    """A default as it would be given."""
    if isinstance(default, tuple | list):
        return ", ".join(map(str, default))
    return str(default)
