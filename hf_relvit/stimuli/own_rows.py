"""Folders of your own pictures as rows: metadata of an ImageFolder, or COCO annotations.

A row is a mapping with the columns that ``own_pictures`` names. Nothing is opened here but the description.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from ..errors import RelViTError

_TABLES: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": pd.read_csv,
    ".jsonl": partial(pd.read_json, lines=True, dtype=False),
    ".parquet": pd.read_parquet,
}
METADATA = [f"metadata{suffix}" for suffix in _TABLES]
_OTHERS = ("manifest.json", "dataset_info.json", "config.json")
"""Files of data sets and models, which are no annotations."""


def is_own_folder(folder: str | Path) -> bool:
    """Whether a folder has metadata of an ImageFolder or COCO annotations."""
    return _description(Path(folder)) is not None


def own_rows(folder: str | Path) -> list[dict[str, Any]]:
    """The rows of a folder of pictures, not yet checked.

    Args:
        folder: with ``metadata.csv``, ``.jsonl`` or ``.parquet`` beside the pictures (an ImageFolder: ``file_name``,
            and ``mask_file_name`` for masks), or with COCO annotations in a .json file. Of COCO, each image has two
            annotations with ``bbox`` or polygons; its answer is its own ``label`` or else whether both annotations
            are of one category.

    Raises:
        RelViTError: no such folder, nothing in it that describes its pictures, a description that cannot be read.
    """
    found = _description(Path(folder))
    if found is None:
        raise RelViTError(
            f"{folder} describes no pictures: expected metadata.csv, metadata.jsonl or COCO annotations in a .json "
            "file beside them",
            page="own-pictures",
        )
    if found.suffix == ".json":
        return _coco_rows(found)
    return _image_folder(found)


def _description(folder: Path) -> Path | None:
    """The file that describes the pictures of a folder: metadata first, then the first .json."""
    for name in METADATA:
        path = folder / name
        if path.is_file():
            return path
    for path in sorted(folder.glob("*.json")):
        if path.name not in _OTHERS:
            return path
    return None


def _picture(description: Path, name: str) -> dict[str, Any]:
    """A picture beside its description, as a data set stores a path."""
    path = description.parent / name
    return {"path": str(path), "bytes": None}


def _image_folder(metadata: Path) -> list[dict[str, Any]]:
    read = _TABLES[metadata.suffix]
    try:
        table = read(metadata)
    except (ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise RelViTError(
            f"{metadata} does not open ({reason}): expected a table", page="own-pictures"
        ) from error
    if "file_name" not in table:
        listed = ", ".join(map(str, table.columns))
        raise RelViTError(
            f"{metadata} has the columns {listed}: expected file_name, relative to it",
            page="own-pictures",
        )
    return [_listed(metadata, row) for row in table.to_dict("records")]


def _listed(metadata: Path, row: dict[Any, Any]) -> dict[str, Any]:
    """A row of metadata without its empty cells, and with its pictures."""
    known = {name: value for name, value in row.items() if not _is_empty(value)}
    known["file_name"] = str(known.get("file_name"))
    known["image"] = _picture(metadata, known["file_name"])
    mask = known.get("mask_file_name")
    if mask is not None:
        known["mask"] = _picture(metadata, str(mask))
    return known


def _is_empty(value: Any) -> bool:
    return isinstance(value, float) and np.isnan(value)


def _coco_rows(path: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(path.read_text("utf-8"))
        images = found["images"]
        of_image: dict[Any, list[dict]] = {image["id"]: [] for image in images}
        for annotation in found["annotations"]:
            of_image[annotation["image_id"]].append(annotation)
        return [_coco_row(path, image, of_image[image["id"]]) for image in images]
    except RelViTError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise RelViTError(
            f"{path} holds no COCO annotations ({reason}): expected images with id, file_name, width and height, and "
            "annotations with image_id, category_id and bbox",
            page="own-pictures",
        ) from error


def _coco_row(
    path: Path,
    image: dict[str, Any],
    annotations: list[dict[str, Any]],
) -> dict[str, Any]:
    name = image["file_name"]
    if len(annotations) != 2:
        raise RelViTError(
            f"{name} has {len(annotations)} annotations in {path.name}: expected two, one for each object",
            page="own-pictures",
        )
    first, second = annotations
    of_one_kind = first["category_id"] == second["category_id"]
    size = (image["width"], image["height"])
    row = {
        "file_name": name,
        "image": _picture(path, name),
        "label": image.get("label", int(of_one_kind)),
        "size": size,
    }
    outlines = [each.get("segmentation") for each in annotations]
    if all(isinstance(outline, list) for outline in outlines):
        return {**row, "mask": _drawn(size, outlines)}
    boxes = [first["bbox"], second["bbox"]]
    return {**row, "objects": {"bbox": boxes}}


def _drawn(size: tuple[int, int], outlines: list[Any]) -> np.ndarray:
    """The polygons of two objects as a mask, uint8 ``(height, width)``."""
    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    for number, polygons in enumerate(outlines, 1):
        for polygon in polygons:
            draw.polygon(polygon, fill=number)
    return np.asarray(mask)
