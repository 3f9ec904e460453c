"""A cell of a study: a folder that is either finished, by its manifest, or to be done (again)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from ..errors import RelViTError
from ..provenance import read_json, write_json

MANIFEST = "DONE.json"


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
        damaged = [name for name, digest in manifest["files"].items() if _digest(folder / name) != digest]
        if damaged:
            raise RelViTError(f"{folder / damaged[0]} changed since it was made: remove {folder} to make it again")
        return False
    folder.mkdir(parents=True, exist_ok=True)
    work(folder)
    files = {str(p.relative_to(folder)): _digest(p) for p in sorted(folder.rglob("*")) if p.is_file()}
    write_json(folder / MANIFEST, {"settings": settings, "files": files})
    return True


def _digest(path: Path) -> str:
    if not path.is_file():
        return "missing"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
