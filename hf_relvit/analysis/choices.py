"""Settings whose choices stand in their type: ``method: Literal["das", "pca"]``."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin, get_type_hints

from ..errors import RelViTError, nearest

Compat = Literal["corrected", "official"]
"""Our corrections, or the quirks of the paper's official code."""


def check_choices(config: Any) -> None:
    """Raise RelViTError for a field of a dataclass that is not, or holds something that is not, among its choices."""
    for name, hint in get_type_hints(type(config)).items():
        choices = _choices(hint)
        if not any(choice is not None for choice in choices):
            continue
        value = getattr(config, name)
        if value == ():
            raise RelViTError(f"{name} (): expected some of {', '.join(map(str, choices))}")
        for given in value if isinstance(value, tuple | list) else [value]:
            if given not in choices:
                expected = ", ".join(map(str, choices))
                words = [choice for choice in choices if choice is not None]
                raise RelViTError(
                    f"unknown {name} {given!r}: expected one of {expected}{nearest(given, words)}"
                )


def _choices(hint: Any) -> tuple[Any, ...]:
    """All that the Literals in a type allow, None included."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    if hint is type(None):
        return (None,)
    return tuple([choice for part in get_args(hint) for choice in _choices(part)])
