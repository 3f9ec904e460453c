"""The photorealistic set as a model sees it: images of its size, and each object's patches from the mask."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ...errors import RelViTError
from ...geometry import PatchGeometry
from ..pictures import read_masks, read_pictures, resized_square
from .masks import mask_patches, pad_patches
from .scenes import DIFFERENCES

_BINS = {  # our choice: thirds of what the scenes are drawn from, and steps of occlusion
    "occlusion": ((0.02, 0.25), ("none", "some", "much")),
    "distance": ((6.6, 7.8), ("near", "middle", "far")),
    "rotation_difference": ((60, 120), ("to_60", "to_120", "to_180")),
}
FACTS = ("label", "difference", "level", "occlusion", "distance", "rotation_difference", "index")


@dataclass(frozen=True, eq=False)
class PhotoPairs:
    """``n`` scenes for one model.

    Attributes:
        pictures: uint8 ``(n, size, size, 3)``.
        covered: int64 ``(n, 2, p)``, patch ids of the two objects; those of fewer than ``p`` are filled up with -1.
        facts: a row for each scene: ``label, difference, level`` (text), ``occlusion`` (0..1), ``distance`` (object
            radii), ``rotation_difference`` (degrees), ``index``, and ``pair``, equal for twins.
        geometry: of the model.
        seed: of the scenes.
    """

    pictures: np.ndarray
    covered: np.ndarray
    facts: pd.DataFrame
    geometry: PatchGeometry
    seed: int

    task = "photorealistic"
    name = "photorealistic"

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, rows: slice | np.ndarray) -> PhotoPairs:
        """Fewer scenes."""
        facts = self.facts.iloc[rows]
        return dataclasses.replace(
            self,
            pictures=self.pictures[rows],
            covered=self.covered[rows],
            facts=facts.reset_index(drop=True),
        )

    @property
    def label(self) -> np.ndarray:
        """int64 ``(n,)``, 0 different, 1 same."""
        return self.facts.label.to_numpy()

    @property
    def clusters(self) -> np.ndarray:
        """Which scenes are not independent of each other, ``(n,)``: a scene and its twin."""
        return self.facts.pair.to_numpy()

    def pixels(self) -> np.ndarray:
        """The pictures, uint8 ``(n, size, size, 3)``."""
        return self.pictures

    def patches(self) -> np.ndarray:
        """Patch ids of each object, int64 ``(n, 2, p)``, padded with -1."""
        return self.covered

    def levels(self) -> dict[str, np.ndarray]:
        """Scenes and twins about objects ("object") or paint ("color"), bool ``(n,)`` each."""
        level = self.facts.level.to_numpy()
        return {"object": level == "object", "color": level == "color"}

    def conditions(self) -> dict[str, np.ndarray]:
        """Kinds of scenes, bool ``(n,)`` each; a kind may be empty.

        "difference_none", same pairs, and "difference_object" and "_color", pairs that differ in it; "level_object"
        and "level_color", scenes and twins about objects or paint; "occlusion_none", "_some" and "_much" (an object
        is hidden by less than 2, less than 25 or more percent); "distance_near", "_middle" and "_far" (below 6.6,
        below 7.8, and above, in object radii); "rotation_difference_to_60", "_to_120" and "_to_180" degrees.
        """
        same = self.label == 1
        about_objects, about_paint = self.levels().values()
        found = {
            "difference_none": same,
            "difference_object": about_objects & ~same,
            "difference_color": about_paint & ~same,
            "level_object": about_objects,
            "level_color": about_paint,
        }
        for name, (edges, kinds) in _BINS.items():
            place = np.digitize(self.facts[name], edges)
            for i, kind in enumerate(kinds):
                found[f"{name}_{kind}"] = place == i
        return found

    @classmethod
    def from_dataset(cls, data: Any, geometry: PatchGeometry) -> PhotoPairs:
        """Read a split of the dataset.

        Images are brought to the model's size by area (Lanczos, no cropping), masks patch by patch without loss, so
        any size and patch goes. Zero-shot, the processor of the checkpoint does the rest.

        Args:
            data: a ``datasets.Dataset`` of ``dataset_builders/photorealistic``.
            geometry: of the model.

        Raises:
            RelViTError: a dataset of another kind, or no rows.
        """
        lacking = sorted({"image", "mask", *FACTS} - set(data.column_names))
        if lacking or not len(data):
            raise RelViTError(
                f"a dataset of {len(data)} rows without {', '.join(lacking) or 'trouble'}: expected photorealistic "
                "scenes; make them with `relvit data build photorealistic`"
            )
        images = _images(data, geometry.image_size)
        patches = _patches(data, geometry.grid)
        facts = _facts(data)
        first = data.select_columns("seed")[0]
        return cls(
            pictures=np.stack(images),
            covered=pad_patches(patches),
            facts=facts,
            geometry=geometry,
            seed=int(first["seed"]),
        )


def _facts(data: Any) -> pd.DataFrame:
    """The columns of ``PhotoPairs.facts``."""
    plain = data.with_format(None)
    facts = pd.DataFrame({name: np.asarray(plain[name][:]) for name in FACTS})
    words = np.array(DIFFERENCES)
    for name in ("difference", "level"):
        facts[name] = words[facts[name]]
    facts["pair"] = facts["index"] // 2
    return facts


def _images(data: Any, size: int) -> list[np.ndarray]:
    """The pictures at ``size`` pixels, uint8 ``(size, size, 3)`` each."""
    images = []
    for number, pixels in enumerate(read_pictures(data, "image")):
        height, width = pixels.shape[:2]
        if height != width:
            raise RelViTError(
                f"image of row {number} is {width} x {height} pixels: expected a square; crop or pad it, as its mask"
            )
        images.append(resized_square(pixels, size))
    return images


def _patches(data: Any, grid: int) -> list[list[np.ndarray]]:
    """The patch ids of both objects in each row."""
    patches = []
    for number, mask in enumerate(read_masks(data, "mask")):
        if mask.shape[0] != mask.shape[1]:
            raise RelViTError(
                f"mask of row {number} has the shape {mask.shape}: expected a square, as large as the image or not"
            )
        patches.append(mask_patches(mask, grid))
    return patches
