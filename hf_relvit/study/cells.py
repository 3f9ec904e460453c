"""A cell of a study: a folder that is either finished, by its manifest, or to be done (again)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import RelViTError
from ..provenance import read_json, write_json

MANIFEST = "DONE.json"


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


def run_cell(folder: Path, settings: dict, work: Callable[[Path], object]) -> bool:
    """Do ``work(folder)`` unless it is done already.

    The manifest is written last and names every file with its checksum, so a process killed at any moment leaves a
    cell that counts as not done, and a file changed afterwards is noticed. What ``work`` finds of an earlier, killed
    attempt it may use (training resumes) or write again.

    Args:
        folder: of the cell.
        settings: all that the result depends on, as JSON.
        work: writes the cell's files.

    Returns:
        Whether there was anything to do.

    Raises:
        RelViTError: a finished cell of other settings, or one whose files changed: results are never mixed.
    """
    folder = Path(folder)
    if (folder / MANIFEST).exists():
        manifest = read_json(folder / MANIFEST)
        if manifest["settings"] != settings:
            changed = sorted(
                k for k in {*settings, *manifest["settings"]} if settings.get(k) != manifest["settings"].get(k)
            )
            raise RelViTError(
                f"{folder} was made with another {', '.join(changed)}: name another folder with --out, or remove it"
            )
        check_cell(folder)
        return False
    folder.mkdir(parents=True, exist_ok=True)
    work(folder)
    files = {str(p.relative_to(folder)): _digest(p) for p in sorted(folder.rglob("*")) if p.is_file()}
    write_json(folder / MANIFEST, {"settings": settings, "files": files})
    return True


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
