"""Errors of a command line, in one line: the option, the value, the expected one, where to read on."""

from __future__ import annotations

import re
from typing import Any

import typer

from ..errors import nearest

CHOICES = re.compile(r"is not one of (.*)")
PYDANTIC = {"Value error, ": "", "Input should be ": "expected "}
"""How the library that typer converts values with begins its messages, and how ours begin."""


def usage_line(error: typer.TyperException) -> str:
    """The line for an error of typer, in place of its usage block."""
    context = getattr(error, "ctx", None)
    more = f"; see {context.command_path} --help" if context is not None else ""
    faults = getattr(error.__cause__, "errors", None)
    if faults is None:
        message = " ".join(error.format_message().split())
        return f"{message.rstrip('.')}{more}"
    option, _, message = error.format_message().removeprefix("Invalid value for ").partition(": ")
    value = str(_innermost(faults)["input"])
    return f"{option.replace(chr(39), '')} {value!r}: {_expected(message.strip('. '), value)}{more}"


def _innermost(faults: Any) -> dict[str, Any]:
    """The value at fault, which is one of several where an option is repeated."""
    return faults()[0]


def _expected(message: str, value: str) -> str:
    for theirs, ours in PYDANTIC.items():
        message = message.replace(theirs, ours)
    listed = CHOICES.search(message)
    if listed is None:
        return message
    choices = re.findall(r"'([^']*)'", listed[1])
    return f"expected one of {', '.join(choices)}{nearest(value, choices)}"
