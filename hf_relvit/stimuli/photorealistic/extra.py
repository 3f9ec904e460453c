"""What the extra `render` brings, imported only when it is needed."""

from __future__ import annotations

import importlib
from typing import Any

from ...errors import RelViTError


def need(module: str) -> Any:
    """Import a module of the extra.

    Raises:
        RelViTError: it is not installed; the message says how to get it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise RelViTError(
            f"{package} is not installed: expected the renderer's packages; pip install 'hf_relvit[render]'"
        ) from error
