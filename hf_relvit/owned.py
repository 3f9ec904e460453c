"""Whose files these are: the one place that removes, moves or overwrites, and only files of this package.

A file counts as ours if a record says so. Inside a cell of a study that is at work, ``STARTED.json`` speaks for all
files, since a cell starts in an empty folder. Elsewhere the hidden text file ``.hf_relvit`` of a folder names, one per
line, the files in it that were written through ``files.atomic_write``. Everything else belongs to somebody else.

An unfinished one has the name ``.NAME.partial-HOST-PID``. A later attempt knows by it whether the process that
wrote it is still alive.
"""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import os
import re
import shutil
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from platform import node

from .errors import RelViTError

RECORD = ".hf_relvit"
"""The text file that names which files of its folder are ours."""
STARTED = "STARTED.json"
"""The settings of a cell that is not finished."""
MANIFEST = "DONE.json"
"""Settings and checksums of a finished cell."""

_EVERYTHING = "*"
"""The record of a folder that is being written."""

_HOST = f"{zlib.crc32(node().encode()):08x}"
_PARTIAL = re.compile(r"\..+\.(partial|previous)-(?P<host>[0-9a-f]{8})-(?P<pid>\d+)")
_OLDER_PARTIAL = re.compile(r"\..+\.(?P<pid>\d+)\.tmp|\..+\.(partial|previous)-(?P<pid2>\d+)")
_LOCK = re.compile(r"\..+\.lock")
_JUNK = ("._*", ".nfs*", ".DS_Store", "Thumbs.db", "desktop.ini", ".directory", ".fuse_hidden*")
_DEPTH = 4  # folders between a cell and its deepest file
_PAGES = ("figures", "tables", "model")  # folders of a study's or a training's own pages
_OLDER_CELLS = (MANIFEST, f"*/{MANIFEST}", f"seed*/*/{MANIFEST}", f"*/seed*/*/{MANIFEST}")


def is_junk(path: Path) -> bool:
    """Whether a file comes and goes with file managers and network file systems."""
    return any(fnmatch.fnmatch(path.name, pattern) for pattern in _JUNK)


def is_partial(path: Path) -> bool:
    """Whether a file or folder is the half-written one of some attempt, by its name."""
    name = path.name
    return _PARTIAL.fullmatch(name) is not None or _OLDER_PARTIAL.fullmatch(name) is not None


def results_in(folder: Path) -> list[Path]:
    """The files below a folder that are neither junk nor half-written nor locks nor our record, sorted."""
    kept = []
    for path in sorted(folder.rglob("*")):
        steps = path.relative_to(folder).parts
        unfinished = any(is_partial(Path(step)) or is_junk(Path(step)) for step in steps)
        bookkeeping = path.name == RECORD or _LOCK.fullmatch(path.name) is not None
        if path.is_file() and not unfinished and not bookkeeping:
            kept.append(path)
    return kept


def partial_path(path: Path) -> Path:
    """The name, beside ``path``, under which this process writes it."""
    return path.with_name(f".{path.name}.partial-{_HOST}-{os.getpid()}")


def clear_partials(folder: Path, name: str | None = None, *, locked: bool = False) -> None:
    """Remove half-written files of killed attempts.

    Args:
        folder: where to look; ``locked`` looks into its subfolders as well.
        name: only the attempts at this file or folder; by default all.
        locked: the caller holds the lock of the folder, so that no other attempt can be alive.
    """
    if not folder.is_dir():
        return
    candidates = folder.rglob(".*") if locked else folder.glob(".*")
    for path in list(candidates):
        wanted = name is None or path.name.startswith(f".{name}.")
        if wanted and is_partial(path) and (locked or not _is_alive(path.name)):
            _remove(path)


