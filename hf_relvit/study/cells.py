"""A cell of a study: a folder that is either finished, by its manifest, or to be done (again)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import RelViTError
from ..provenance import alone, read_json, write_json

MANIFEST = "DONE.json"
STARTED = "STARTED.json"
"""The settings of a cell that is not finished."""


@dataclass(frozen=True)
class Cell:
    """One piece of a run's work.

    Attributes:
        name: its folder in the run's, such as "das/color-0".
        work: writes the cell's files into the folder that it is given.
        needs: names of the cells of the same run that it reads.
        settings: all that the result depends on, as JSON.
    """

    name: str
    work: Callable[[Path], object]
    needs: tuple[str, ...] = ()
    settings: dict = field(default_factory=dict)


def run_cell(folder: Path, settings: dict, work: Callable[[Path], object], *, patience: float = 0) -> bool:
    """Do ``work(folder)`` unless it is done already.

    The manifest is written last and names every file with its checksum, so a process killed at any moment leaves a
    cell that counts as not done, and a file changed afterwards is noticed. What ``work`` finds of an earlier, killed
    attempt with the same settings it may use (training resumes) or write again.

    Args:
        folder: of the cell.
        settings: all that the result depends on, as JSON.
        work: writes the cell's files.
        patience: seconds to wait for another process that is at this cell.

    Returns:
        Whether there was anything to do.

    Raises:
        RelViTError: a cell of other settings, or a finished one whose files changed: results are never mixed; or
            another process is at it.
    """
    folder = Path(folder)
    if _is_finished(folder, settings):
        return False
    with alone(folder, patience):
        if _is_finished(folder, settings):  # in the meantime, by another process
            return False
        started = folder / STARTED
        if started.exists():
            _check_settings(folder, read_json(started), settings)
        write_json(started, settings)
        work(folder)
        started.unlink()
        files = {str(p.relative_to(folder)): _digest(p) for p in sorted(folder.rglob("*")) if p.is_file()}
        write_json(folder / MANIFEST, {"settings": settings, "files": files})
    return True


def _is_finished(folder: Path, settings: dict) -> bool:
    if not (folder / MANIFEST).exists():
        return False
    _check_settings(folder, read_json(folder / MANIFEST)["settings"], settings)
    check_cell(folder)
    return True


def _check_settings(folder: Path, before: dict, settings: dict) -> None:
    if before != settings:
        changed = sorted(key for key in {*settings, *before} if settings.get(key) != before.get(key))
        raise RelViTError(
            f"{folder} was made with another {', '.join(changed)}: name another folder with --out, or remove it"
        )


def check_cell(folder: Path) -> None:
    """Raise RelViTError unless every file of a finished cell is as it was made, and lies in the cell."""
    for name, digest in read_json(folder / MANIFEST)["files"].items():
        if not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise RelViTError(
                f"{folder / MANIFEST} names {name}, outside of its cell: expected the manifest of our study"
            )
        if _digest(folder / name) != digest:
            raise RelViTError(f"{folder / name} changed since it was made: remove {folder} to make it again")


def _digest(path: Path) -> str:
    if not path.is_file():
        return "missing"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
