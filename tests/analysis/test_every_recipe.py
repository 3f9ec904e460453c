"""One recipe per analysis: a config, a function, and a result that is a table and a figure and opens again."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import typing

import pytest

import hf_relvit
import hf_relvit.analysis
from hf_relvit.analysis.result import Result
from hf_relvit.cli.source import read_fields
from hf_relvit.hub.outgoing import cell_file
from hf_relvit.recipes.recipes import RECIPES, SECTIONS

METHODS = ("to_frame", "figure", "plot", "save", "load", "save_pretrained", "from_pretrained")
OF_RECORDS = {"FrozenEdits"}
"""Results that only ``study.measure`` makes, for the record of a backbone."""
PARTS_OF_ALIGN = {"Alignment"}
"""Results that another result holds, and that its function makes one by one."""


def result_of(function) -> type[Result]:
    """What a function gives, by its annotation."""
    inner = inspect.unwrap(function)
    module = inspect.getmodule(inner)
    return vars(module)[inner.__annotations__["return"]]


def functions() -> dict[str, typing.Any]:
    """Public functions that give a result, by the result's name."""
    found = {}
    for name in hf_relvit.__all__:
        function = getattr(hf_relvit, name)
        if inspect.isfunction(function):
            returned = inspect.unwrap(function).__annotations__.get("return")
            found.setdefault(returned, function)
    return found


def results() -> list[type[Result]]:
    """All results of the package."""
    found = set()
    for module in pkgutil.iter_modules(hf_relvit.analysis.__path__):
        members = vars(importlib.import_module(f"hf_relvit.analysis.{module.name}")).values()
        found |= {item for item in members if inspect.isclass(item) and issubclass(item, Result)}
    concrete = [item for item in found if not inspect.isabstract(item) and hasattr(item, "STEM")]
    concrete = [item for item in concrete if item.__name__ not in OF_RECORDS]
    return sorted(concrete, key=lambda item: item.__name__)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_a_config_a_function_and_a_result(name):
    recipe = RECIPES[name]
    assert dataclasses.is_dataclass(recipe.config)
    recipe.config()  # every setting has a default
    assert set(recipe.decided) <= {field.name for field in dataclasses.fields(recipe.config)}
    parameters = inspect.signature(recipe.function).parameters
    assert {"checkpoint", "config", "progress"} <= set(parameters)
    assert parameters["config"].default is None
    kind = result_of(recipe.function)
    assert issubclass(kind, Result)
    assert recipe.function.__name__ in hf_relvit.__all__
    assert {recipe.config.__name__, kind.__name__} <= set(hf_relvit.__all__)
    for file in kind.files():
        assert cell_file(f"{name}/{file}") or "random" in name or "*" in file, "not published"
    if recipe.section is not None:
        assert SECTIONS[recipe.section.name] is recipe.section


@pytest.mark.parametrize("kind", results(), ids=lambda kind: kind.__name__)
def test_every_result_is_made_by_a_public_function_with_a_config(kind):
    """Also those that studies make without a recipe: attention, similarity, correlation, diagnosis."""
    assert kind.__name__ in hf_relvit.__all__
    for method in METHODS:
        assert callable(getattr(kind, method))
    function = functions()[kind.__name__]
    annotation = inspect.unwrap(function).__annotations__["config"]
    config, *rest = annotation.split(" | ")
    assert rest == ["None"] and config in hf_relvit.__all__
    assert inspect.signature(function).parameters["config"].default is None
    module = inspect.getmodule(inspect.unwrap(function)).__name__.removeprefix("hf_relvit.")
    fields = read_fields(f"{module}:{config}")
    assert {field.name for field in fields} >= {
        field.name for field in dataclasses.fields(getattr(hf_relvit, config))
    }, "a setting that the command line cannot have"