def _is_alive(name: str) -> bool:
    """Whether the process that owns a half-written file may still run; on other machines it may."""
    match = _PARTIAL.fullmatch(name)
    older = _OLDER_PARTIAL.fullmatch(name)
    if match is not None and match["host"] != _HOST:
        return True
    if match is not None:
        pid = int(match["pid"])
    elif older is not None:
        pid = int(older["pid"] or older["pid2"])
    else:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def claim(folder: Path) -> None:
    """Declare that only files which this package writes from now on are ours in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / RECORD
    if not record.exists() and not _predates_records(folder):
        record.touch()


def is_ours(path: Path) -> bool:
    """Whether a file that exists was written by this package."""
    folder = path.parent
    if in_cell(folder):
        return True
    record = folder / RECORD
    if record.is_file():
        return path.name in record.read_text(encoding="utf-8").splitlines()
    return _predates_records(folder)


def in_cell(folder: Path) -> bool:
    """Whether a folder lies in a cell of a study that is at work."""
    return any((level / STARTED).is_file() for level in _levels(folder))


def _levels(folder: Path) -> list[Path]:
    absolute = folder.absolute()
    return [absolute, *absolute.parents[:_DEPTH]]


def _predates_records(folder: Path) -> bool:
    """Whether a folder belongs to a study of an older version, which kept no records."""
    root = folder.parent if folder.name in _PAGES else folder
    if (root / RECORD).is_file():
        return False
    return any(any(root.glob(pattern)) for pattern in _OLDER_CELLS)


def check_free(path: Path) -> None:
    """Raise RelViTError if there is a file under a name that is not ours to overwrite."""
    if os.path.lexists(path) and not is_ours(path):
        raise RelViTError(
            f"{path} is there already and was not written by hf_relvit: move it away, or choose another --out",
            page="not-ours",
        )


def check_empty(folder: Path) -> None:
    """Raise RelViTError if a folder holds anybody's files."""
    others = results_in(folder) if folder.is_dir() else []
    if others:
        raise RelViTError(
            f"{others[0]} is there already and was not written by hf_relvit: move it away, or choose another --out",
            page="not-ours",
        )


def put_in_place(partial: Path, path: Path, *, owned: bool) -> None:
    """Give a whole file its name, unless that name is taken by a file of somebody else.

    Args:
        partial: the whole file.
        path: its name.
        owned: the caller knows that the name is ours, by a manifest of the folder; no record is kept.
    """
    if not owned and not in_cell(path.parent):
        check_free(path)
        _note(path)
    os.replace(partial, path)


def _note(path: Path) -> None:
    record = path.parent / RECORD
    if record.is_file():
        known = record.read_text(encoding="utf-8").splitlines()
    elif _predates_records(path.parent):
        known = []
        record.write_text(
            "".join(f"{each.name}\n" for each in path.parent.iterdir()), encoding="utf-8"
        )
    else:
        known = []
    if path.name not in known:
        with record.open("a", encoding="utf-8") as file:  # appends of two processes do not mix
            file.write(f"{path.name}\n")


def move(source: Path, target: Path) -> None:
    """Rename a file or folder of ours; RelViTError if the new name is taken."""
    if os.path.lexists(target):
        raise RelViTError(f"{target} is there already: move it away, or choose another --out")
    os.replace(source, target)


def follow_umask(folder: Path) -> None:
    """Give each file of a folder of ours the mode of a new file: the safetensors library lets only the owner read."""
    probe = folder / f"{RECORD}.mode"
    probe.touch()
    mode = probe.stat().st_mode
    probe.unlink()
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(mode)


def withdraw(path: Path) -> None:
    """Remove a file of ours, so that its folder does not count as finished; RelViTError if it is not ours."""
    check_free(path)
    path.unlink(missing_ok=True)


def release(path: Path) -> None:
    """Remove a lock or a mark that the caller itself made, and knows to be its own."""
    path.unlink(missing_ok=True)


