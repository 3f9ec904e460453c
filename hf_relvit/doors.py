"""Public functions look at the types of their arguments: a wrong one is one line, not an error deep inside.

``lazy_names`` puts this check around the functions that a package offers. Modules import each other's functions
directly, so that nothing is checked twice.
"""

from __future__ import annotations

import collections.abc
import functools
import inspect
import numbers
import os
import sys
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import RelViTError, nearest

_WIDER: dict[Any, tuple[type, ...]] = {
    int: (numbers.Integral,),
    float: (numbers.Real,),
    Path: (str, os.PathLike),
}
"""Further values of a type: numpy's numbers and, for a path, its text."""


def checked(function: Callable) -> Callable:
    """The function, with a RelViTError for an argument of another type than its annotation says."""

    @functools.cache
    def hints() -> dict[str, Any]:
        return {name: _evaluated(function, hint) for name, hint in _annotations(function)}

    signature = inspect.signature(function)

    @functools.wraps(function)
    def door(*args: Any, **kwargs: Any) -> Any:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"{function.__name__}(): {error}") from None
        for name, value in given.items():
            parameter = signature.parameters[name]
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                continue
            hint = hints().get(name, Any)
            _check(f"{function.__name__}(): {name}", value, hint)
            check_choice(name, value, hint)
        return function(*args, **kwargs)

    return door


def _annotations(function: Callable) -> list[tuple[str, Any]]:
    annotations = dict(inspect.unwrap(function).__annotations__)
    annotations.pop("return", None)
    return list(annotations.items())


def _evaluated(function: Callable, hint: Any) -> Any:
    """An annotation as a type; Any where it names a type that only type checkers import."""
    if not isinstance(hint, str):
        return hint
    module = inspect.getmodule(inspect.unwrap(function))
    namespace = vars(module)
    try:
        return eval(hint, namespace, _Public())  # the package's own source
    except NameError:
        return Any


class _Public(dict):
    """The public names of this package, for annotations of types that a module imports for type checkers only."""

    def __missing__(self, name: str) -> Any:
        package = sys.modules["hf_relvit"]
        if name not in package.__all__:
            raise KeyError(name)
        return getattr(package, name)


def check_choice(name: str, value: Any, hint: Any) -> None:
    """Raise RelViTError for a value, or one in a list, that the Literals of a type do not name."""
    choices = choices_of(hint)
    words = [choice for choice in choices if choice is not None]
    if not words:
        return
    expected = ", ".join(map(str, choices))
    if isinstance(value, tuple | list) and not value:
        raise RelViTError(f"{name} {value}: expected some of {expected}")
    for given in value if isinstance(value, tuple | list) else [value]:
        known = isinstance(given, str | bool | int | None) and given in choices
        if not known:
            near = nearest(given, map(str, words))
            raise RelViTError(f"unknown {name} {given!r}: expected one of {expected}{near}")


def choices_of(hint: Any) -> tuple[Any, ...]:
    """All that the Literals in a type allow, None included."""
    if typing.get_origin(hint) is typing.Literal:
        return typing.get_args(hint)
    if hint is type(None):
        return (None,)
    parts = typing.get_args(hint)
    return tuple([choice for part in parts for choice in choices_of(part)])


def _check(name: str, value: Any, hint: Any) -> None:
    if _fits(value, hint):
        return
    words = repr(value).split()
    shown = " ".join(words)[:60]
    expected = getattr(hint, "__name__", None) or str(hint)
    for package in ("typing.", "hf_relvit."):
        expected = expected.replace(package, "")
    raise RelViTError(f"{name} is {shown}, a {type(value).__name__}: expected {expected}")


def _fits(value: Any, hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, part) for part in typing.get_args(hint))
    if origin is typing.Literal:
        return isinstance(value, str | bool | int | None)
    if hint is None or hint is type(None):
        return value is None
    kind = origin or hint
    if kind is Any or not isinstance(kind, type):
        return True  # a variable for a type
    if isinstance(value, bool) and kind in (int, float):
        return False
    if kind in (list, tuple, collections.abc.Sequence):
        return _fits_list(value, typing.get_args(hint))
    wider = _WIDER.get(kind, ())
    return isinstance(value, (kind, *wider))


def _fits_list(value: Any, elements: tuple[Any, ...]) -> bool:
    """Whether a value can be gone through, and those in a list are of the first of the types, if there is one."""
    if isinstance(value, str | bytes):
        return False
    if not isinstance(value, collections.abc.Iterable):
        return False
    if not elements or not isinstance(value, list | tuple):
        return True
    return all(_fits(each, elements[0]) for each in value)
