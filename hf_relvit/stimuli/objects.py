"""Objects: silhouettes and mean colors (paper, figure 7), ours or from your own folder."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ImageColor

from ..errors import RelViTError
from ..files import read_json
from ..schemas import Palette, check_shape
from .silhouettes import MASK_SIZE, read_silhouettes, resized

NOISE_CEILING = 250
"""Object pixels are clipped to this value, so that noise never reads as the white background (official code)."""

# Our own design (the paper's silhouettes are its authors', and nameless). Units: 1/96 of the side, x right, y down.
# "p x y x y ..." adds a polygon, "o cx cy rx ry" an ellipse; "-" in front cuts it out instead.
_SILHOUETTES = {
    "heart": "o 25 28 25 27; o 71 28 25 27; p 4 40 48 96 92 40 48 22",
    "moon": "o 48 48 48 48; -o 68 40 38 36",
    "cross": "p 32 0 64 0 64 32 96 32 96 64 64 64 64 96 32 96 32 64 0 64 0 32 32 32",
    "arrow": "p 0 34 42 34 42 2 96 48 42 94 42 62 0 62 12 48",
    "bolt": "p 40 0 84 0 62 34 92 34 34 96 14 96 38 54 6 54",
    "house": "p 44 0 70 20 70 6 86 6 86 32 96 42 84 46 84 96 58 96 58 62 34 62 34 96 12 96 12 46 0 42",
    "hourglass": "p 4 0 92 0 60 48 92 96 4 96 36 48",
    "bow tie": "p 0 8 48 34 96 8 96 88 48 62 0 88",
    "ring": "o 48 48 48 48; -o 48 48 22 22",
    "stairs": "p 0 0 32 0 32 32 64 32 64 64 96 64 96 96 0 96",
    "magnet": "p 0 0 30 0 30 50 66 50 66 0 96 0 96 60 80 86 60 96 36 96 16 86 0 60",
    "bird": "p 0 34 20 12 40 24 52 42 96 4 96 46 72 84 28 88 42 66 22 50",
    "flag": "p 0 0 96 0 76 28 96 56 26 56 26 96 0 96",
    "star": "p 48 0 62 32 96 36 71 59 78 94 48 76 18 94 25 59 0 36 34 32",
    "sailboat": "p 52 0 52 62 96 62 80 96 16 96 0 62 8 62",
    "bone": "o 34 18 18 18; o 18 36 18 18; o 78 60 18 18; o 60 78 18 18; p 38 14 82 58 58 82 14 38",
    # out of distribution
    "umbrella": "o 48 48 48 46; -p 0 46 96 46 96 96 0 96; p 38 40 56 40 56 96 14 96 14 78 38 80",
    "wrench": "o 66 30 30 30; -p 66 30 66 -10 106 20; p 0 80 40 34 64 54 20 96",
    "whale": "p 0 50 30 30 60 34 74 44 70 22 54 8 54 2 84 12 96 2 96 60 84 84 50 94 14 86",
    "key": "o 26 48 26 32; -o 23 48 9 12; p 44 36 96 36 96 84 76 84 76 60 44 60",
}
SHAPE_NAMES = tuple(_SILHOUETTES)
"""20 English names: 16 in distribution, then 4 out of distribution."""

_COLORS = {  # mean RGB of the official code (16 colors: paper, figure 7); the names are ours
    "pink": "#e91e63",
    "purple": "#9c27b0",
    "deep purple": "#673ab7",
    "indigo": "#3f51b5",
    "light blue": "#03a9f4",
    "cyan": "#00bcd4",
    "teal": "#009688",
    "green": "#4caf50",
    "light green": "#8bc34a",
    "lime": "#cddc39",
    "yellow": "#ffeb3b",
    "orange": "#ff9800",
    "deep orange": "#ff5722",
    "brown": "#795548",
    "gray": "#9e9e9e",
    "blue gray": "#78909c",
    # out of distribution
    "olive": "#676e00",
    "light pink": "#ff9bee",
    "dark red": "#910000",
    "lavender": "#c2bcff",
}
COLOR_NAMES = tuple(_COLORS)
"""20 names: 16 in distribution, then 4 out of distribution."""
PALETTE = np.array([ImageColor.getrgb(color) for color in _COLORS.values()], dtype=np.uint8)
"""Mean colors, uint8 (20, 3)."""
PALETTE.flags.writeable = False


@dataclass(frozen=True, eq=False)
class ObjectSet:
    """Every shape and every mean color that scenes are made of; an object is one of each.

    Args:
        masks: bool ``(shapes, 192, 192)``, True inside the object; in-distribution shapes first.
        palette: uint8 ``(colors, 3)``, mean RGB; in-distribution colors first.
        n_shapes: shapes in distribution (the rest serve the out-of-distribution splits).
        n_colors: colors in distribution.
        noise_sd: standard deviation of the noise added to each pixel and channel, 0..255 units
            (10 in the official code, whose file names call it "var10").

    Raises:
        RelViTError: wrong shape or type, fewer than two shapes or no color in distribution, a blank or full mask,
            two equal masks or colors, a color too close to the white background.
    """

    masks: np.ndarray
    palette: np.ndarray
    n_shapes: int
    n_colors: int
    noise_sd: float = 10.0

    def __post_init__(self):
        if not 0 <= self.noise_sd <= 100:
            raise RelViTError(
                f"noise_sd {self.noise_sd}: expected 0..100 (10 in the paper), in 0..255 color units"
            )
        object.__setattr__(self, "masks", _checked_masks(self.masks))
        object.__setattr__(self, "palette", _checked_palette(self.palette, self.noise_sd))
        _check_number("shapes", self.n_shapes, len(self.masks))
        _check_number("colors", self.n_colors, len(self.palette), least=1)

    @classmethod
    def default(cls) -> ObjectSet:
        """Our 16 + 4 silhouettes in the paper's 16 + 4 colors (one shared, read-only instance)."""
        return _default()

    @classmethod
    def from_folder(
        cls,
        masks_dir: str | Path,
        palette: str | Path | list | tuple | np.ndarray | None = None,
        noise_sd: float = 10.0,
    ) -> ObjectSet:
        """Your own silhouettes and colors.

        Args:
            masks_dir: folder of PNG files, black = object on white or transparent (the paper's convention), any
                size up to 4096 pixels, in the natural order of their names (2.png before 10.png); an optional
                subfolder ``ood`` holds out-of-distribution shapes. A mask that is not square is centered on a white
                square; margins are kept, so relative sizes stay as drawn.
            palette: mean RGB colors, 0..255, or a JSON file ``{"colors": [[r, g, b], ...], "ood_colors": [...]}``
                (``ood_colors`` optional); the paper's 16 + 4 colors if None.
            noise_sd: see the class.

        Raises:
            RelViTError: a missing or empty folder, a file that is no image or is too large, white objects on black
                (``silhouettes``), bad colors, and all that the class itself refuses.

        Warns:
            RelViTWarning: nothing tells the objects from their background.
        """
        masks, n_shapes = read_silhouettes(Path(masks_dir))
        colors = PALETTE
        n_colors = 16
        if palette is not None:
            colors, n_colors = _read_palette(palette)
        objects = cls(masks, colors, n_shapes, n_colors, noise_sd)
        _check_number("colors", n_colors, len(colors))
        return objects

    def sprites(self, size: int) -> np.ndarray:
        """Silhouettes at ``size`` pixels: bool ``(shapes, size, size)``, read-only, cached.

        A pixel belongs to the object if at least half of its area does. Our choice: the paper resizes with nearest
        neighbor, which drops corners and stems at 12 pixels; this keeps areas and shapes distinct, and is exact.

        Raises:
            RelViTError: ``size`` below 1, or a shape that vanishes, or two that coincide, at this size.
        """
        return _sprites(self, int(size))

    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with any mask, color, count or the noise."""
        counts = (self.masks.shape, self.n_shapes, self.n_colors)
        numbers = (*counts, float(self.noise_sd))
        digest = hashlib.sha256(repr(numbers).encode())
        digest.update(np.packbits(self.masks).tobytes())
        digest.update(self.palette.tobytes())
        return digest.hexdigest()[:16]


def open_objects(masks: str | Path | None = None, palette: str | Path | None = None) -> ObjectSet:
    """Your own shapes and colors (``ObjectSet.from_folder``), or ours if neither is named.

    Raises:
        RelViTError: a palette without masks, or a folder that ``ObjectSet.from_folder`` refuses.
    """
    if masks is None and palette is not None:
        raise RelViTError(f"palette {palette} without a folder of masks: name the folder too")
    return ObjectSet.default() if masks is None else ObjectSet.from_folder(masks, palette)


@lru_cache(maxsize=1)
def _default() -> ObjectSet:
    masks = [_rasterize(text) for text in _SILHOUETTES.values()]
    return ObjectSet(np.stack(masks), PALETTE, n_shapes=16, n_colors=16)


@lru_cache(maxsize=64)
def _sprites(objects: ObjectSet, size: int) -> np.ndarray:
    if size < 1:
        raise RelViTError(f"sprite size {size}: expected at least 1 pixel")
    sprites = resized(objects.masks, size)
    filled = sprites.any(axis=(1, 2))
    if not filled.all():
        shape = int(filled.argmin())
        raise RelViTError(
            f"shape {shape} vanishes at {size} pixels: draw it bolder or use larger objects"
        )
    if pair := _equal_pair(sprites):
        one, other = pair
        raise RelViTError(
            f"shapes {one} and {other} look the same at {size} pixels: redraw one or use larger objects"
        )
    sprites.flags.writeable = False
    return sprites


def _rasterize(text: str) -> np.ndarray:
    """A silhouette as bool ``(192, 192)``: pixel centers tested in integers, so equal on every machine.

    (Pillow's polygon edges have moved between releases, and stimuli must be the same bit for bit.)
    """
    # half pixels; vertices below are even, so never tied in y
    centers = 2 * np.arange(MASK_SIZE, dtype=np.int64) + 1
    x, y = np.meshgrid(centers, centers)
    mask = np.zeros((MASK_SIZE, MASK_SIZE), dtype=bool)
    for part in text.split(";"):
        kind, *numbers = part.split()
        values = [int(number) * 2 * MASK_SIZE // 96 for number in numbers]
        draw = _ellipse if kind.endswith("o") else _polygon
        inside = draw(x, y, values)
        if kind.startswith("-"):
            mask &= ~inside
        else:
            mask |= inside
    return mask


def _ellipse(x: np.ndarray, y: np.ndarray, values: list[int]) -> np.ndarray:
    center_x, center_y, radius_x, radius_y = values
    across = (x - center_x) * radius_y
    down = (y - center_y) * radius_x
    return across**2 + down**2 <= (radius_x * radius_y) ** 2


def _polygon(x: np.ndarray, y: np.ndarray, values: list[int]) -> np.ndarray:
    """Inside where an odd number of edges lies to the right."""
    inside = np.zeros(x.shape, dtype=bool)
    vertices = list(zip(values[::2], values[1::2], strict=True))
    for edge in pairwise([*vertices, vertices[0]]):
        (x1, y1), (x2, y2) = sorted(edge, key=itemgetter(1))
        at_height = (y1 < y) & (y < y2)
        left_of_edge = (x - x1) * (y2 - y1) < (x2 - x1) * (y - y1)
        inside ^= at_height & left_of_edge
    return inside


def _check_number(kind: str, count: int, total: int, least: int = 2) -> None:
    if not least <= count <= total:
        raise RelViTError(
            f"{count} of {total} {kind} in distribution: same-different needs at least {least} {kind}; add more"
        )


def _equal_pair(rows: np.ndarray) -> tuple[int, int] | None:
    seen: dict[bytes, int] = {}
    for i, row in enumerate(rows):
        first = seen.setdefault(row.tobytes(), i)
        if first != i:
            return first, i
    return None


def _checked_masks(masks) -> np.ndarray:
    masks = np.array(masks)  # a copy: the caller's array may change later
    if masks.dtype != bool or masks.shape[1:] != (MASK_SIZE, MASK_SIZE):
        raise RelViTError(
            f"masks {masks.dtype} {masks.shape}: expected bool (shapes, {MASK_SIZE}, {MASK_SIZE}), True = object"
        )
    for i, area in enumerate(masks.mean(axis=(1, 2))):
        if area in (0, 1):
            share = "all" if area else "nowhere"
            raise RelViTError(f"shape mask {i} is {share} object: draw a black silhouette on white")
    if pair := _equal_pair(masks):
        one, other = pair
        raise RelViTError(f"shape masks {one} and {other} are the same: remove one")
    masks.flags.writeable = False
    return masks


def _checked_palette(palette, noise_sd: float) -> np.ndarray:
    cure = "give each color as three integers 0..255: [red, green, blue]"
    try:
        values = np.array(palette)
    except ValueError as error:  # rows of unequal length
        raise RelViTError(f"palette has rows of unequal length: {cure}") from error
    if values.ndim != 2 or values.shape[1] != 3:
        raise RelViTError(f"palette of shape {values.shape}: expected (colors, 3); {cure}")
    if not np.issubdtype(values.dtype, np.integer):
        raise RelViTError(
            f"palette holds values that are not integers (such as {values.flat[0]!r}): {cure}"
        )
    if values.min() < 0 or values.max() > 255:
        raise RelViTError(f"palette reaches from {values.min()} to {values.max()}: {cure}")
    limit = NOISE_CEILING - 2 * noise_sd
    for i, color in enumerate(values.tolist()):
        if min(color) > limit:
            raise RelViTError(
                f"color {i} {color} is too close to the white background: "
                f"make at least one of its channels {int(limit)} or less"
            )
    colors = values.astype(np.uint8)
    if pair := _equal_pair(colors):
        one, other = pair
        raise RelViTError(f"colors {one} and {other} are both {colors[one].tolist()}: remove one")
    colors.flags.writeable = False
    return colors


def _read_palette(palette) -> tuple[Any, int]:
    """Colors ``(n, 3)`` and how many of them are in distribution."""
    if not isinstance(palette, str | Path):
        return palette, len(palette)
    content = read_json(Path(palette))
    cure = 'expected {"colors": [[r, g, b], ...], "ood_colors": [...]}'
    check_shape(content, Palette, f"palette {palette}", cure)
    if unknown := content.keys() - {"colors", "ood_colors"}:
        raise RelViTError(f"palette {palette} has {', '.join(sorted(unknown))}: {cure}")
    colors = content["colors"]
    return colors + content.get("ood_colors", []), len(colors)
