"""Where a number comes from: versions, machine, seeds; and files that are either whole or absent."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from .errors import RelViTError

_PACKAGES = ("hf_relvit", "torch", "transformers", "datasets", "numpy", "pillow")


def provenance(**facts) -> dict:
    """Package versions and the machine's kind, with the caller's facts (model, dataset, processor, seed)."""
    return {
        **facts,
        "versions": {name: version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` that becomes ``path`` only if the block ends well.

    Raises:
        RelViTError: the disk is full; nothing is left behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise RelViTError(f"the disk is full while writing {path}: free some space and run again") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value) -> None:
    """``value`` as JSON, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_json(path: Path):
    """The JSON in a file; RelViTError if it is missing or broken."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RelViTError(f"{path} cannot be read ({error}): make it again, or name another folder") from error


def dataset_checksum(manifest: dict) -> str:
    """16 hexadecimal digits of a built dataset's rows and pixels, from the checksums of its splits."""
    checksums = "".join(split["checksum"] for split in manifest["splits"])
    return hashlib.sha256(checksums.encode()).hexdigest()[:16]
