"""A finished folder says so itself: a manifest, written last, names every file with its checksum."""

from __future__ import annotations

import hashlib
from pathlib import Path

from .errors import RelViTError
from .files import write_json
from .owned import MANIFEST, STARTED, results_in
from .schemas import FinishedCell, read_as


def write_manifest(folder: Path, settings: dict) -> None:
    """Declare a folder finished: its settings, and the checksum of every result in it."""
    results = [path for path in results_in(folder) if path != folder / STARTED]
    files = {str(path.relative_to(folder)): _digest(path) for path in results}
    write_json(folder / MANIFEST, {"settings": settings, "files": files}, owned=True)


def is_finished(folder: Path) -> bool:
    """Whether a folder has a manifest."""
    return (folder / MANIFEST).is_file()


def manifest_settings(folder: Path) -> dict:
    """The settings that a finished folder was made with."""
    return read_as(folder / MANIFEST, FinishedCell)["settings"]


def check_manifest(folder: Path) -> None:
    """Raise RelViTError unless every file of a finished folder is as it was made, and lies in the folder."""
    for name, digest in read_as(folder / MANIFEST, FinishedCell)["files"].items():
        if not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise RelViTError(
                f"{folder / MANIFEST} names {name}, outside of its cell: expected the manifest of our study"
            )
        if _digest(folder / name) != digest:
            raise RelViTError(
                f"{folder / name} changed since it was made: remove {folder} to make it again",
                page="changed-cell",
            )


def _digest(path: Path) -> str:
    if not path.is_file():
        return "missing"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
