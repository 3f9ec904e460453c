"""A picture of what the columns mean: rows of a built dataset, with the values written beside them."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

from datasets import Dataset, Features
from PIL import Image, ImageDraw, ImageFont

from ..files import atomic_write
from ..geometry import GEOMETRIES, SceneGeometry
from ..tables import read_rows

SHEET = "columns.png"

_SIDE = 256  # least side of a picture, pixels
_TEXT = 16
_INK, _PALE, _FRAME, _OTHER = "#1c1c1c", "#6b6b6b", "#b3500f", "#1a5fa0"
_LIKE = (
    "property",
    "label",
    "relation",
    "difference",
)  # rows that differ in one of these are worth showing
_ROLES = {"base": ("edited", "fixed"), "source": ("source_object", "other_source")}


def write_sheet(folder: Path, config: str, files: list[str], out: Path) -> None:
    """Draw four rows that differ in kind, from shards of one split, as ``out`` (PNG).

    Args:
        folder: where the shards are.
        config: name of the config; one of its parts, between hyphens, names the geometry.
        files: names of the shards.
    """
    geometry = next(GEOMETRIES[part] for part in config.split("-") if part in GEOMETRIES)
    data = Dataset(read_rows(folder / files[0]))
    rows = _different(data, 4)
    draw, columns = (_pair, 2) if "edited" in rows[0] else (_scene, 4)
    examples = [draw(row, data.features, geometry) for row in rows]
    width, height = (max(sides) for sides in zip(*(example.size for example in examples)))
    sheet = Image.new(
        "RGB", (width * min(columns, len(rows)), height * math.ceil(len(rows) / columns)), "white"
    )
    for i, example in enumerate(examples):
        sheet.paste(example, (i % columns * width, i // columns * height))
    with atomic_write(out, owned=True) as temporary:
        sheet.save(temporary, format="PNG", optimize=True)


def _different(data: Dataset, n: int) -> list[dict]:
    """The first rows of ``n`` kinds, then whatever comes first."""
    kinds = data.select_columns([name for name in _LIKE if name in data.column_names]).to_list()
    seen: dict[str, int] = {}
    for i, kind in enumerate(kinds):
        seen.setdefault(str(kind), i)
    # Both answers beside each other: kinds of one answer, then of the other, in turn.
    turns: dict[int, list[int]] = {}
    for i in seen.values():
        turns.setdefault(kinds[i]["label"], []).append(i)
    order = [i for turn in itertools.zip_longest(*turns.values()) for i in turn if i is not None]
    order += [i for i in range(len(kinds)) if i not in order]
    return [data[i] for i in order[:n]]


def _scene(row: dict, features: Features, geometry: SceneGeometry) -> Image.Image:
    objects = range(len(row["patches"]))
    picture = _framed(
        row["image"], {f"[{i}]": (row["patches"][i], _FRAME) for i in objects}, geometry
    )
    lines = [("label", _word(features["label"], row["label"]))]
    lines += [(name, _words(features[name], row[name])) for name in ("relation", "difference")]
    for i in objects:
        looks = " ".join(_words(features[name], [row[name][i]]) for name in ("color", "shape"))
        lines += [(f"color, shape [{i}]", looks), (f"corner [{i}]", _numbers(row["corner"][i]))]
        lines.append((f"patches [{i}]", _numbers(row["patches"][i])))
    return _captioned([("image", picture)], lines)


def _pair(row: dict, features: Features, geometry: SceneGeometry) -> Image.Image:
    pictures = []
    for scene, (strong, pale) in _ROLES.items():
        frames = {
            strong: (row[f"{strong}_patches"], _FRAME),
            pale: (row[f"{pale}_patches"], _OTHER),
        }
        pictures.append((f"{scene}_image", _framed(row[f"{scene}_image"], frames, geometry)))
    what = _word(features["property"], row["property"])
    column = features[f"base_{what}"]
    lines = [("property", f"swap the {what}")]
    for role, scene in (("edited", "base"), ("source_object", "source"), ("fixed", "base")):
        look = _words(column, [row[f"{scene}_{what}"][row[role]]])
        lines.append((role, f"object {row[role]}: {look}"))
    lines += [("judgement", _word(features["judgement"], row["judgement"]))]
    lines += [(name, _word(features[name], row[name])) for name in ("base_label", "label")]
    return _captioned(pictures, lines)


def _framed(
    picture: Image.Image, frames: dict[str, tuple[list[int], str]], geometry: SceneGeometry
) -> Image.Image:
    scale = math.ceil(_SIDE / picture.width)
    grid = picture.width // geometry.patch_size
    side = geometry.patch_size * scale
    large = picture.convert("RGB").resize(
        (picture.width * scale, picture.height * scale), Image.Resampling.NEAREST
    )
    draw, boxes, tags = ImageDraw.Draw(large), [], []
    for patches, ink in frames.values():
        corners = [divmod(patch, grid) for patch in patches]
        for row, column in corners:
            draw.rectangle(
                (column * side, row * side, (column + 1) * side - 1, (row + 1) * side - 1),
                outline=ink,
            )
        (top, left), (bottom, right) = min(corners), max(corners)
        boxes.append((left * side, top * side, (right + 1) * side, (bottom + 1) * side))
    for (name, (_, ink)), box in zip(frames.items(), boxes):
        where = _place(
            box, math.ceil(draw.textlength(name, _font())) + 2, [*boxes, *tags], large.width
        )
        tags.append(where)
        draw.text((where[0] + 1, where[1]), name, ink, _font())
    return large


_Box = tuple[int, int, int, int]


def _place(box: _Box, width: int, taken: list[_Box], side: int) -> _Box:
    """Where to write the name of a box: above or below it, off everything else if there is such a place."""
    left, height = max(min(box[0], side - width), 0), _TEXT + 2
    tops = [box[1] - height, box[3], box[3] + height, box[1] - 2 * height]
    places = [(left, top, left + width, top + height) for top in tops if 0 <= top <= side - height]
    free = [
        a
        for a in places
        if not any(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3] for b in taken)
    ]
    return (free or places)[0]


def _captioned(
    pictures: list[tuple[str, Image.Image]], lines: list[tuple[str, str]]
) -> Image.Image:
    step, gap = _TEXT * 3 // 2, _TEXT
    widest = max(ImageDraw.Draw(pictures[0][1]).textlength(name, _font()) for name, _ in lines)
    width = sum(picture.width + gap for _, picture in pictures) + gap
    height = step + pictures[0][1].height + gap + step * len(lines) + gap
    example = Image.new("RGB", (width, height), "white")
    draw, left = ImageDraw.Draw(example), gap
    for name, picture in pictures:
        draw.text((left, 4), name, _PALE, _font())
        example.paste(picture, (left, step))
        draw.rectangle(
            (left - 1, step - 1, left + picture.width, step + picture.height), outline="#d0d4d9"
        )
        left += picture.width + gap
    top = step + pictures[0][1].height + gap // 2
    for i, (name, value) in enumerate(lines):
        draw.text((gap, top + i * step), name, _PALE, _font())
        draw.text((gap + widest + gap, top + i * step), value, _INK, _font())
    return example


def _font():
    return ImageFont.load_default(_TEXT)


def _word(feature, value: int) -> str:
    return feature.int2str(value) if hasattr(feature, "int2str") else str(value)


def _words(feature, values: list[int]) -> str:
    return ", ".join(_word(feature.feature, value) for value in values)


def _numbers(values: list[int]) -> str:
    return ", ".join(str(value) for value in values)
