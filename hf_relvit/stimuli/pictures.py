"""Pictures of data sets: size and kind are read from the header, and only a picture that passes is decoded."""

from __future__ import annotations

import dataclasses
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image

from ..errors import RelViTError

MAX_SIDE = 4096
"""Of any picture that is decoded, pixels. Our choice: far above the input of vision transformers."""


def read_pictures(
    data: Any,
    column: str,
    side: int | None = None,
    first: int = 0,
) -> Iterator[np.ndarray]:
    """The pictures of a column in the order of the rows, each checked and decoded when its turn comes.

    Args:
        data: a ``datasets.Dataset``.
        column: of pictures, decoded or not.
        side: pixels that each picture must have in both directions; by default any up to ``MAX_SIDE``.
        first: number of the first row, as messages count them.

    Yields:
        uint8 ``(height, width, 3)``, RGB; transparent pixels are white.

    Raises:
        RelViTError: no such column; something that is no picture, or one of another size.
    """
    pictures = open_pictures(data, column, first)
    for number, picture in enumerate(pictures, first):
        yield _decoded(picture, f"{column} of row {number}", side)


def read_picture(value: Any, name: str, side: int | None = None) -> np.ndarray:
    """One picture, checked and decoded as by ``read_pictures``.

    Args:
        value: a picture, an array, or bytes or a path as a data set stores them.
        name: of the picture, for messages.
        side: as above.

    Returns:
        uint8 ``(height, width, 3)``.

    Raises:
        RelViTError: as above.
    """
    picture = _opened(value, name)
    return _decoded(picture, name, side)


def read_mask(value: Any, name: str) -> np.ndarray:
    """A picture that says where two objects are, checked.

    Args:
        value, name: as in ``read_picture``.

    Returns:
        uint8 ``(height, width)``: 0 neither, 1 the first object, 2 the second.

    Raises:
        RelViTError: not of one channel, other values, or one of the objects nowhere.
    """
    picture = _opened(value, name)
    with _whole(picture, name):
        mask = np.asarray(picture)
    if mask.ndim != 2:
        raise RelViTError(f"{name} has the shape {mask.shape}: expected a picture of one channel")
    values = np.unique(mask).tolist()
    if values not in ([0, 1, 2], [1, 2]):
        listed = ", ".join(map(str, values[:5]))
        raise RelViTError(
            f"{name} holds the values {listed}: expected 0 where neither object is, 1 on the first and 2 on the second"
        )
    return mask.astype(np.uint8)


def resized_square(pixels: np.ndarray, side: int) -> np.ndarray:
    """A square picture at ``side`` pixels by area (Lanczos): uint8 ``(side, side, 3)``."""
    if len(pixels) == side:
        return pixels
    picture = Image.fromarray(pixels)
    resized = picture.resize((side, side), Image.Resampling.LANCZOS)
    return np.asarray(resized)


def read_masks(data: Any, column: str) -> Iterator[np.ndarray]:
    """The masks of a column, see ``read_mask``."""
    for number, value in enumerate(undecoded(data, column)[column]):
        yield read_mask(value, f"{column} of row {number}")


def open_pictures(data: Any, column: str, first: int = 0) -> Iterator[Image.Image]:
    """The pictures of a column, their headers checked, not decoded yet. Arguments and errors as above."""
    columns = getattr(data, "column_names", None)
    if columns is None or column not in columns:
        listed = ", ".join(columns or [type(data).__name__])
        raise RelViTError(f"a data set of {listed}: expected a column {column!r} of pictures")
    values = undecoded(data, column)[column]
    for number, value in enumerate(values, first):
        yield _opened(value, f"{column} of row {number}")


def undecoded(data: Any, column: str) -> Any:
    """The data set with the pictures of a column as they are stored."""
    features = getattr(data, "features", None) or {}
    feature: Any = features.get(column)
    if not getattr(feature, "decode", False):
        return data
    stored = dataclasses.replace(feature, decode=False)
    return data.cast_column(column, stored)


def _opened(value: Any, name: str) -> Image.Image:
    if isinstance(value, dict):
        value = _read_header(value, name)
    elif isinstance(value, np.ndarray | list):
        value = _from_array(np.asarray(value), name)
    if not isinstance(value, Image.Image):
        raise RelViTError(f"{name} is of type {type(value).__name__}: expected a picture")
    if max(value.size) > MAX_SIDE:
        raise RelViTError(
            f"{name} is {value.width} x {value.height} pixels: expected at most {MAX_SIDE}; scale it down"
        )
    return value


def _read_header(value: dict, name: str) -> Image.Image:
    content = value.get("bytes")
    source: Any = value.get("path")
    if content is not None:
        source = io.BytesIO(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # ours is far lower
            return Image.open(source)
    except Image.DecompressionBombError as error:
        raise RelViTError(f"{name} is huge: expected at most {MAX_SIDE} pixels per side") from error
    except (OSError, SyntaxError, ValueError, TypeError, AttributeError) as error:
        raise RelViTError(f"{name} does not open: expected a PNG, JPEG or WEBP picture") from error


def _from_array(array: np.ndarray, name: str) -> Image.Image:
    whole = array.dtype.kind in "iu" and array.size > 0
    gray = array.ndim == 2
    in_color = array.ndim == 3 and array.shape[2] in (3, 4)
    fits = whole and (gray or in_color)
    if not fits or array.min() < 0 or array.max() > 255:
        raise RelViTError(
            f"{name} is an array {array.dtype} {array.shape}: expected (height, width, 3) of 0 to 255"
        )
    pixels = array.astype(np.uint8)
    return Image.fromarray(pixels)


def _decoded(picture: Image.Image, name: str, side: int | None) -> np.ndarray:
    if side is not None and picture.size != (side, side):
        raise RelViTError(
            f"{name} is {picture.width} x {picture.height} pixels for a model of {side} x {side}: "
            "use the data set's config of that geometry, or resize its pictures"
        )
    return _on_white(picture, name)


@contextmanager
def _whole(picture: Image.Image, name: str) -> Iterator[None]:
    """A picture that is cut off behind its header is one line, and its file is closed."""
    try:
        yield
    except (OSError, SyntaxError, ValueError) as error:
        picture.close()
        raise RelViTError(f"{name} is broken ({error}): expected a whole picture") from error


def _on_white(picture: Image.Image, name: str) -> np.ndarray:
    mode = "RGB" if picture.mode == "RGB" else "RGBA"
    with _whole(picture, name):
        picture = picture.convert(mode)
    if picture.mode == "RGBA":
        page = Image.new("RGBA", picture.size, "white")
        page.alpha_composite(picture)
        picture = page.convert("RGB")
    return np.asarray(picture)
