"""What reading and writing checkpoints can raise, as one line for the user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from safetensors import SafetensorError

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
