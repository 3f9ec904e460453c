"""The one gate for all that leaves this machine: which files, and a look into each for tokens and local paths."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from ..errors import RelViTError
from ..manifest import MANIFEST
from ..modeling.adapters import CONFIG_FILE, WEIGHTS_FILE
from ..modeling.configuration_relvit import CODE_FILES
from ..report.redaction import without_paths
from ..report.run_folder import DATA, TRAINING, is_of_random_weights

MODEL_FILES = frozenset(
    {
        "config.json",
        "preprocessor_config.json",
        "model.safetensors",
        "model.safetensors.index.json",
        CONFIG_FILE,
        WEIGHTS_FILE,
    }
)

CELL_FILES = frozenset({".parquet", ".json", ".png", ".svg", ".safetensors"})
MAX_BYTES = 5_000_000_000
"""Of one file; our choice. The largest backbone that we know of has 4.5 GB."""

_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_TOKEN = re.compile(rb"\bhf_[A-Za-z0-9]{20,}")
_HEADER = 1_000_000  # bytes of a file of tensors that are looked at: its header is at the start
_CHUNK = 16_000_000  # bytes of any other file that are looked at together
_OVERLAP = 100  # bytes: a token at the seam of two chunks is seen whole
_TEXT = frozenset({".json", ".svg", ".html", ".md", ".yaml", ".py"})


def model_file(name: str) -> bool:
    """Whether a file of a checkpoint folder may be published; pickles, optimizer and random states may not."""
    return name in MODEL_FILES or name in CODE_FILES or _SHARD.fullmatch(name) is not None


def cell_file(name: str) -> bool:
    """Whether a file of a finished cell, by its path in the run, may be published."""
    path = PurePosixPath(name)
    if path.suffix not in CELL_FILES or path.name == MANIFEST:
        return False
    if path.parts[0] in (DATA, TRAINING):
        return False
    # The alignments of the random-weights control fit no published weights: their scores are what counts.
    return path.suffix == ".parquet" or not is_of_random_weights(name)


def check_size(path: Path) -> None:
    """Raise RelViTError for a file above the limit, before anything reads it."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise RelViTError(
            f"{path} has {size / 1e9:.1f} GB: expected at most {MAX_BYTES / 1e9:.0f} GB per file; "
            "save the checkpoint in shards, or publish it with `hf upload`"
        )


def checked(name: str, path: Path, root: Path) -> Path | bytes:
    """A file as it may be published: itself, or its text with the paths of this machine cut to their last part.

    Files are looked at piece by piece, and files of tensors at their start only, so that none fills the memory.

    Args:
        name: its path in the repository.
        path: where it is.
        root: the folder that it must lie in.

    Raises:
        RelViTError: a link that leads out of the folder, a file that is missing or too large, a token of the Hub, or
            code with paths of this machine.
    """
    _check_file(path, root)
    if path.suffix not in _TEXT:
        return path
    cleaned = without_paths(name, path.read_text("utf-8", errors="replace"))
    if cleaned is None:
        return path
    if path.suffix == ".py":
        raise RelViTError(
            f"{path} names a path of this machine: expected the code that was saved with the model"
        )
    return cleaned.encode()


def _check_file(path: Path, root: Path) -> None:
    """A file that may leave this machine is there, in its folder, not too large, and holds no token."""
    if not path.resolve().is_relative_to(root.resolve()):
        raise RelViTError(
            f"{path} leads out of {root}: expected a file of that folder; replace the link by the file"
        )
    if not path.is_file():
        raise RelViTError(f"{path} is missing: make it again")
    check_size(path)
    if _holds_token(path):
        raise RelViTError(
            f"{path} holds a likely token of the Hub: remove it, and revoke the token",
            page="token",
        )


def checked_files(files: Mapping[str, Path], root: Path) -> dict[str, Path | bytes]:
    """``checked`` for each of some files: path in the repository -> the file or its cleaned content."""
    return {name: checked(name, path, root) for name, path in sorted(files.items())}


def checked_text(name: str, text: str) -> bytes:
    """A generated text as it may be published.

    Raises:
        RelViTError: it holds a token of the Hub.
    """
    content = (without_paths(name, text) or text).encode()
    if _TOKEN.search(content):
        raise RelViTError(f"{name} would hold a likely token of the Hub: look for it")
    return content


def _holds_token(path: Path) -> bool:
    with path.open("rb") as file:
        if path.suffix == ".safetensors":
            return _TOKEN.search(file.read(_HEADER)) is not None
        end = b""
        while chunk := file.read(_CHUNK):
            if _TOKEN.search(end + chunk):
                return True
            end = chunk[-_OVERLAP:]
    return False
