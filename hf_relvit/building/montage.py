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

_GAP, _TEXT, _INK = 6, 15, "#1c1c1c"
_OUTLINES = ((255, 255, 255), (0, 0, 0))  # inside and outside of the edge: seen on any ground


def outlined(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The picture with the edge of each object drawn, white inside and black outside; uint8 like ``image``."""
    out, padded = image.copy(), np.pad(mask, 1, mode="edge")
    around = [
        padded[1 + y : padded.shape[0] - 1 + y, 1 + x : padded.shape[1] - 1 + x]
        for y, x in _NEIGHBORS
    ]
    edge = np.any([side != mask for side in around], axis=0)
    for inside, color in zip((mask > 0, mask == 0), _OUTLINES):
        out[edge & inside] = color
    return out


_NEIGHBORS = ((-1, 0), (1, 0), (0, -1), (0, 1))


def montage(data: Dataset, columns: int = 4, masks: bool = True) -> Image.Image:
    """All scenes of a dataset, twins side by side, labeled; with outlines of the masks beside each scene or not."""
    pictures = []
    scenes: Any = data
    for row in scenes:
        image, mask = np.asarray(row["image"].convert("RGB")), np.asarray(row["mask"])
        kind = data.features["label"].int2str(row["label"])
        if row["difference"]:
            kind += f" ({data.features['difference'].int2str(row['difference'])})"
        pictures.append((image, kind))
        if masks:
            pictures.append((outlined(image, mask), f"{1 - row['occlusion']:.0%} in sight"))
    side = pictures[0][0].shape[0]
    width, height = side + _GAP, side + _GAP + _TEXT * 3 // 2
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * width + _GAP, rows * height + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (picture, words) in enumerate(pictures):
        left, top = _GAP + i % columns * width, _GAP + i // columns * height
        sheet.paste(Image.fromarray(picture), (left, top))
        draw.text((left, top + side + 1), words, _INK, ImageFont.load_default(_TEXT))
    return sheet


def write_montage(folder: Path, files: list[str], out: Path) -> None:
    """The montage of the first twelve scenes of a split, as JPEG or PNG by the ending of ``out``."""
    data = Dataset(read_rows(folder / files[0]).slice(0, 12))
    held = io.BytesIO()
    montage(data, columns=8).convert("P", palette=Image.Palette.ADAPTIVE, colors=256).save(
        held, "PNG", optimize=True
    )
    with atomic_write(out, owned=True) as temporary:
        temporary.write_bytes(held.getvalue())
