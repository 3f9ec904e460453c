"""A cell of a study: a folder that is either finished, by its manifest, or to be done (again)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ..errors import RelViTError
from ..files import file_lock, full_disk_told, tidy_after_kill, write_json
from ..manifest import check_manifest, is_finished, manifest_settings, write_manifest
from ..owned import STARTED, check_empty, clear_partials, release
from ..schemas import read_as
from ..training.config import comparable


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


def run_cell(
    folder: Path,
    settings: dict,
    work: Callable[[Path], object],
    *,
    patience: float = 0,
) -> bool:
    """Do ``work(folder)`` unless it is done already.

    The manifest is written last and names every file with its checksum, so a process killed at any moment leaves a
    cell that counts as not done, and a file changed afterwards is noticed. ``work`` may use the files
    of an earlier, killed attempt with the same settings (training resumes), or write them again.

    Args:
        folder: of the cell.
        settings: all that the result depends on, as JSON.
        work: writes the cell's files.
        patience: seconds to wait for another process that is at this cell.

    Returns:
        Whether there was anything to do.

    Raises:
        RelViTError: a cell of other settings, or a finished one whose files changed: results are never mixed; a
            folder with files that are not of this cell; or another process is at it.
    """
    folder = Path(folder)
    started = folder / STARTED
    if _is_finished(folder, settings):
        tidy_after_kill(folder, partial(release, started))
        return False
    with full_disk_told(folder), file_lock(folder, patience):
        if _is_finished(folder, settings):  # in the meantime, by another process
            release(started)
            return False
        if started.exists():
            _check_settings(folder, read_as(started), settings)
        else:
            check_empty(folder)
        clear_partials(folder, locked=True)
        write_json(started, settings, owned=True)
        work(folder)
        write_manifest(folder, settings)
        release(started)
    return True


def _is_finished(folder: Path, settings: dict) -> bool:
    if not is_finished(folder):
        return False
    _check_settings(folder, manifest_settings(folder), settings)
    check_manifest(folder)
    return True


def _check_settings(folder: Path, before: dict, settings: dict) -> None:
    earlier = comparable(before)
    wanted = comparable(settings)
    if earlier != wanted:
        names = {*wanted, *earlier}
        changed = sorted(key for key in names if wanted.get(key) != earlier.get(key))
        raise RelViTError(
            f"{folder} was made with another {', '.join(changed)}: name another folder with --out, or remove it",
            page="other-settings",
        )
