"""Rows of the photorealistic set, and a fingerprint of all that decides what they are."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from datasets import ClassLabel, Features, Image, List, Value
from PIL import Image as Picture

from .. import geometry
from ..dataset_builders import photorealistic as builder
from ..stimuli import photorealistic
from ..stimuli.photorealistic.library import Library
from ..stimuli.photorealistic.masks import mask_patches
from ..stimuli.photorealistic.scenes import DIFFERENCES, TINTS
from ..stimuli.png import encode_photo, encode_png
from ..stimuli.scenes import LABELS
from .dataset_folder import check_folder

if TYPE_CHECKING:
    from .farm import Pair

PATCH = 16
"""Pixels per side of the patches that the column ``patches`` counts; for others see ``mask_patches``."""
_QUALITY = 85


def features(names: list[str]) -> Features:
    """The columns; ``names`` of the objects."""
    number = Value("int64")
    share = Value("float64")
    kind = ClassLabel(names=list(DIFFERENCES))
    return Features(
        image=Image(),
        mask=Image(),
        label=ClassLabel(names=list(LABELS)),
        difference=kind,
        level=kind,
        object=List(ClassLabel(names=names)),
        tint=List(ClassLabel(names=list(TINTS))),
        patches=List(List(number)),
        visible=List(share),
        occlusion=share,
        distance=share,
        rotation_difference=share,
        twin=number,
        index=number,
        seed=number,
        scene=Value("string"),
    )


def rows(pair: Pair, seed: int, lossy: bool) -> Iterator[tuple[int, dict]]:
    """Two twins as (key, row of ``features``)."""
    for scene, image, mask in zip(pair.scenes, pair.images, pair.masks):
        grid = max(len(mask) // PATCH, 1)
        yield (
            scene.index,
            {
                "image": {"bytes": _jpeg(image) if lossy else encode_photo(image), "path": None},
                "mask": {"bytes": encode_png(mask), "path": None},
                "label": scene.label,
                "difference": scene.difference,
                "level": scene.level,
                "object": list(scene.objects),
                "tint": list(scene.tints),
                "patches": [ids.tolist() for ids in mask_patches(mask, grid)],
                "visible": list(scene.visible),
                "occlusion": 1 - min(scene.visible),
                "distance": scene.distance,
                "rotation_difference": scene.rotation_difference,
                "twin": scene.index ^ 1,
                "index": scene.index,
                "seed": seed,
                "scene": json.dumps(scene.row(), separators=(",", ":")),
            },
        )


def _jpeg(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Picture.fromarray(image).save(file, "JPEG", quality=_QUALITY, optimize=True)
    return file.getvalue()


class ShippedRows(NamedTuple):
    """Rows that come with the package: the files that hold them, and the fingerprint of the code that drew them."""

    files: list[Path]
    generator: str


def shipped_rows(version: str, library: Library) -> ShippedRows | None:
    """The rows of the config "tiny" as shipped, if they are of this version and of these objects.

    Raises:
        RelViTError: the package's own files are damaged.
    """
    folder = Path(builder.__path__[0])
    manifest = check_folder(folder, "tiny")
    if (manifest["version"], manifest["objects"]) != (version, library.fingerprint()):
        return None
    files = [folder / "tiny" / name for split in manifest["splits"] for name in split["files"]]
    return ShippedRows(files, manifest["generator"])


def fingerprint(library: Library) -> str:
    """16 hexadecimal digits that change with our code, the renderer's and numpy's versions, and the objects."""
    digest = hashlib.sha256(f"numpy {np.__version__}, objects {library.fingerprint()}".encode())
    for package in ("mitsuba", "embreex"):
        try:
            digest.update(f"{package} {version(package)}".encode())
        except PackageNotFoundError:  # the rows can be read without it, not made
            digest.update(package.encode())
    own = [
        Path(geometry.__file__),
        *(Path(__file__).with_name(name) for name in ("photorealistic_rows.py", "farm.py")),
        *Path(builder.__path__[0]).glob("*.py"),
    ]
    for path in sorted([*own, *Path(photorealistic.__path__[0]).glob("*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
