"""What is checked before a checkpoint is read, and what reading and writing it can raise, as one line for the user."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, cached_file

try:  # a folder saved for the Hub carries this file beside its own copy
    from hf_relvit.errors import RelViTError
except ImportError:
    from .errors import RelViTError  # pyright: ignore[reportMissingImports]


@contextmanager
def one_line(problem: str, cure: str) -> Iterator[None]:
    """Raise RelViTError "problem: reason; cure" for a missing, corrupt or unwritable file inside the block."""
    try:
        yield
    except RelViTError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0].rstrip(".!")
        raise RelViTError(f"{problem}: {reason}; {cure}") from error


def check_weights(path_or_id: str | os.PathLike, revision: str | None) -> None:
    """Make sure that transformers will find safetensors, and so open neither pickles nor files elsewhere.

    Raises:
        RelViTError: no safetensors, or an index of shards that names anything but files beside it.
    """
    optional = {"revision": revision, "_raise_exceptions_for_missing_entries": False}
    if cached_file(path_or_id, SAFE_WEIGHTS_NAME, **optional) is not None:
        return
    index = cached_file(path_or_id, SAFE_WEIGHTS_INDEX_NAME, **optional)
    if index is None:
        raise RelViTError(
            f"{path_or_id} has no {SAFE_WEIGHTS_NAME}: expected safetensors, as pickles are not opened; save it again"
        )
    for name in set(json.loads(Path(index).read_text(encoding="utf-8"))["weight_map"].values()):
        if Path(name).name != name:
            raise RelViTError(f"the index of {path_or_id} names {name}, which leads out of it: expected a file name")
