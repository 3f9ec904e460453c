"""Public names that load the module they stand in when they are first used.

    __all__, __getattr__, __dir__ = lazy_names(__name__, {"das": ("DASConfig", "fit_alignment")})

in the ``__init__.py`` of a package: importing it loads neither torch nor anything else of its modules (PEP 562).
Functions check the types of their arguments, see ``doors``.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from .doors import checked


def lazy_names(
    package: str, modules: Mapping[str, tuple[str, ...]]
) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """``__all__``, ``__getattr__`` and ``__dir__`` of a package.

    Args:
        package: its ``__name__``.
        modules: module within the package -> the public names that it defines.
    """
    homes = {name: module for module, names in modules.items() for name in names}
    public = sorted(homes)

    @functools.cache
    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(f"{package}.{homes[name]}")
        value = getattr(module, name)
        return checked(value) if inspect.isfunction(value) else value

    return public, load, lambda: public
