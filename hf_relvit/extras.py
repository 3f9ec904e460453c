"""Packages of the optional extras, imported only when they are needed."""

from __future__ import annotations

import importlib
from typing import Any

from .errors import RelViTError


def need(module: str, extra: str = "render") -> Any:
    """Import a module of an extra.

    Raises:
        RelViTError: it is not installed; the message says how to get it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise RelViTError(
            f"{package} is not installed: pip install 'hf_relvit[{extra}]'", page="missing-extra"
        ) from error