@contextlib.contextmanager
def partial_folder(folder: Path) -> Iterator[Path]:
    """An empty folder of this process beside ``folder``, gone afterwards; those of killed attempts go first."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    clear_partials(folder.parent, folder.name)
    partial = partial_path(folder)
    _remove(partial)  # of this process: an earlier attempt that ended in an error
    partial.mkdir()
    try:
        yield partial
    finally:
        _remove(partial)


def replace_folder(
    partial: Path,
    folder: Path,
    *,
    last: str,
    ours: Iterable[str] = (),
) -> None:
    """Put the files of a whole folder in place; other files in ``folder`` stay as they are.

    A folder that holds nothing else is exchanged in two renames. Beside files of others the new files come one by
    one. Without its ``last`` file a folder does not count as whole: that one goes first and comes last.

    Args:
        partial: holds the new files; it is empty or gone afterwards.
        folder: their place.
        last: the file by which a reader knows that the folder is whole.
        ours: patterns of the files in ``folder`` that an earlier call put there: these are replaced or removed.

    Raises:
        RelViTError: a file of somebody else has one of the names.
    """
    patterns = tuple(ours)
    names = [
        str(path.relative_to(partial)) for path in sorted(partial.rglob("*")) if path.is_file()
    ]
    check_replaceable(folder, names, patterns)
    if not folder.exists():
        os.replace(partial, folder)
        return
    if all(_matches(str(path.relative_to(folder)), patterns) for path in results_in(folder)):
        previous = folder.with_name(f".{folder.name}.previous-{_HOST}-{os.getpid()}")
        os.replace(folder, previous)
        try:
            os.replace(partial, folder)
        except OSError:
            os.replace(previous, folder)
            raise
        _remove(previous)
        return
    (folder / last).unlink(missing_ok=True)
    remove_ours(folder, patterns)
    for name in sorted(names, key=lambda each: each == last):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(partial / name, target)


def check_replaceable(folder: Path, names: Iterable[str], ours: Iterable[str] = ()) -> None:
    """Raise RelViTError if one of the names is taken in a folder, by a file that ``ours`` does not match."""
    if folder.exists() and not folder.is_dir():
        raise RelViTError(
            f"{folder} is a file, so that results cannot be written into it: choose another folder"
        )
    for name in names:
        if os.path.lexists(folder / name) and not _matches(name, ours):
            raise RelViTError(
                f"{folder / name} is there already and was not written by hf_relvit: move it away, or choose another "
                "folder"
            )


def remove_ours(folder: Path, ours: Iterable[str]) -> None:
    """Remove the files of a folder that patterns name, then empty folders; the files of others stay.

    Args:
        folder: in which to remove.
        ours: patterns of paths in it, such as "checkpoint-*/*"; ``*`` matches slashes, too.
    """
    if not folder.is_dir() or folder.is_symlink():
        return
    patterns = tuple(ours)
    for path in sorted(folder.rglob("*"), reverse=True):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() and not path.is_symlink():
            with contextlib.suppress(OSError):  # somebody's file is in it
                path.rmdir()
        elif _matches(name, patterns) or is_partial(path):
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


@contextlib.contextmanager
def noting(folder: Path) -> Iterator[None]:
    """Note as ours the files that a library, which keeps no record, writes into a folder meanwhile.

    A new folder that a killed process leaves behind is ours as a whole.
    """
    if not folder.exists():
        folder.mkdir(parents=True)
        (folder / RECORD).write_text(f"{_EVERYTHING}\n", encoding="utf-8")
    before = _stamps(folder)
    yield
    written = [path for path, stamp in _stamps(folder).items() if before.get(path) != stamp]
    record = folder / RECORD
    earlier = record.read_text(encoding="utf-8").splitlines() if record.is_file() else []
    names = {path.relative_to(folder).as_posix() for path in written} | {*earlier} - {_EVERYTHING}
    partial = partial_path(record)
    partial.write_text("".join(f"{name}\n" for name in sorted(names)), encoding="utf-8")
    os.replace(partial, record)


def _stamps(folder: Path) -> dict[Path, int]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != RECORD]
    return {path: path.stat().st_mtime_ns for path in files}


def remove_noted(folder: Path) -> None:
    """Remove the files that the record of a folder, made by ``noting``, names; those of others stay."""
    record = folder / RECORD
    if folder.is_symlink() or not record.is_file():
        return
    names = record.read_text(encoding="utf-8").splitlines()
    patterns = ["*"] if _EVERYTHING in names else [glob.escape(name) for name in names]
    remove_ours(folder, [*patterns, RECORD])


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
