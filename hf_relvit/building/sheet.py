"""A picture that explains the columns: rows of a built dataset, with the values written beside them."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path

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
_ROLES = {"base": ("edited", "fixed"), "source": ("source_object", "other_source")}

_Box = tuple[int, int, int, int]
"""Left, top, right and bottom."""


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
    geometry = next(GEOMETRIES[part] for part in config.split("-") if part in GEOMETRIES)
    data = Dataset(read_rows(folder / files[0]))
    rows = _different(data, 4)
    in_pairs = "edited" in rows[0]
    draw = _pair if in_pairs else _scene
    columns = min(2 if in_pairs else 4, len(rows))
    examples = [draw(row, data.features, geometry) for row in rows]
    width = max(example.width for example in examples)
    height = max(example.height for example in examples)
    lines = math.ceil(len(rows) / columns)
    sheet = Image.new("RGB", (width * columns, height * lines), "white")
    for i, example in enumerate(examples):
        line, column = divmod(i, columns)
        sheet.paste(example, (column * width, line * height))
    with atomic_write(out, owned=True) as temporary:
        sheet.save(temporary, format="PNG", optimize=True)


def _different(data: Dataset, n: int) -> list[dict]:
    """The first rows of ``n`` kinds, then whatever comes first."""
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
    order = [i for turn in turns for i in turn if i is not None]
    order += [i for i in range(len(kinds)) if i not in order]
    return [data[i] for i in order[:n]]


def _scene(row: dict, features: Features, geometry: SceneGeometry) -> Image.Image:
    frames = [_Frame(f"[{i}]", ids, _FRAME) for i, ids in enumerate(row["patches"])]
    picture = _framed(row["image"], frames, geometry)
    lines = [("label", _word(features["label"], row["label"]))]
    pairs = ("relation", "difference")
    lines += [(name, _words(features[name], row[name])) for name in pairs]
    for i, patches in enumerate(row["patches"]):
        color = _words(features["color"], [row["color"][i]])
        shape = _words(features["shape"], [row["shape"][i]])
        lines.append((f"color, shape [{i}]", f"{color} {shape}"))
        lines.append((f"corner [{i}]", _numbers(row["corner"][i])))
        lines.append((f"patches [{i}]", _numbers(patches)))
    return _captioned({"image": picture}, lines)


def _pair(row: dict, features: Features, geometry: SceneGeometry) -> Image.Image:
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
    for role, scene in (("edited", "base"), ("source_object", "source"), ("fixed", "base")):
        number = row[role]
        value = row[f"{scene}_{swapped}"][number]
        look = _words(features[f"base_{swapped}"], [value])
        lines.append((role, f"object {number}: {look}"))
    answers = ("judgement", "base_label", "label")
    lines += [(name, _word(features[name], row[name])) for name in answers]
    return _captioned(pictures, lines)


def _framed(picture: Image.Image, frames: list[_Frame], geometry: SceneGeometry) -> Image.Image:
    """The picture, enlarged, with the patches of each frame outlined and named."""
    scale = math.ceil(_SIDE / picture.width)
    grid = picture.width // geometry.patch_size
    side = geometry.patch_size * scale
    size = (picture.width * scale, picture.height * scale)
    large = picture.convert("RGB").resize(size, Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(large)
    boxes: list[_Box] = []
    for frame in frames:
        patches = [_patch_box(patch, grid, side) for patch in frame.patches]
        for left, top, right, bottom in patches:
            draw.rectangle((left, top, right - 1, bottom - 1), outline=frame.ink)
        boxes.append((*min(patches)[:2], *max(patches)[2:]))
    taken = list(boxes)
    for frame, box in zip(frames, boxes):
        width = math.ceil(draw.textlength(frame.name, _font())) + 2
        tag = _place(box, width, taken, large.width)
        taken.append(tag)
        draw.text((tag[0] + 1, tag[1]), frame.name, frame.ink, _font())
    return large


def _patch_box(patch: int, grid: int, side: int) -> _Box:
    row, column = divmod(patch, grid)
    left = column * side
    top = row * side
    return (left, top, left + side, top + side)


def _place(
    box: _Box,
    width: int,
    taken: list[_Box],
    side: int,
) -> _Box:
    """Where to write the name of a box: above or below it, off everything else if there is such a place."""
    left = max(min(box[0], side - width), 0)
    height = _TEXT + 2
    above = box[1] - height
    below = box[3]
    tops = [above, below, below + height, above - height]
    inside = [top for top in tops if 0 <= top <= side - height]
    places = [(left, top, left + width, top + height) for top in inside]
    free = [place for place in places if not any(_overlap(place, other) for other in taken)]
    return (free or places)[0]


def _overlap(one: _Box, other: _Box) -> bool:
    across = one[0] < other[2] and other[0] < one[2]
    down = one[1] < other[3] and other[1] < one[3]
    return across and down


def _captioned(pictures: dict[str, Image.Image], lines: list[tuple[str, str]]) -> Image.Image:
    """Pictures side by side under their names, above the lines."""
    gap = _TEXT
    first = next(iter(pictures.values()))
    pen = ImageDraw.Draw(first)
    widest = max(pen.textlength(name, _font()) for name, _ in lines)
    width = gap + sum(picture.width + gap for picture in pictures.values())
    height = _STEP + first.height + gap + _STEP * len(lines) + gap
    example = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(example)
    left = gap
    for name, picture in pictures.items():
        draw.text((left, 4), name, _PALE, _font())
        example.paste(picture, (left, _STEP))
        right = left + picture.width
        bottom = _STEP + picture.height
        draw.rectangle((left - 1, _STEP - 1, right, bottom), outline=_BORDER)
        left = right + gap
    top = _STEP + first.height + gap // 2
    for name, value in lines:
        draw.text((gap, top), name, _PALE, _font())
        draw.text((gap + widest + gap, top), value, _INK, _font())
        top += _STEP
    return example


def _font():
    return ImageFont.load_default(_TEXT)


def _word(feature, value: int) -> str:
    return feature.int2str(value) if hasattr(feature, "int2str") else str(value)


def _words(feature, values: list[int]) -> str:
    return ", ".join(_word(feature.feature, value) for value in values)


def _numbers(values: list[int]) -> str:
    return ", ".join(map(str, values))
