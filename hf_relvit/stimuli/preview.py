"""A contact sheet: scenes with their answers, for people."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .objects import COLOR_NAMES, SHAPE_NAMES, ObjectSet
from .scenes import DIFFERENCES, LABELS, SceneTable

_PICTURE = 256  # least side of a picture on the sheet, pixels
_INK, _PALE, _GRID, _OUTLINE = "#1c1c1c", "#6b6b6b", "#e3e6ea", "#4a4a4a"
_LABEL = {
    "same": "#1a5fa0",
    "different": "#b3500f",
}  # told apart by people of any color vision, and by the words


def contact_sheet(table: SceneTable, columns: int = 4) -> Image.Image:
    """Draw every scene of a table, labelled: answer, kind of difference, names of the objects.

    Light lines are the patches; a frame is the patches that belong to an object. Pictures are enlarged by a whole
    factor, so that every pixel stays what it is.

    Args:
        table: the scenes, a few dozen at most.
        columns: scenes a row.

    Returns:
        An RGB picture.
    """
    objects = table.objects
    scale = math.ceil(_PICTURE / table.geometry.image_size)
    side = table.geometry.image_size * scale
    em = side // 16  # sizes of type and gaps follow the pictures
    pairs = table.relation.shape[1]
    lines = table.shape.shape[1] + (pairs if pairs > 1 else 0)
    width, height = side + 3 * em // 2, side + 5 * em // 2 + 11 * em // 8 * lines + em
    columns = min(columns, len(table))
    margin, header = 3 * em // 2, 5 * em
    size = (margin + columns * width, header + math.ceil(len(table) / columns) * height)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    geometry = table.geometry
    draw.text((margin, em), f"{table.task}: {table.split}", _INK, _font(7 * em // 4))
    facts = f"{geometry.name}, {geometry.image_size} px, patches of {geometry.patch_size} px, seed {table.seed}"
    draw.text((margin, 13 * em // 4), facts, _PALE, _font(em))
    for i, picture in enumerate(table.pixels()):
        left, top = margin + i % columns * width, header + i // columns * height
        sheet.paste(_scene(table, i, picture, scale), (left, top))
        draw.rectangle((left - 1, top - 1, left + side, top + side), outline=_PALE)
        _caption(draw, table, i, objects, left, top + side + em // 2, em)
    return sheet


def _font(size: int):
    return ImageFont.load_default(size)


def _scene(table: SceneTable, i: int, picture: np.ndarray, scale: int) -> Image.Image:
    patch = table.geometry.patch_size * scale
    object_side = table.geometry.object_size * scale
    side = picture.shape[0] * scale
    empty = (picture == 255).all(-1)
    lines = np.zeros((side, side), dtype=bool)
    lines[::patch] = lines[:, ::patch] = True
    large = np.kron(picture, np.ones((scale, scale, 1), dtype=np.uint8))
    large[lines & np.kron(empty, np.ones((scale, scale), dtype=bool))] = tuple(
        bytes.fromhex(_GRID[1:])
    )
    image = Image.fromarray(large)
    draw = ImageDraw.Draw(image)
    for row, column in (table.corner[i].astype(int) * patch).tolist():
        draw.rectangle(
            (column, row, column + object_side - 1, row + object_side - 1), outline=_OUTLINE
        )
    return image


def _caption(
    draw: ImageDraw.ImageDraw,
    table: SceneTable,
    i: int,
    objects: ObjectSet,
    left: int,
    top: int,
    em: int,
) -> None:
    label, large, small = LABELS[table.label[i]], _font(21 * em // 16), _font(em)
    pairs = table.relation.shape[1]
    draw.text((left, top), label, _LABEL[label], large)
    if pairs == 1:
        draw.text(
            (left + draw.textlength(label, large) + em // 2, top + em // 4),
            _kind(table, i, 0),
            _PALE,
            small,
        )
    names = [_name(objects, s, c) for s, c in zip(table.shape[i].tolist(), table.color[i].tolist())]
    lines = [(0, name, _INK) for name in names]
    if pairs > 1:
        lines = []
        for pair, what in enumerate(("sample", "display")):
            lines.append(
                (0, f"{what}: {LABELS[table.relation[i, pair]]} {_kind(table, i, pair)}", _PALE)
            )
            lines += [(em, name, _INK) for name in names[2 * pair : 2 * pair + 2]]
    for n, (indent, text, color) in enumerate(lines):
        draw.text((left + indent, top + 2 * em + 11 * em // 8 * n), text, color, small)


def _kind(table: SceneTable, i: int, pair: int) -> str:
    kind = DIFFERENCES[table.difference[i, pair]]
    return {"none": "", "both": "in shape and color"}.get(kind, f"in {kind} only")


def _name(objects: ObjectSet, shape: int, color: int) -> str:
    if objects is ObjectSet.default():
        return f"{COLOR_NAMES[color]} {SHAPE_NAMES[shape]}"
    return f"shape {shape}, color {color}"
