"""The shapes that the signatures of modeling and analysis give, checked at every call while the tests run.

Signatures name axes, as in ``Float[Tensor, "batch tokens hidden"]``; an axis has one length in a call. What a function
refuses itself, with a message of ours, it still refuses: arguments are looked at when it has returned.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

import jaxtyping
import torch
from beartype.door import is_bearable

import hf_relvit.analysis
import hf_relvit.modeling

KINDS = ("Bool", "Float", "Float32", "Float64", "Int", "Integer", "Shaped", "UInt8")
NAMES = {name: getattr(jaxtyping, name) for name in KINDS}
CHECKED: set[str] = set()
"""Functions whose calls are checked, such as "hf_relvit.analysis.subspaces.interchange"."""


def hints(function: Callable) -> dict[str, Any]:
    """Of the arguments and of "return", those with shapes."""
    plain = inspect.unwrap(function)
    known = {**vars(sys.modules[plain.__module__]), **NAMES}
    return {
        name: eval(hint, known)
        for name, hint in plain.__annotations__.items()
        if isinstance(hint, str) and any(f"{kind}[" in hint for kind in KINDS)
    }


def checked(function: Callable) -> Callable:
    """The function, with a TypeError where a call that it takes has other shapes than its signature."""
    shapes = hints(function)
    signature = inspect.signature(function)
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    takes_any = inspect.Parameter.VAR_KEYWORD in kinds

    @functools.wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        result = function(*arguments, **keywords)
        if isinstance(result, AbstractContextManager):  # nothing has happened yet
            return result
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return result
        # a decorator of transformers takes further keywords, such as return_dict, and may return a tuple then
        named = {name: value for name, value in keywords.items() if name in signature.parameters}
        if len(named) < len(keywords) and not takes_any:
            return result
        values = signature.bind(*arguments, **keywords).arguments
        with jaxtyping.jaxtyped("context"):
            for name, hint in shapes.items():
                value = result if name == "return" else values.get(name)
                if name in values and value is None:
                    continue  # an argument that may be left out
                if (name == "return" or name in values) and not is_bearable(value, hint):
                    raise TypeError(f"{function.__qualname__}, {name}: {shape(value)}, not {hint}")
        return result

    return call


def shape(value: Any) -> str:
    if isinstance(value, dict):
        return str({key: shape(item) for key, item in value.items()})
    if isinstance(value, tuple | list):
        return str([shape(item) for item in value])
    return f"{getattr(value, 'dtype', type(value))} {tuple(getattr(value, 'shape', ()))}"


def modules() -> Iterator[ModuleType]:
    for package in (hf_relvit.modeling, hf_relvit.analysis):
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            yield importlib.import_module(found.name)


def functions(module: ModuleType) -> Iterator[tuple[Any, str, Callable]]:
    """Holder, name and function of each function and method that a module defines."""
    classes = [value for value in vars(module).values() if inspect.isclass(value)]
    for holder in [module, *classes]:
        if holder is not module and holder.__module__ != module.__name__:
            continue
        for name, value in list(vars(holder).items()):
            if inspect.isfunction(value) and value.__module__ == module.__name__:
                yield holder, name, value


def install() -> None:
    """Check from now on; call it before anybody takes a function out of its module."""
    replaced = {}
    for module in modules():
        for holder, name, function in functions(module):
            if hints(function):
                replaced[function] = checked(function)
                setattr(holder, name, replaced[function])
                CHECKED.add(f"{module.__name__}.{function.__qualname__}")
    for module in list(sys.modules.values()):
        if module.__name__.startswith("hf_relvit."):
            for name, value in list(vars(module).items()):
                if inspect.isfunction(value) and value in replaced:
                    setattr(module, name, replaced[value])
