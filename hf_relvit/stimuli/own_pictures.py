"""Your own pictures of two objects, with masks or boxes and the right answers, as scenes that analyses read.

1. Rows come from a folder (``own_rows``), or are those of any ``datasets.Dataset``.
2. ``OwnPictures.of`` checks each row and repairs it where nothing is lost; ``repairs`` names each repair.
3. A picture is padded with white to a square and brought to the model's size (Lanczos). An object owns the patches
   that its mask or box covers by half at least, or else the one that it covers most (as photorealistic objects; ours).

Columns of a row: ``image``; ``label`` (1 or "same", 0 or "different"; classes of a data set by their names); ``mask``,
a picture of one channel with 0, 1 on the first and 2 on the second object, or ``objects`` with ``bbox``, two boxes
``[x, y, width, height]`` in pixels, the convention of ``datasets``; and, where rows are not independent, ``group``,
equal for those that belong together.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..errors import RelViTError
from ..geometry import PatchGeometry
from ..limits import check_memory
from .own_rows import own_rows
from .photorealistic.masks import mask_patches, pad_patches
from .pictures import read_mask, read_picture, resized_square, undecoded
from .scenes import LABELS

TASK = "own"
COLUMNS = ("image", "label", "mask", "objects", "group")
FEWEST = 20
"""Groups that can be shared out, so that every part has both answers."""
_SHARES = {"train": 0.5, "validation": 0.2, "test": 0.3}
"""Of the groups. Our choice: half to fit probes on, and more to test than to choose the layer on."""


@dataclass(frozen=True, eq=False)
class OwnPictures:
    """``n`` pictures for one model.

    Attributes:
        pictures: uint8 ``(n, side, side, 3)``.
        covered: int64 ``(n, 2, p)``, patch ids of the two objects; those of fewer than ``p`` are filled up with -1.
        label: int8 ``(n,)``, 0 different, 1 same.
        clusters: int64 ``(n,)``, equal for pictures that are not independent of each other.
        geometry: of the model.
        repairs: every kind of change that made rows fit, a sentence each.
        split: part of the pictures, see ``parts``; "test" for all of them.
    """

    pictures: np.ndarray
    covered: np.ndarray
    label: np.ndarray
    clusters: np.ndarray
    geometry: PatchGeometry
    repairs: tuple[str, ...] = ()
    split: str = "test"

    task = TASK
    name = TASK
    seed = 0
    tokens_per_object = 1
    """An object has any number of tokens, so analyses of states read their mean."""

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, rows: slice | np.ndarray) -> OwnPictures:
        """Fewer pictures."""
        return dataclasses.replace(
            self,
            pictures=self.pictures[rows],
            covered=self.covered[rows],
            label=self.label[rows],
            clusters=self.clusters[rows],
        )

    @property
    def judged(self) -> np.ndarray:
        """Whether the pair is the same, int8 ``(n, 1)``."""
        return self.label[:, None]

    def pixels(self) -> np.ndarray:
        """The pictures, uint8 ``(n, side, side, 3)``."""
        return self.pictures

    def patches(self) -> np.ndarray:
        """Patch ids of each object, int64 ``(n, 2, p)``, padded with -1."""
        return self.covered

    def conditions(self) -> dict[str, np.ndarray]:
        """Kinds of pictures: none are known."""
        return {}

    def levels(self) -> dict[str, np.ndarray]:
        """Levels of difference, as those of photorealistic pairs: none are known."""
        return {}

    def fingerprint(self) -> str:
        """Of pixels, patches, answers and groups: 16 hexadecimal digits."""
        digest = hashlib.sha256()
        for values in (self.pictures, self.covered, self.label, self.clusters):
            digest.update(values.tobytes())
        return digest.hexdigest()[:16]

    def parts(self, seed: int = 0) -> dict[str, OwnPictures]:
        """Disjoint pictures to fit on, to choose on and to test on: half, a fifth, and the rest.

        Groups stay together. The parts are drawn within each answer, that of the first picture of a group.

        Raises:
            RelViTError: fewer than ``FEWEST`` groups.
        """
        groups, first, place = np.unique(self.clusters, return_index=True, return_inverse=True)
        if len(groups) < FEWEST:
            raise RelViTError(
                f"{len(groups)} independent pictures: expected at least {FEWEST}, half to fit probes on, a fifth to "
                "choose the layer on, the rest to test on",
                page="own-pictures",
            )
        rng = np.random.default_rng(seed)
        answers = self.label[first]
        part_of = np.empty(len(groups), dtype=object)
        for answer in (0, 1):
            members = np.flatnonzero(answers == answer)
            order = rng.permutation(members)
            part_of[order] = _shared_out(len(members))
        by_row = part_of[place]
        parts = {}
        for name in _SHARES:
            rows = np.flatnonzero(by_row == name)
            parts[name] = dataclasses.replace(self[rows], split=name)
        return parts

    @classmethod
    def of(cls, data: Any, geometry: PatchGeometry) -> OwnPictures:
        """Check, repair and read rows.

        Args:
            data: a ``datasets.Dataset`` or a list of rows, with the columns of the head of this module.
            geometry: of the model, ``checkpoint.geometry``.

        Raises:
            RelViTError: no rows, one without a column, one answer only, or a row that cannot be repaired: a picture
                smaller than a patch, a mask of another shape or without one of the objects, boxes that overlap or
                lie outside.
        """
        check_memory("pictures", len(data), 3 * geometry.image_size**2)
        done: Counter[str] = Counter()
        read = []
        for number, row in enumerate(picture_rows(data)):
            where = str(row.get("file_name", f"row {number}"))
            one = _Row(row, where, geometry, done)
            read.append(one.read())
        if not read:
            raise RelViTError(
                "no pictures: expected rows with image, label, and mask or objects",
                page="own-pictures",
            )
        pictures, patches, label, groups = zip(*read)
        if len(set(label)) < 2:
            raise RelViTError(
                f"all {len(read)} pictures are {LABELS[label[0]]}: expected some same and some different",
                page="own-pictures",
            )
        numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
        repairs = [f"{_counted(count)}: {what}" for what, count in done.items()]
        return cls(
            pictures=np.stack(pictures),
            covered=pad_patches(patches),
            label=np.array(label, dtype=np.int8),
            clusters=np.array([numbers[group] for group in groups]),
            geometry=geometry,
            repairs=tuple(repairs),
        )

    @classmethod
    def open(cls, folder: str | Path, geometry: PatchGeometry) -> OwnPictures:
        """The pictures of a folder.

        Raises:
            RelViTError: as ``own_rows`` and ``of``.
        """
        rows = own_rows(folder)
        return cls.of(rows, geometry)


def _counted(count: int) -> str:
    return "1 picture" if count == 1 else f"{count} pictures"


def _shared_out(count: int) -> np.ndarray:
    """The name of a part for each of ``count`` groups."""
    ends = np.cumsum(list(_SHARES.values())) * count
    middles = np.arange(count) + 0.5
    place = np.searchsorted(ends, middles)
    names = np.array(list(_SHARES), dtype=object)
    return names[place]


def picture_rows(data: Any) -> Iterator[Mapping[str, Any]]:
    """Rows whose pictures are opened one by one, after a look at their size, and whose classes have names."""
    if not hasattr(data, "column_names"):
        yield from data
        return
    for column in ("image", "mask"):
        data = undecoded(data, column)
    names = getattr(data.features.get("label"), "names", None)
    for row in data:
        if names is not None:  # which number is "same" is the data set's choice
            row = {**row, "label": names[row["label"]]}
        yield row


def boxes_of(objects: Any) -> list[Any]:
    """Boxes ``[x, y, width, height]``: of a mapping with ``bbox``, or of a list of such, as ``datasets`` has both."""
    if isinstance(objects, list):
        return [each.get("bbox") for each in objects]
    return list((objects or {}).get("bbox", []))


@dataclass(frozen=True)
class _Row:
    """A row, its name in messages, the model's geometry, and the count of each repair."""

    row: Mapping[str, Any]
    where: str
    geometry: PatchGeometry
    done: Counter[str]

    def read(self) -> tuple[np.ndarray, list[np.ndarray], int, Any]:
        """Its pixels ``(side, side, 3)``, patches of both objects, label and group; checked and repaired."""
        geometry = self.geometry
        pixels = self._pixels()
        height, width = pixels.shape[:2]
        mask = self._mask((height, width))
        patches = mask_patches(_square(mask, 0), geometry.grid)
        for number, owned in enumerate(patches, 1):
            if not len(owned):
                self._refuse(
                    f"object {number} of {self.where} covers no patch of its own: expected objects that do not hide "
                    "each other"
                )
        if height != width:
            self.done["padded with white to a square"] += 1
        if max(height, width) < geometry.image_size:
            self.done[f"enlarged to {geometry.image_size} pixels"] += 1
        resized = resized_square(_square(pixels, 255), geometry.image_size)
        group = self.row.get("group", ("alone", self.where))
        return resized, patches, self._label(), group

    def _refuse(self, line: str) -> NoReturn:
        raise RelViTError(line, page="own-pictures")

    def _pixels(self) -> np.ndarray:
        if self.row.get("image") is None:
            listed = ", ".join(self.row)
            self._refuse(f"{self.where} has {listed}: expected a column image")
        pixels = read_picture(self.row["image"], f"image of {self.where}")
        height, width = pixels.shape[:2]
        size = f"{width} x {height}"
        if min(height, width) < self.geometry.patch_size:
            self._refuse(
                f"image of {self.where} is {size} pixels, a patch {self.geometry.patch_size}: expected larger pictures"
            )
        wide, high = self.row.get("size", (width, height))
        if (wide, high) != (width, height):
            self._refuse(
                f"annotations of {self.where} are for {wide} x {high} pixels, its image has {size}: take the picture "
                "that was annotated"
            )
        return pixels

    def _label(self) -> int:
        value = self.row.get("label")
        if value in LABELS:
            return LABELS.index(value)
        if value not in (0, 1):
            self._refuse(
                f"label of {self.where} is {value!r}: expected same or different, or 1 or 0; rename the column of "
                "answers to label"
            )
        return int(value)

    def _mask(self, shape: tuple[int, int]) -> np.ndarray:
        """Where the objects are, uint8 of the picture's shape: 0 nowhere, 1 and 2 on them."""
        given = self.row.get("mask")
        if given is None:
            return self._boxed(shape)
        mask = read_mask(given, f"mask of {self.where}")
        if mask.shape != shape:
            high, wide = mask.shape
            height, width = shape
            self._refuse(
                f"mask of {self.where} is {wide} x {high} pixels, its image {width} x {height}: expected one of the "
                "same size"
            )
        return mask

    def _boxed(self, shape: tuple[int, int]) -> np.ndarray:
        """A mask of two boxes, each cut at the edge of the picture."""
        boxes = boxes_of(self.row.get("objects"))
        if len(boxes) != 2:
            self._refuse(
                f"{self.where} has no mask and {len(boxes)} boxes: expected a mask of values 0, 1 and 2, or two boxes "
                "in objects.bbox"
            )
        mask = np.zeros(shape, dtype=np.uint8)
        cut = [self._fill(mask, number, box) for number, box in enumerate(boxes, 1)]
        if any(cut):
            self.done["a box was cut at the edge"] += 1
        return mask

    def _fill(self, mask: np.ndarray, number: int, box: Any) -> bool:
        """Write the number of an object into its box; whether that was cut at the edge."""
        height, width = mask.shape
        left, top, wide, high = np.rint(np.asarray(box, dtype=float)).astype(int)
        right = left + wide
        below = top + high
        inside = mask[max(top, 0) : max(below, 0), max(left, 0) : max(right, 0)]
        if not inside.size:
            self._refuse(
                f"box {number} of {self.where} is {list(box)} in a picture of {width} x {height} pixels: expected x, "
                "y, width and height in pixels, inside of it"
            )
        if inside.any():
            self._refuse(
                f"the boxes of {self.where} overlap, so nobody knows which object shows there: give a mask"
            )
        inside[:] = number
        return min(left, top) < 0 or right > width or below > height


def _square(pixels: np.ndarray, fill: int) -> np.ndarray:
    """Padded on both sides to a square, ``(height, width, ...)`` -> ``(side, side, ...)``."""
    height, width, *rest = pixels.shape
    side = max(height, width)
    square = np.full((side, side, *rest), fill, dtype=pixels.dtype)
    top = (side - height) // 2
    left = (side - width) // 2
    square[top : top + height, left : left + width] = pixels
    return square
