"""Settings are checked by their types: ``Literal`` names the choices, and every ``int`` but the seed is a count."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Literal, get_type_hints

from ..doors import check_choice
from ..errors import RelViTError
from ..limits import check_memory
from ..stimuli.scenes import SCENE_BYTES

Compat = Literal["corrected", "official"]
"""Our corrections, or the quirks of the paper's official code."""


def check_choices(config: Any) -> None:
    """Raise RelViTError for a field of a dataclass that is not, or holds something that is not, among its choices."""
    for name, hint in get_type_hints(type(config)).items():
        check_choice(name, getattr(config, name), hint)


def check_counts(config: Any) -> None:
    """Raise RelViTError for a count of a dataclass, any ``int`` but ``seed``, below 1, or ``layers`` that are none."""
    for name, hint in get_type_hints(type(config)).items():
        if hint is not int or name == "seed":
            continue
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise RelViTError(f"{name} {value}: expected at least 1")
        if "scenes" in name or "pairs" in name:
            check_memory(name, int(value), SCENE_BYTES)
    layers = getattr(config, "layers", None)
    if layers is not None and (not len(layers) or min(layers) < 0):
        raise RelViTError(f"layers {layers}: name blocks from 0, or leave them out for all")
