"""The error and the warning that users see as a single line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RelViTError(ValueError):
    """Bad input: the message names the value, the expected one and the cure, in one line.

    The command line prints the message without a traceback and exits with code 2.

    Args:
        message: the line.
        page: name of the page in docs/errors that tells more; the line then ends with its path.
    """

    def __init__(self, message: str, page: str = ""):
        line = f"{message} (docs/errors/{page}.md)" if page else message
        super().__init__(line)


class RelViTWarning(UserWarning):
    """Worth saying, and no reason to stop: the command line prints the message alone."""


def nearest(given: object, known: Iterable[str]) -> str:
    """The end of an error's line that names the known word nearest to the given one; empty if none is near."""
    close = difflib.get_close_matches(str(given), list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
