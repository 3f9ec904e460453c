"""A data set of pictures, from the Hub or from a folder, as the described folder that every analysis takes.

Columns are called as in ``stimuli.own_pictures``, or named by the caller. Pictures are decoded, checked and written as
PNG, without loss; a picture that does not open ends the import, and nothing is left of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import RelViTError
from ..owned import check_empty, partial_folder, replace_folder
from ..progress import progress_bar
from ..stimuli.own_pictures import COLUMNS, boxes_of, picture_rows
from ..stimuli.pictures import read_mask, read_picture
from .client import check_id, hub_errors


def import_pictures(
    source: str,
    out: Path,
    *,
    columns: Mapping[str, str] | None = None,
    split: str = "test",
    subset: str | None = None,
    revision: str | None = None,
    say: Callable[[str], object] = print,
) -> None:
    """Write pictures, masks and ``metadata.jsonl`` of a data set into a new folder.

    Args:
        source: Hub id, or a folder that ``datasets.load_dataset`` opens.
        out: the folder, which appears when all is there.
        columns: ours -> the data set's, where they differ, such as ``{"label": "answer"}``.
        split, subset: of the data set; the Hub calls a config subset.
        revision: on the Hub.
        say: is told what happens.

    Raises:
        RelViTError: ``out`` holds files; no such data set, split, subset or column; a picture that does not open.
    """
    check_empty(out)
    data = _named(_opened(source, split, subset, revision), source, columns or {})
    with partial_folder(out) as partial:
        for folder in ("images", "masks"):
            (partial / folder).mkdir()
        lines = []
        rows = progress_bar(picture_rows(data), total=len(data), desc="pictures")
        for number, row in enumerate(rows):
            written = _write(partial, number, row)
            lines.append(json.dumps(written) + "\n")
        (partial / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")
        replace_folder(partial, out, last="metadata.jsonl")
    say(f"{out}: {len(lines)} pictures; look at them with `relvit data check {out}`")


def _opened(
    source: str,
    split: str,
    subset: str | None,
    revision: str | None,
) -> Any:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    if not Path(source).exists():
        check_id(source)
    try:
        with hub_errors(source):
            return load_dataset(source, subset, split=split, revision=revision)
    except RelViTError:
        raise
    except (ValueError, RuntimeError, OSError, DatasetsError) as error:
        reason = str(error).splitlines()[0]
        raise RelViTError(
            f"{source} does not open ({reason}): check the name, --subset and --split"
        ) from error


def _named(data: Any, source: str, columns: Mapping[str, str]) -> Any:
    """The data set with the columns that are read, under our names."""
    there = data.column_names
    for ours, theirs in columns.items():
        if ours not in COLUMNS:
            raise RelViTError(f"column {ours!r}: expected one of {', '.join(COLUMNS)}")
        if theirs not in there:
            raise RelViTError(
                f"{source} has no column {theirs!r}: expected one of {', '.join(there)}"
            )
    taken = {ours: columns.get(ours, ours) for ours in COLUMNS}
    known = {theirs: ours for ours, theirs in taken.items() if theirs in there}
    named = data.select_columns([*known]).rename_columns(known)
    found = {*named.column_names}
    if not {"image", "label"} <= found or found.isdisjoint({"mask", "objects"}):
        raise RelViTError(
            f"{source} has the columns {', '.join(there)}: expected image, label, and mask or objects; name them such "
            "as --column label=answer",
            page="own-pictures",
        )
    return named


def _write(
    folder: Path,
    number: int,
    row: Mapping[str, Any],
) -> dict[str, Any]:
    """A row of ``metadata.jsonl``; its picture and its mask are written."""
    file_name = f"images/{number:06}.png"
    pixels = read_picture(row["image"], f"image of row {number}")
    _save(pixels, folder / file_name)
    written = {"file_name": file_name, "label": row["label"]}
    if row.get("mask") is not None:
        mask = read_mask(row["mask"], f"mask of row {number}")
        mask_name = f"masks/{number:06}.png"
        _save(mask, folder / mask_name)
        written["mask_file_name"] = mask_name
    elif row.get("objects") is not None:
        written["objects"] = {"bbox": boxes_of(row["objects"])}
    if row.get("group") is not None:
        written["group"] = row["group"]
    return written


def _save(pixels: np.ndarray, path: Path) -> None:
    Image.fromarray(pixels).save(path, format="PNG")
