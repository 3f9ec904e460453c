"""A contact sheet: scenes with their answers, for people."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from .objects import COLOR_NAMES, SHAPE_NAMES, ObjectSet
from .rendering import BACKGROUND
from .scenes import DIFFERENCES, LABELS, SceneTable

_PICTURE = 256  # least side of a picture on the sheet, pixels
_INK = "#1c1c1c"
_PALE = "#6b6b6b"
_GRID = "#e3e6ea"
_OUTLINE = "#4a4a4a"
# Any color vision can distinguish these; the words say it too.
_LABEL = {"same": "#1a5fa0", "different": "#b3500f"}


def contact_sheet(table: SceneTable, columns: int = 4) -> Image.Image:
    """Draw every scene of a table, labeled: answer, kind of difference, names of the objects.

    Light lines are the patches; a frame is the patches that belong to an object, off the grid each of them.
    Pictures are enlarged by a whole factor, so that every pixel keeps its color.

    Args:
        table: the scenes, a few dozen at most.
        columns: scenes per row.

    Returns:
        An RGB picture.
    """
    columns = min(columns, len(table))
    geometry = table.geometry
    pixels = geometry.image_size
    scale = math.ceil(_PICTURE / pixels)
    side = scale * pixels
    em = side // 16  # sizes of type and gaps follow the pictures
    lines = table.shape.shape[1] + len(table.asked.pair_names)
    margin = 3 * em // 2
    header = 5 * em
    width = side + margin
    captions = 5 * em // 2 + lines * _line_height(em)
    height = side + captions + em
    rows = math.ceil(len(table) / columns)
    sheet_width = margin + columns * width
    sheet_height = header + rows * height
    sheet = Image.new("RGB", (sheet_width, sheet_height), "white")
    draw = ImageDraw.Draw(sheet)
    title = f"{table.task}: {table.split}"
    facts = f"{geometry.name}, {pixels} px, patches of {geometry.patch_size} px, seed {table.seed}"
    large = _font(7 * em // 4)
    small = _font(em)
    draw.text((margin, em), title, _INK, large)
    draw.text((margin, 13 * em // 4), facts, _PALE, small)
    for i, picture in enumerate(table.pixels()):
        row, column = divmod(i, columns)
        left = margin + column * width
        top = header + row * height
        right = left + side
        below = top + side
        scene = _scene(table, i, picture, scale)
        sheet.paste(scene, (left, top))
        frame = (left - 1, top - 1, right, below)
        draw.rectangle(frame, outline=_PALE)
        _caption(draw, table, i, (left, below + em // 2), em)
    return sheet


def _font(size: int):
    return ImageFont.load_default(size)


def _line_height(em: int) -> int:
    return 11 * em // 8


def _scene(
    table: SceneTable,
    i: int,
    pixels: np.ndarray,
    scale: int,
) -> Image.Image:
    """A picture enlarged, with the lines of its patches on the background, and its objects framed."""
    patch = table.geometry.patch_size * scale
    object_side = table.geometry.object_size * scale
    tall = pixels.repeat(scale, axis=0)
    large = tall.repeat(scale, axis=1)
    empty = (large == BACKGROUND).all(axis=-1)
    lines = np.zeros_like(empty)
    lines[::patch] = True
    lines[:, ::patch] = True
    large[lines & empty] = ImageColor.getrgb(_GRID)
    image = Image.fromarray(large)
    draw = ImageDraw.Draw(image)
    if table.geometry.on_grid:
        corners = table.corner[i].astype(int) * patch
    else:
        owned = table[i].patches()
        corners = patch * np.column_stack(divmod(owned[owned >= 0], table.geometry.grid))
        object_side = patch
    last = object_side - 1
    for top, left in corners.tolist():
        frame = (left, top, left + last, top + last)
        draw.rectangle(frame, outline=_OUTLINE)
    return image


def _caption(
    draw: ImageDraw.ImageDraw,
    table: SceneTable,
    i: int,
    place: tuple[int, int],
    em: int,
) -> None:
    """The answer, and below it the objects' names; ``place`` is the top-left pixel."""
    left, top = place
    answer = table.label[i]
    label = table.asked.answers[answer]
    large = _font(21 * em // 16)
    small = _font(em)
    draw.text(place, label, _LABEL[LABELS[answer]], large)
    shapes = table.shape[i].tolist()
    colors = table.color[i].tolist()
    names = [_name(table.objects, *kind) for kind in zip(shapes, colors)]
    if not table.asked.pair_names:
        end = left + draw.textlength(label, large)
        beside = (end + em // 2, top + em // 4)
        if len(names) == 2 and table.asked.answers == LABELS:
            draw.text(beside, _kind(table, i, 0), _PALE, small)
        lines = [(0, name, _INK) for name in names]
    else:
        lines = []
        for pair, title in enumerate(table.asked.pair_names):
            relation = LABELS[table.relation[i, pair]]
            heading = f"{title}: {relation} {_kind(table, i, pair)}"
            lines.append((0, heading, _PALE))
            first = 2 * pair
            lines += [(em, name, _INK) for name in names[first : first + 2]]
    for number, (indent, text, ink) in enumerate(lines):
        line_top = top + 2 * em + number * _line_height(em)
        start = (left + indent, line_top)
        draw.text(start, text, ink, small)


def _kind(table: SceneTable, i: int, pair: int) -> str:
    kind = DIFFERENCES[table.difference[i, pair]]
    if kind == "none":
        return ""
    return "in shape and color" if kind == "both" else f"in {kind} only"


def _name(objects: ObjectSet, shape: int, color: int) -> str:
    if objects is ObjectSet.default():
        return f"{COLOR_NAMES[color]} {SHAPE_NAMES[shape]}"
    return f"shape {shape}, color {color}"
