"""What may leave this machine: an allow-list of files, and a look into each for tokens and local paths."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from ..errors import RelViTError
from ..modeling.configuration_relvit import CODE
from ..report.redaction import without_paths

MODEL_FILES = frozenset(
    {"config.json", "preprocessor_config.json", "model.safetensors", "model.safetensors.index.json"}
)
CODE_FILES = frozenset(f"{name}.py" for name in (*CODE, "errors", "geometry"))
CELL_FILES = frozenset({".parquet", ".json", ".png", ".svg", ".safetensors"})
MAX_BYTES = 5_000_000_000
"""Of one file; our choice. The largest backbone that we know of has 4.5 GB."""

_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_TOKEN = re.compile(rb"\bhf_[A-Za-z0-9]{20,}")
_HEADER = 1_000_000  # bytes of a file of tensors that are looked at: its header is at the start
_TEXT = frozenset({".json", ".svg", ".html", ".md", ".yaml", ".py"})


def model_file(name: str) -> bool:
    """Whether a file of a checkpoint folder may be published; pickles, optimizer and random states may not."""
    return name in MODEL_FILES or name in CODE_FILES or _SHARD.fullmatch(name) is not None


def cell_file(name: str) -> bool:
    """Whether a file of a finished cell, by its path in the run, may be published."""
    path = PurePosixPath(name)
    # The alignments of the random-weights control fit no published weights: their scores are what counts.
    fits = path.parts[0] != "das_random" or path.suffix == ".parquet"
    return (
        path.suffix in CELL_FILES
        and path.name != "DONE.json"
        and path.parts[0] not in ("data", "training")
        and fits
    )


def check_size(path: Path) -> None:
    """Raise RelViTError for a file above the limit, before anything reads it."""
    if (size := path.stat().st_size) > MAX_BYTES:
        raise RelViTError(
            f"{path} has {size / 1e9:.1f} GB: expected at most {MAX_BYTES / 1e9:.0f} GB a file; "
            "save the checkpoint in shards, or publish it with `hf upload`"
        )


def checked(name: str, path: Path, root: Path) -> Path | bytes:
    """A file as it may be published: itself, or its text with the paths of this machine cut to their last part.

    Files are looked at by size first, and files of tensors at their start only, so that none fills the memory.

    Args:
        name: its path in the repository.
        path: where it is.
        root: the folder that it must lie in.

    Raises:
        RelViTError: a link that leads out of the run, a file that is too large, a token of the Hub, or code with paths
            of this machine.
    """
    if not path.resolve().is_relative_to(root.resolve()):
        raise RelViTError(
            f"{path} leads out of {root}: expected a file of the run; replace the link by the file"
        )
    check_size(path)
    with path.open("rb") as file:
        content = file.read(_HEADER if path.suffix == ".safetensors" else -1)
    if _TOKEN.search(content):
        raise RelViTError(
            f"{path} holds what looks like a token of the Hub: remove it, and revoke the token"
        )
    if path.suffix not in _TEXT:
        return path
    cleaned = without_paths(name, content.decode("utf-8", errors="replace"))
    if cleaned is None:
        return path
    if path.suffix == ".py":
        raise RelViTError(
            f"{path} names a path of this machine: expected the code that was saved with the model"
        )
    return cleaned.encode()
