"""A picture that explains the columns: rows of a built dataset, with the values written beside them."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from datasets import Dataset, Features
from PIL import Image, ImageDraw, ImageFont

from ..files import atomic_write
from ..geometry import GEOMETRIES, SceneGeometry
from ..tables import read_rows

SHEET = "columns.png"

_SIDE = 256  # least side of a picture, pixels
_TEXT = 16
_STEP = _TEXT * 3 // 2  # from line to line
_INK = "#1c1c1c"
_PALE = "#6b6b6b"
_BORDER = "#d0d4d9"
_FRAME = "#b3500f"
_OTHER = "#1a5fa0"
_KINDS = ("property", "label", "relation", "difference")  # rows that differ here are worth showing
_ROLES = {
    "base": ("edited", "fixed"),
    "source": ("source_object", "other_source"),
}
_SHOWN = (("edited", "base"), ("source_object", "source"), ("fixed", "base"))
"""The objects of a pair whose looks are written out, and the scene that each is in."""


class _Box(NamedTuple):
    """A rectangle of pixels; right and bottom lie outside."""

    left: int
    top: int
    right: int
    bottom: int

    def overlaps(self, other: _Box) -> bool:
        """Whether two rectangles share a pixel."""
        across = self.left < other.right and other.left < self.right
        down = self.top < other.bottom and other.top < self.bottom
        return across and down


@dataclass
class _Frame:
    """Patches to be framed, with a name to be written beside them."""

    name: str
    patches: list[int]
    ink: str


def write_sheet(
    folder: Path,
    config: str,
    files: list[str],
    out: Path,
) -> None:
    """Draw four rows that differ in kind, from shards of one split, as ``out`` (PNG).

    Args:
        folder: where the shards are.
        config: name of the config; one of its parts, between hyphens, names the geometry.
        files: names of the shards.
    """
    (named,) = GEOMETRIES.keys() & set(config.split("-"))
    geometry = GEOMETRIES[named]
    data = Dataset(read_rows(folder / files[0]))
    rows = _different(data, 4)
    draw = _scene
    columns = 4
    if "edited" in rows[0]:
        draw = _pair
        columns = 2
    examples = [draw(row, data.features, geometry) for row in rows]
    sheet = _tiled(examples, columns)
    with atomic_write(out, owned=True) as temporary:
        sheet.save(temporary, format="PNG", optimize=True)


def _tiled(examples: list[Image.Image], columns: int) -> Image.Image:
    """Pictures in rows of so many, on a sheet as large as they need."""
    columns = min(columns, len(examples))
    lines = math.ceil(len(examples) / columns)
    width = max(example.width for example in examples)
    height = max(example.height for example in examples)
    size = (width * columns, height * lines)
    sheet = Image.new("RGB", size, "white")
    for i, example in enumerate(examples):
        line, column = divmod(i, columns)
        place = (column * width, line * height)
        sheet.paste(example, place)
    return sheet


def _different(data: Dataset, n: int) -> list[dict]:
    """The first rows of ``n`` kinds, then the first of the rest."""
    names = [name for name in _KINDS if name in data.column_names]
    kinds = data.select_columns(names).to_list()
    first: dict[str, int] = {}
    for i, kind in enumerate(kinds):
        first.setdefault(str(kind), i)
    # Both answers beside each other: kinds of one answer, then of the other, in turn.
    by_answer: dict[int, list[int]] = {}
    for i in first.values():
        answer = kinds[i]["label"]
        by_answer.setdefault(answer, []).append(i)
    turns = itertools.zip_longest(*by_answer.values())
    in_turn = itertools.chain.from_iterable(turns)
    order = [i for i in in_turn if i is not None]
    order += [i for i in range(len(kinds)) if i not in order]
    return [data[i] for i in order[:n]]


def _scene(
    row: dict,
    features: Features,
    geometry: SceneGeometry,
) -> Image.Image:
    frames = []
    for i, patches in enumerate(row["patches"]):
        frames.append(_Frame(f"[{i}]", patches, _FRAME))
    picture = _framed(row["image"], frames, geometry)
    answer = _word(features["label"], row["label"])
    lines = [("label", answer)]
    for name in ("relation", "difference"):
        words = _words(features[name], row[name])
        lines.append((name, words))
    for i, patches in enumerate(row["patches"]):
        color = _words(features["color"], [row["color"][i]])
        shape = _words(features["shape"], [row["shape"][i]])
        corner = _numbers(row["corner"][i])
        lines += [
            (f"color, shape [{i}]", f"{color} {shape}"),
            (f"corner [{i}]", corner),
            (f"patches [{i}]", _numbers(patches)),
        ]
    return _captioned({"image": picture}, lines)


def _pair(
    row: dict,
    features: Features,
    geometry: SceneGeometry,
) -> Image.Image:
    pictures = {}
    for scene, (strong, pale) in _ROLES.items():
        frames = [
            _Frame(strong, row[f"{strong}_patches"], _FRAME),
            _Frame(pale, row[f"{pale}_patches"], _OTHER),
        ]
        name = f"{scene}_image"
        pictures[name] = _framed(row[name], frames, geometry)
    swapped = _word(features["property"], row["property"])
    lines = [("property", f"swap the {swapped}")]
    for role, scene in _SHOWN:
        number = row[role]
        values = row[f"{scene}_{swapped}"]
        look = _words(features[f"base_{swapped}"], [values[number]])
        lines.append((role, f"object {number}: {look}"))
    for name in ("judgement", "base_label", "label"):
        answer = _word(features[name], row[name])
        lines.append((name, answer))
    return _captioned(pictures, lines)


def _framed(
    picture: Image.Image,
    frames: list[_Frame],
    geometry: SceneGeometry,
) -> Image.Image:
    """The picture, enlarged, with the patches of each frame outlined and named."""
    scale = math.ceil(_SIDE / picture.width)
    grid = picture.width // geometry.patch_size
    side = geometry.patch_size * scale
    size = (picture.width * scale, picture.height * scale)
    colors = picture.convert("RGB")
    large = colors.resize(size, Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(large)
    boxes: list[_Box] = []
    for frame in frames:
        patches = [_patch_box(patch, grid, side) for patch in frame.patches]
        for patch in patches:
            inside = (patch.left, patch.top, patch.right - 1, patch.bottom - 1)
            draw.rectangle(inside, outline=frame.ink)
        first = min(patches)
        last = max(patches)
        boxes.append(_Box(first.left, first.top, last.right, last.bottom))
    taken = list(boxes)
    for frame, box in zip(frames, boxes):
        width = math.ceil(draw.textlength(frame.name, _font())) + 2
        tag = _place(box, width, taken, large.width)
        taken.append(tag)
        start = (tag.left + 1, tag.top)
        draw.text(start, frame.name, frame.ink, _font())
    return large


def _patch_box(patch: int, grid: int, side: int) -> _Box:
    row, column = divmod(patch, grid)
    left = column * side
    top = row * side
    return _Box(left, top, left + side, top + side)


def _place(
    box: _Box,
    width: int,
    taken: list[_Box],
    side: int,
) -> _Box:
    """Where to write the name of a box: above or below it, off everything else if there is such a place."""
    rightmost = side - width
    left = max(min(box.left, rightmost), 0)
    height = _TEXT + 2
    above = box.top - height
    below = box.bottom
    tops = [
        above,
        below,
        below + height,
        above - height,
    ]
    lowest = side - height
    inside = [top for top in tops if 0 <= top <= lowest]
    places = [_Box(left, top, left + width, top + height) for top in inside]
    for place in places:
        if not any(map(place.overlaps, taken)):
            return place
    return places[0]


def _captioned(
    pictures: dict[str, Image.Image],
    lines: list[tuple[str, str]],
) -> Image.Image:
    """Pictures side by side under their names, above the lines."""
    gap = _TEXT
    picture_height = next(iter(pictures.values())).height
    width = gap
    for picture in pictures.values():
        width += picture.width + gap
    text_height = _STEP * len(lines)
    height = _STEP + picture_height + gap + text_height + gap
    example = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(example)
    left = gap
    for name, picture in pictures.items():
        draw.text((left, 4), name, _PALE, _font())
        example.paste(picture, (left, _STEP))
        right = left + picture.width
        bottom = _STEP + picture.height
        frame = (left - 1, _STEP - 1, right, bottom)
        draw.rectangle(frame, outline=_BORDER)
        left = right + gap
    top = _STEP + picture_height + gap // 2
    widest = max(draw.textlength(name, _font()) for name, _ in lines)
    second = gap + widest + gap
    for name, value in lines:
        draw.text((gap, top), name, _PALE, _font())
        draw.text((second, top), value, _INK, _font())
        top += _STEP
    return example


def _font():
    return ImageFont.load_default(_TEXT)


def _word(feature, value: int) -> str:
    if hasattr(feature, "int2str"):
        return feature.int2str(value)
    return str(value)


def _words(feature, values: list[int]) -> str:
    kind = feature.feature
    return ", ".join(_word(kind, value) for value in values)


def _numbers(values: list[int]) -> str:
    return ", ".join(map(str, values))
