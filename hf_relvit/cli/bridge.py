"""Options of a command from a dataclass of settings: names, types, choices, defaults and help stand there alone.

    @analyze.command("steer")
    @options("settings", "analysis.steering:SteeringConfig")
    def analyze_steer(settings, checkpoint: CheckpointPath, out: Out): ...

gives the command ``--alpha``, which may be repeated, ``--batch-size`` and ``--bf16/--no-bf16``. Each field becomes an
option without a default of its own, so that only given options change anything; where the command or another
dataclass has a parameter of that name, they share one option. The dataclass is made before the command's own code
runs: its checks come before any work.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any

import typer

from ..limits import SEEDS, check_count, check_finite
from .source import Field, read_fields

SEED_RANGE: dict[str, Any] = {"min": 0, "max": SEEDS - 1}


def options(
    keyword: str,
    source: str,
    *,
    skip: tuple[str, ...] = (),
    make: Callable[..., Any] | None = None,
    panel: str | None = None,
    prefix: str = "",
) -> Callable[[Callable], Callable]:
    """A decorator that gives a command the fields of a dataclass as options.

    Args:
        keyword: the command's parameter that receives the dataclass.
        source: where the dataclass stands, "module:Class" within the package.
        skip: fields that are no options: the command decides them.
        make: receives the options that were given, instead of the dataclass: where they change other settings.
        panel: heading of these options in the help.
        prefix: before each name, such as "causal" for ``--causal-pairs``: of a dataclass in another one.
    """
    fields = {}
    for field in read_fields(source):
        if field.name not in skip:
            name = f"{prefix}_{field.name}" if prefix else field.name
            fields[name] = field

    def provider(**given: Any) -> Any:
        values = {}
        for name, value in given.items():
            if value is not None:
                field = fields[name]
                values[field.name] = as_declared(field, value, prefix)
        settings = make or _load(source)
        return settings(**values)

    parameters = []
    for name, field in fields.items():
        default = field.default if make is None else None
        option = annotation(field, default, panel, prefix)
        parameters.append(_optional(name, option))
    provider.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return receives(keyword, provider)


def receives(keyword: str, provider: Callable[..., Any]) -> Callable[[Callable], Callable]:
    """A decorator that gives a command the parameters of ``provider``, and its result as ``keyword``.

    It is called before the command. A parameter that both have is one option, which both receive.
    """

    def decorate(function: Callable) -> Callable:
        own = parameters_of(function, without=keyword)
        provided = parameters_of(provider)
        merged = {**provided, **own}

        @functools.wraps(function)
        def command(**given: Any) -> Any:
            made = provider(**{name: given[name] for name in provided})
            rest = {name: given[name] for name in own}
            return function(**rest, **{keyword: made})

        command.__signature__ = inspect.Signature(list(merged.values()))  # type: ignore[attr-defined]
        command.__annotations__ = {name: each.annotation for name, each in merged.items()}
        return command

    return decorate


def option_name(field: Field, prefix: str = "") -> str:
    """The option's name: that of the field, in the singular where the option is repeated."""
    name = field.name.replace("_", "-")
    if is_repeatable(field):
        singular = name.removesuffix("s")
        name = singular.removesuffix("se") + "sis" if singular.endswith("se") else singular
    return f"--{prefix}-{name}" if prefix else f"--{name}"


def is_repeatable(field: Field) -> bool:
    """Whether the field takes several values."""
    first = _alternatives(field)[0]
    return typing.get_origin(first) in (list, tuple)


def annotation(field: Field, default: Any, panel: str | None, prefix: str = "") -> Any:
    """The option as typer takes it; None where it is not given."""
    alternatives = _alternatives(field)
    kind = alternatives[0]
    declaration = option_name(field, prefix)
    short = ["-n"] if field.name == "scenes" and not prefix else []
    extra: dict[str, Any] = {}
    if field.name == "seed":
        extra = dict(SEED_RANGE)
    if bool in alternatives:
        declaration = f"{declaration}/--no-{declaration.removeprefix('--')}"
    elif dict in map(_plain, alternatives):
        kind = str
        extra = {"parser": _mapping_or_text, "metavar": "YAML"}
    elif is_repeatable(field):
        element = typing.get_args(kind)[0]
        choices = typing.get_args(element)
        if choices:  # typer takes one Literal, but no list of them
            element = str
            extra = {"parser": _one_of(choices), "metavar": "|".join(choices)}
        kind = list[element]
    shown = False if default is None else _text(default)
    option = typer.Option(
        declaration,
        *short,
        help=field.help,
        show_default=shown,
        rich_help_panel=panel,
        **extra,
    )
    return Annotated[kind | None, option]


def as_declared(field: Field, value: Any, prefix: str = "") -> Any:
    """The given value, in the field's type.

    Raises:
        RelViTError: a number that is not finite, or larger than anything that can be done.
    """
    values = value if isinstance(value, list) else [value]
    name = option_name(field, prefix)
    for each in values:
        if isinstance(each, float):
            check_finite(name, each)
        elif isinstance(each, int) and field.name != "seed":
            check_count(name, each)
    wants_tuple = _plain(_alternatives(field)[0]) is tuple
    return tuple(values) if wants_tuple else value


def _alternatives(field: Field) -> tuple[Any, ...]:
    """The types of a union without None; else the type alone."""
    if typing.get_origin(field.type) not in (types.UnionType, typing.Union):
        return (field.type,)
    members = typing.get_args(field.type)
    return tuple(member for member in members if member is not type(None))


def _plain(kind: Any) -> Any:
    """``dict`` for ``dict[str, int]``."""
    return typing.get_origin(kind) or kind


def _optional(name: str, annotation: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=None, annotation=annotation)


def parameters_of(function: Callable, without: str = "") -> dict[str, inspect.Parameter]:
    """Parameters by name, annotations evaluated; that of ``without`` may be for type checkers only."""
    namespace = vars(inspect.getmodule(function))
    parameters = dict(inspect.signature(function).parameters)
    parameters.pop(without, None)
    for name, parameter in parameters.items():
        annotation = parameter.annotation
        if isinstance(annotation, str):
            annotation = eval(annotation, namespace)  # the package's own source
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters[name] = parameter.replace(annotation=annotation, kind=kind)
    return parameters


def _load(source: str) -> Callable[..., Any]:
    module, _, name = source.partition(":")
    return getattr(importlib.import_module(f"hf_relvit.{module}"), name)


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    """A parser of one choice, with typer's own message."""

    def parse(text: str) -> str:
        if text not in choices:
            expected = ", ".join(map(repr, choices))
            raise ValueError(f"{text!r} is not one of {expected}")
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
    values = default if isinstance(default, tuple | list) else [default]
    return ", ".join(map(str, values))
