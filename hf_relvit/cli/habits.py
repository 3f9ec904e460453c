"""Habits of every command: ``--quiet``, and ``--json`` where numbers are printed; one way to say and one to show.

analyze = Commands(help="Measurements on a checkpoint.")

@analyze.command("probe", numbers=True)
def analyze_probe(...):
    show("probes", frame, columns)  # a table, or with --json its rows
    say(out / "probes.png")         # a message: neither with --quiet nor with --json
"""

from __future__ import annotations

import functools
import inspect
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from ..progress import silence
from .bridge import parameters_of

if TYPE_CHECKING:
    import pandas as pd

WIDTH_OF_BOXES = 130  # columns; on a narrower terminal typer's boxes cut the names of options

Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Say nothing but errors and the numbers asked for.")
]
Json = Annotated[
    bool, typer.Option("--json", help="Numbers as one JSON document, at full precision.")
]


class _Output:
    """How the command that runs now writes to its standard output."""

    quiet = False
    as_json = False
    shown: dict[str, Any] = {}


def say(message: object) -> None:
    """A message, such as the path of a written file."""
    if not (_Output.quiet or _Output.as_json):
        typer.echo(message)


def show(
    name: str,
    numbers: pd.DataFrame | Mapping[str, Any],
    columns: Sequence[str] = (),
    text: str = "",
) -> None:
    """Numbers: the purpose of the command.

    Args:
        name: their key with ``--json``.
        numbers: a table, which becomes a list of rows, or a mapping.
        columns: of the table on the terminal; with ``--json`` all are written.
        text: for the terminal, instead of the table.
    """
    import pandas as pd

    if _Output.as_json:
        rows = numbers.to_dict("records") if isinstance(numbers, pd.DataFrame) else dict(numbers)
        _Output.shown[name] = plain(rows)
    elif text or not isinstance(numbers, pd.DataFrame):
        typer.echo(text or "\n".join(f"{key:26} {value}" for key, value in numbers.items()))
    else:
        typer.echo(numbers[list(columns)].round(3).to_string(index=False))


def plain(value: Any) -> Any:
    """Numbers of numpy as Python's; None where a number is missing or not finite."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)


class _Command(TyperCommand):
    """A command whose help shows every name whole: in boxes where they fit, else in plain lines."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        boxes = self.rich_markup_mode
        if shutil.get_terminal_size().columns < WIDTH_OF_BOXES:
            self.rich_markup_mode = None
        try:
            super().format_help(ctx, formatter)
        finally:
            self.rich_markup_mode = boxes


class Commands(typer.Typer):
    """A group of commands that share their habits."""

    def __init__(self, **settings: Any):
        super().__init__(no_args_is_help=True, **settings)

    def command(self, name: str | None = None, *, numbers: bool = False, **settings: Any) -> Any:
        """As ``typer.Typer.command``; ``numbers`` for a command that prints some."""
        register = super().command

        def decorate(function: Callable) -> Callable:
            text = paragraphs(function.__doc__ or "")
            told: dict[str, Any] = {"cls": _Command, "help": text, **settings}
            register(name, **told)(with_habits(function, numbers))
            return function

        return decorate


def paragraphs(text: str) -> str:
    """A docstring with a line per paragraph: the terminal breaks them to its own width."""
    found = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(" ".join(each.split()) for each in found)


def with_habits(function: Callable, numbers: bool) -> Callable:
    """The function with the options ``--quiet`` and, for ``numbers``, ``--json``."""
    parameters = parameters_of(function)
    kinds: dict[str, Any] = {"quiet": Quiet}
    if numbers:
        kinds["as_json"] = Json
    for name, kind in kinds.items():
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters[name] = inspect.Parameter(name, keyword, default=False, annotation=kind)

    @functools.wraps(function)
    def command(quiet: bool, as_json: bool = False, **given: Any) -> None:
        _Output.quiet = quiet
        _Output.as_json = as_json
        _Output.shown = {}
        silence(quiet)
        function(**given)
        if as_json:
            typer.echo(json.dumps(_Output.shown, allow_nan=False, ensure_ascii=False))

    command.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
    command.__annotations__ = {name: each.annotation for name, each in parameters.items()}
    return command
