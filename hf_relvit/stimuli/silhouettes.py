"""Silhouettes from a folder of PNG files, told apart from their background.

The convention is the paper's: black is the object. A mask drawn the other way round would quietly give scenes of
background, so three signs are looked at, all of them our choice:

1. A border that is white all round: black is the object. (The cure that every message names.)
2. A border that is black for more than three quarters: black is the background. Ours have at most two thirds.
3. Else, pieces: a background around an object that touches the border falls into pieces, the object does not.

A single mask can defy all three: the background of a staircase is a staircase. So the folder decides as a whole, and a
folder in which nothing tells gets a warning.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import label

from ..errors import RelViTError, RelViTWarning

MASK_SIZE = 192
MAX_MASK_FILE_SIZE = 4096
MOST_BORDER = 0.75
"""Share of a mask's border that an object may have before it counts as the background."""
LEAST_PIECE = 0.005
"""Share of a mask that a piece has at least; a smaller one is a speck."""
_CURE = "leave a white margin around each object"
_NEIGHBORS = np.ones((3, 3))


@dataclass(frozen=True, eq=False)
class _Drawing:
    """A mask as it was drawn: bool ``(height, width)``, True where it is black."""

    path: Path
    black: np.ndarray

    @property
    def border(self) -> np.ndarray:
        black = self.black
        return np.concatenate([black[0], black[-1], black[1:-1, 0], black[1:-1, -1]])

    @property
    def evidence(self) -> int:
        """1 if black is the object, -1 if it rather is the background, 0 if nothing tells."""
        if self.black.all() or not self.border.any():
            return 1
        white = _pieces(~self.black)
        return int(np.sign(white - _pieces(self.black)))


def read_silhouettes(folder: Path) -> tuple[np.ndarray, int]:
    """The masks of a folder, then those of its subfolder ``ood``, each in the natural order of their names.

    Returns:
        Masks, bool ``(shapes, 192, 192)``, and how many are in distribution.

    Raises:
        RelViTError: no such folder, fewer than two files, a file that is no image, is too large, blank or full, or
            white objects on black.

    Warns:
        RelViTWarning: some masks look drawn the other way round, or nothing tells.
    """
    files = _mask_files(folder)
    drawings = []
    masks = []
    for path in files + _png_files(folder / "ood"):
        picture = _read_picture(path)
        drawing = _Drawing(path, _is_black(_on_white(picture, *picture.size)))
        _check_border(drawing)
        drawings.append(drawing)
        masks.append(_mask(picture, path))
    _check_convention(folder, drawings)
    return np.stack(masks), len(files)


def resized(masks: np.ndarray, size: int) -> np.ndarray:
    """Area average and threshold at one half: bool ``(n, side, side)`` -> bool ``(n, size, size)``, exact."""
    side = masks.shape[-1]
    cell = side * np.arange(size)[:, None]
    pixel = size * np.arange(side)
    end = np.minimum(cell + side, pixel + size)
    start = np.maximum(cell, pixel)
    overlap = (end - start).clip(0).astype(np.float64)  # small integers: floats hold them exactly
    area = overlap @ masks @ overlap.T
    return 2 * area >= side * side


def _mask_files(folder: Path) -> list[Path]:
    """The drawings of a folder without its subfolder, two or more."""
    if not folder.is_dir():
        raise RelViTError(
            f"mask folder {folder} does not exist: name a folder of PNG silhouettes, black on white"
        )
    files = _png_files(folder)
    if len(files) < 2:
        raise RelViTError(
            f"mask folder {folder} holds {len(files)} PNG files: "
            "same-different needs at least 2 shapes, one .png each, black on white"
        )
    return files


def _png_files(folder: Path) -> list[Path]:
    files = [path for path in folder.glob("*") if path.suffix.lower() == ".png"]
    return sorted(files, key=_natural_order)


def _natural_order(path: Path) -> list[tuple[int, int, str]]:
    """Sorts 2.png before 10.png, and numbers before letters."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def _read_picture(path: Path) -> Image.Image:
    """A PNG as RGBA; its size is checked before any pixel is decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # ours is far lower
            image = Image.open(path)
        with image:
            if max(image.size) > MAX_MASK_FILE_SIZE:
                raise RelViTError(
                    f"mask {path} is {image.width} x {image.height} pixels: "
                    f"scale it to {MAX_MASK_FILE_SIZE} or less (masks are reduced to {MASK_SIZE} anyway)"
                )
            return image.convert("RGBA")
    except Image.DecompressionBombError as error:
        raise RelViTError(
            f"mask {path} is too large: scale it to {MAX_MASK_FILE_SIZE} pixels or less"
        ) from error
    except (OSError, SyntaxError) as error:
        raise RelViTError(
            f"mask {path} does not open as an image ({error}): save it again as PNG"
        ) from error


def _on_white(picture: Image.Image, width: int, height: int) -> Image.Image:
    """The picture in the middle of a white page."""
    page = Image.new("RGBA", (width, height), "white")
    left = (width - picture.width) // 2
    top = (height - picture.height) // 2
    page.alpha_composite(picture, (left, top))
    return page.convert("L")


def _is_black(page: Image.Image) -> np.ndarray:
    return np.asarray(page) < 128


def _mask(picture: Image.Image, path: Path) -> np.ndarray:
    """Bool ``(192, 192)``, of the picture on a white square."""
    side = max(picture.size)
    page = _on_white(picture, side, side)
    (mask,) = resized(_is_black(page)[None], MASK_SIZE)
    if mask.all() or not mask.any():
        state = "all black" if mask.any() else "blank"
        raise RelViTError(
            f"mask {path} is {state}: draw a black silhouette on white or transparent"
        )
    return mask


def _pieces(part: np.ndarray) -> int:
    """How many connected pieces a part of a mask has, without specks."""
    numbered = np.zeros(part.shape, np.int32)
    label(part, _NEIGHBORS, output=numbered)
    sizes = np.bincount(numbered.ravel())[1:]
    return int((sizes >= LEAST_PIECE * part.size).sum())


def _check_border(drawing: _Drawing) -> None:
    """Raise RelViTError for a border that only a background has."""
    share = drawing.border.mean()
    if share > MOST_BORDER and not drawing.black.all():
        raise RelViTError(
            f"mask {drawing.path} is black on {share:.0%} of its border: expected a black object "
            f"on white or transparent; invert it, or {_CURE}"
        )


def _check_convention(folder: Path, drawings: Sequence[_Drawing]) -> None:
    """Raise RelViTError where more masks look drawn the other way round than right; warn where it is open."""
    evidence = [drawing.evidence for drawing in drawings]
    inverted = [each.path.name for each, sign in zip(drawings, evidence) if sign < 0]
    right = evidence.count(1)
    if inverted:
        state = (
            f"{len(inverted)} of {len(drawings)} masks in {folder} look drawn the other way round, such as "
            f"{inverted[0]}, whose black part is in more pieces than its white part"
        )
        if len(inverted) > right:
            raise RelViTError(f"{state}: expected black objects on white; invert them, or {_CURE}")
        warnings.warn(f"{state}: invert them, or {_CURE}", RelViTWarning, stacklevel=4)
    elif not right:
        warnings.warn(
            f"nothing tells the masks in {folder} from their background, black is taken for the object: {_CURE}",
            RelViTWarning,
            stacklevel=4,
        )
