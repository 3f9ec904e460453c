"""Paths of this machine cut to their last part, for whatever is published."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from ..errors import RelViTError

_ABSOLUTE = re.compile(r"(?:~?/|[A-Za-z]:[\\/]).*")
_LOCAL = re.compile(
    r"""(?<![\w:/.+<\\-])(?:~/|/(?:home|Users|root|tmp|private|var|mnt|media|scratch|content|kaggle|workspace)/
    |[A-Za-z]:\\+Users\\+)[^\s"'<>`)\],;&]*""",
    re.VERBOSE,
)


def without_paths(name: str, text: str) -> str | None:
    """Text with local paths cut to their last part; None if it has none. In JSON any absolute path counts."""
    if name.endswith(".json"):
        try:
            values = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise RelViTError(f"{name} is no JSON ({error}): make it again") from error
        cut = without_local(values)
        return None if cut == values else json.dumps(cut, indent=1, sort_keys=True) + "\n"
    cut = _cut(text)
    return None if cut == text else cut


def without_local(value: Any) -> Any:
    """A JSON value with every absolute path in it cut to its last part."""
    if isinstance(value, dict):
        return {without_local(key): without_local(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_local(item) for item in value]
    if not isinstance(value, str):
        return value
    return _last(value) if _ABSOLUTE.fullmatch(value) else _cut(value)


def _cut(text: str) -> str:
    here = {str(Path.home()), str(Path.cwd()), tempfile.gettempdir()} - {"/", ""}
    for place in sorted(here, key=len, reverse=True):
        text = re.sub(
            rf"(?<![\w.-]){re.escape(place)}(?:/[^\s\"'<>`)\],;&]*)?(?![\w-])", _of_match, text
        )
    return _LOCAL.sub(_of_match, text)


def _of_match(match: re.Match) -> str:
    return _last(match.group())


def _last(path: str) -> str:
    return re.split(r"[\\/]+", path.rstrip("\\/"))[-1].lstrip("~") or "folder"
