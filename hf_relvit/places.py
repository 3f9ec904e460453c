"""Whether a place can be written to, asked before any work is done for it."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import RelViTError
from .owned import check_free, partial_path, release


def check_out(path: Path | str, *, file: bool = False) -> Path:
    """Raise RelViTError unless results can be written to a place; nothing is left there.

    Args:
        path: a folder that may not exist yet, or a file.
        file: whether the result is a file.

    Returns:
        The path.

    Raises:
        RelViTError: an empty name, a file in the way of a folder or the other way round, a folder in which this user
            may not write or that takes no files, such as /proc; a file that we did not write.
    """
    if not str(path) or "\0" in str(path):
        raise RelViTError(
            f"--out {str(path)!r}: expected the name of a {'file' if file else 'folder'}"
        )
    place = Path(path)
    try:
        _check_kind(place, file)
        if file:
            check_free(place)
        _try_to_write(place)
    except OSError as error:
        reason = error.strerror or error
        raise RelViTError(f"{place} cannot be written ({reason}): choose another --out") from error
    return place


def _check_kind(place: Path, file: bool) -> None:
    if file and place.is_dir():
        raise RelViTError(f"{place} is a folder: expected the name of a file for --out")
    if not file and os.path.lexists(place) and not place.is_dir():
        raise RelViTError(f"{place} is a file: expected a folder for --out")
    for folder in place.parents:
        if os.path.lexists(folder) and not folder.is_dir():
            raise RelViTError(
                f"{folder} is a file, so {place} cannot be made: choose another --out"
            )


def _try_to_write(place: Path) -> None:
    """Write and remove a file in the nearest folder that exists; OSError if that is not possible."""
    folder = place if place.is_dir() else place.parent
    while not folder.is_dir():
        place.name.encode()
        folder = folder.parent
    longest = max(len(os.fsencode(part)) for part in place.absolute().parts)
    if longest > 255 - len(".partial-01234567-1234567.."):
        raise OSError(36, "File name too long")
    probe = partial_path(folder / "probe")
    try:
        probe.touch()
    finally:
        release(probe)
