"""The 16 objects that come with the package, or a folder of your own."""

from __future__ import annotations

import hashlib
import tarfile
import warnings
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path

from ...errors import RelViTError, RelViTWarning
from .meshes import MAX_BYTES, Model, load_model

OBJECT_NAMES = (
    "baby bottle",
    "basketball",
    "cactus",
    "chicken",
    "coffee cup",
    "cupcake",
    "desk lamp",
    "fire extinguisher",
    "handbag",
    "headphones",
    "milk carton",
    "rocking horse",
    "scissors",
    "stand mixer",
    "teddy bear",
    "toy biplane",
)
"""16 models, as many as in the paper, which does not name its own; all CC0 (data/LICENSES.txt)."""


@dataclass(frozen=True, eq=False)
class Library:
    """Objects to put on the table.

    Attributes:
        names: in plain English, in order.
        ours: whether these are the ones of the package.
    """

    names: tuple[str, ...]
    ours: bool
    _contents: dict[str, dict[str, bytes]] = field(repr=False)
    _models: dict[str, Model] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Model:
        """The mesh of an object; read when first asked for.

        Raises:
            RelViTError: a broken or huge OBJ.
        """
        name = self.names[index]
        if name not in self._models:
            self._models[name] = load_model(name, self._contents[name])
        return self._models[name]

    def fingerprint(self) -> str:
        """16 hexadecimal digits of all that the objects are made of; license texts do not count."""
        digest = hashlib.sha256()
        for name in self.names:
            for file, data in sorted(self._contents[name].items()):
                if not _is_license(file):
                    digest.update(f"{name}/{file} {len(data)} ".encode() + data)
        return digest.hexdigest()[:16]

    @classmethod
    def default(cls) -> Library:
        """The package's 16 objects (one shared instance)."""
        return _default()

    @classmethod
    def from_folder(cls, folder: str | Path) -> Library:
        """Your own objects.

        Args:
            folder: one subfolder for each object, named after it (``_`` for a space), with one OBJ, its MTL and
                pictures, and a license file (LICENSE.txt or the like). y is up; size and place do not matter.

        Raises:
            RelViTError: no such folder, fewer than two objects, or an OBJ that is broken or huge.
        """
        folder = Path(folder)
        found = sorted(path for path in folder.glob("*/") if any(path.glob("*.[oO][bB][jJ]")))
        if len(found) < 2:
            raise RelViTError(
                f"{folder} holds {len(found)} objects: expected at least 2 subfolders with an OBJ file each"
            )
        contents = {path.name.replace("_", " "): _read(path) for path in found}
        if bare := [name for name, held in contents.items() if not any(map(_is_license, held))]:
            warnings.warn(
                f"no license file beside {', '.join(bare)} in {folder}: add LICENSE.txt before you share the images",
                RelViTWarning,
                stacklevel=2,
            )
        library = cls(tuple(contents), False, contents)
        for index in range(len(library)):
            library[index]  # a broken file should be told now, not after an hour
        return library


def _is_license(file: str) -> bool:
    return any(word in file.lower() for word in ("license", "licence", "copying"))


def _read(folder: Path) -> dict[str, bytes]:
    held = {}
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        if path.stat().st_size > MAX_BYTES:
            size = path.stat().st_size / 2**20
            raise RelViTError(
                f"{path} has {size:.0f} MB: expected at most {MAX_BYTES // 2**20}; make it smaller"
            )
        held[path.name] = path.read_bytes()
    return held


@lru_cache(maxsize=1)
def _default() -> Library:
    contents: dict[str, dict[str, bytes]] = {name: {} for name in OBJECT_NAMES}
    with (
        as_file(files(__name__.rpartition(".")[0]) / "data" / "objects.tar.xz") as path,
        tarfile.open(path) as tar,
    ):
        for member in tar:
            name, _, file = member.name.partition("/")
            data = tar.extractfile(member)
            assert data is not None
            contents[name.replace("_", " ")][file] = data.read()
    return Library(OBJECT_NAMES, True, contents)
