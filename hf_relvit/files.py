"""Files that are either whole or absent, and locks that keep two processes from the same work."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import RelViTError
from .owned import check_free, clear_partials, partial_path, put_in_place, release

if TYPE_CHECKING:
    import pandas as pd

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


_FULL = (errno.ENOSPC, errno.EDQUOT)
_TORCH_WRITER = ("PytorchStreamWriter failed", "inline_container.cc")


@contextlib.contextmanager
def atomic_write(path: Path, *, owned: bool = False) -> Iterator[Path]:
    """A temporary name beside ``path`` that becomes ``path`` only if the block ends well.

    The file follows the umask, whatever mode the writer chose, and never takes the place of somebody else's.

    Args:
        path: of the file.
        owned: the caller knows by a manifest of the folder that this name is ours; see ``owned``.

    Raises:
        RelViTError: the disk is full, or the name is taken by a file that we did not write; nothing is left behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not owned:
        check_free(path)
    clear_partials(path.parent, path.name)
    temporary = partial_path(path)
    try:
        with full_disk_told(path):
            temporary.touch()
            mode = temporary.stat().st_mode
            yield temporary
            temporary.chmod(mode)
            put_in_place(temporary, path, owned=owned)
    finally:
        release(temporary)


@contextlib.contextmanager
def full_disk_told(path: Path) -> Iterator[None]:
    """Raise RelViTError for a write that the disk has no room for inside the block, whichever library wrote."""
    try:
        yield
    except RelViTError:
        raise
    except Exception as error:
        if any(is_full_disk(each) for each in causes(error)):
            raise RelViTError(
                f"the disk is full while writing {path}: free some space and run again",
                page="disk-full",
            ) from error
        raise


def is_full_disk(error: BaseException) -> bool:
    """Whether an error says that the disk, or the quota, has no room left.

    Libraries of other languages have only text for it, and torch names no reason: its writer of files ends early.
    """
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    text = str(error)
    return any(words in text for words in (*map(os.strerror, _FULL), *_TORCH_WRITER))


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@contextlib.contextmanager
def file_lock(folder: Path, patience: float = 0) -> Iterator[None]:
    """Keep other processes from the same work, on this machine and on others that share the disk.

    A lock of the file system on ``.<name>.lock`` beside the folder, which ends with the process, however that ends.
    Where the file system has no locks, nobody is kept out.

    Args:
        folder: that the work is about.
        patience: seconds to wait for another process: a disk takes a while to learn that a machine is gone.

    Raises:
        RelViTError: another process is at it.
    """
    path = lock_path(folder)
    deadline = time.monotonic() + patience
    path.parent.mkdir(parents=True, exist_ok=True)
    _check_lock(path)
    while True:
        with path.open("a+", encoding="utf-8") as file:
            if _lock(file):
                if not _is_at(file, path):
                    continue  # its last owner removed it in the meantime
                file.truncate(0)
                file.write(f"process {os.getpid()} on {platform.node()}")
                file.flush()
                try:
                    yield
                finally:
                    release(path)
                return
            file.seek(0)
            owner = file.read()
        if time.monotonic() > deadline:
            raise RelViTError(
                f"{folder} is being made by {owner or 'another process'}: wait for it, or end it",
                page="being-made",
            )
        time.sleep(1)


def tidy_after_kill(folder: Path, tidy: Callable[[], object]) -> None:
    """Call ``tidy`` if the last call that worked on a folder was killed when its work was done.

    The lock, which goes last, is then still there; a call that holds it tidies by itself.
    """
    if not lock_path(folder).exists():
        return
    with contextlib.suppress(RelViTError, OSError), file_lock(folder):
        tidy()


def lock_path(folder: Path) -> Path:
    """The file that ``file_lock`` locks."""
    return folder.with_name(f".{folder.name}.lock")


def _check_lock(path: Path) -> None:
    if not path.exists():
        return
    content = path.read_bytes()[:200]
    if content and re.fullmatch(rb"process \d+ on .*", content, re.DOTALL) is None:
        raise RelViTError(f"{path} is no lock of ours: move it away, or choose another --out")


def _is_at(file, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _lock(file) -> bool:
    """Whether no other process has it: of POSIX's locks, which forked workers do not share."""
    if fcntl is None:
        return True
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN)
    return True


def write_json(path: Path, value, *, owned: bool = False) -> None:
    """``value`` as JSON, whole or not at all; see ``atomic_write``."""
    text = json.dumps(value, indent=1, sort_keys=True)
    with atomic_write(path, owned=owned) as temporary:
        temporary.write_text(f"{text}\n", encoding="utf-8")


def write_text(path: Path, text: str) -> None:
    """A text in UTF-8, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """A table as Parquet, whole or not at all."""
    with atomic_write(path) as temporary:
        frame.to_parquet(temporary)


def read_json(path: Path):
    """The JSON in a file; RelViTError if it is missing or broken."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # of text, of JSON, of its depth
        raise RelViTError(
            f"{path} cannot be read ({error}): make it again, or name another folder"
        ) from error
