"""A picture of the set: twins beside each other, with the outlines of the masks."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from PIL import Image, ImageDraw, ImageFont

from ..files import atomic_write
from ..tables import read_rows

_GAP = 6
_TEXT = 15
_INK = "#1c1c1c"
_INSIDE = (255, 255, 255)
_OUTSIDE = (0, 0, 0)  # white and black on either side of the edge are seen on any ground


def outlined(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The picture with the edge of each object drawn, white inside and black outside; uint8 like ``image``."""
    padded = np.pad(mask, 1, mode="edge")
    above = padded[:-2, 1:-1] != mask
    below = padded[2:, 1:-1] != mask
    left = padded[1:-1, :-2] != mask
    right = padded[1:-1, 2:] != mask
    edge = above | below | left | right
    inside = mask > 0
    drawn = image.copy()
    drawn[edge & inside] = _INSIDE
    drawn[edge & ~inside] = _OUTSIDE
    return drawn


def montage(data: Dataset, columns: int = 4, masks: bool = True) -> Image.Image:
    """All scenes of a dataset, twins side by side, labeled; with outlines of the masks beside each scene or not."""
    pictures = []
    captions = []
    rows: Any = data
    for row in rows:
        image = np.asarray(row["image"].convert("RGB"))
        pictures.append(image)
        captions.append(_caption(row, data))
        if masks:
            mask = np.asarray(row["mask"])
            visible = 1 - row["occlusion"]
            pictures.append(outlined(image, mask))
            captions.append(f"{visible:.0%} in sight")
    side = len(pictures[0])
    width = side + _GAP
    height = side + _GAP + _TEXT * 3 // 2
    lines = -(-len(pictures) // columns)
    size = (columns * width + _GAP, lines * height + _GAP)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_TEXT)
    for number, picture in enumerate(pictures):
        line, column = divmod(number, columns)
        left = _GAP + column * width
        top = _GAP + line * height
        below = top + side + 1
        sheet.paste(Image.fromarray(picture), (left, top))
        draw.text((left, below), captions[number], _INK, font)
    return sheet


def _caption(row: dict, data: Dataset) -> str:
    features = data.features
    label = features["label"].int2str(row["label"])
    if not row["difference"]:
        return label
    difference = features["difference"].int2str(row["difference"])
    return f"{label} ({difference})"


def write_montage(folder: Path, files: list[str], out: Path) -> None:
    """The montage of the first twelve scenes of a split, as PNG in 256 colors."""
    rows = read_rows(folder / files[0])
    first = Dataset(rows.slice(0, 12))
    sheet = montage(first, columns=8)
    colors = sheet.convert("P", palette=Image.Palette.ADAPTIVE, colors=256)
    held = io.BytesIO()
    colors.save(held, "PNG", optimize=True)
    with atomic_write(out, owned=True) as temporary:
        temporary.write_bytes(held.getvalue())
