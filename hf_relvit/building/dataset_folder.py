"""A built dataset folder as it is read: its manifest, and whether every file is as it was written."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
from datasets import Dataset

from ..errors import RelViTError
from ..schemas import DataManifest, read_as
from ..tables import read_rows
from .card import rebuild_command

MANIFEST = "manifest.json"


def dataset_files(manifest: Path) -> list[str]:
    """The files of ours in a built folder, by its manifest; none if it has no manifest."""
    if not manifest.is_file():
        return []
    return [*read_as(manifest, DataManifest)["files"], manifest.name, "dataset_info.json"]


def check_folder(out: str | Path, config: str) -> dict:
    """Compare every file of a config with its manifest.

    Returns:
        The manifest.

    Raises:
        RelViTError: no such config, or a file that is missing or damaged; the message gives the command to mend it.
    """
    folder = Path(out) / config
    if not (folder / MANIFEST).exists():
        built = sorted(path.parent.name for path in Path(out).glob(f"*/{MANIFEST}"))
        cure = "make one with `relvit data build`"
        if built:
            cure = f"expected one of {', '.join(built)}"
        raise RelViTError(f"no dataset {config!r} in {out}: {cure}")
    manifest = read_as(folder / MANIFEST, DataManifest)
    if damage := find_damage(folder, manifest):
        command = rebuild_command(manifest, out)
        raise RelViTError(f"{damage}: make it again with `{command}`", page="damaged-dataset")
    return manifest


def find_damage(folder: Path, manifest: dict) -> str:
    """The first file that is missing or not as its manifest says, as a clause; empty if there is none."""
    for name, facts in manifest["files"].items():
        path = folder / name
        if not path.exists():
            return f"{path} is missing"
        if path.stat().st_size != facts["bytes"] or sha256(path) != facts["sha256"]:
            return f"{path} is damaged"
    return ""


def sha256(path: Path) -> str:
    """Of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_folder(out: str | Path, config: str) -> dict[str, Dataset]:
    """All splits of a built config, checked, in memory; nothing is written to any cache.

    Raises:
        RelViTError: see ``check_folder``.
    """
    manifest = check_folder(out, config)
    splits = {}
    for split in manifest["splits"]:
        tables = [read_rows(Path(out) / config / name) for name in split["files"]]
        splits[split["name"]] = Dataset(pa.concat_tables(tables))
    return splits
