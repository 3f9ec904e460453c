"""The photorealistic set as a model sees it: images of its size, and each object's patches from the mask."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from ...errors import RelViTError
from ...geometry import PatchGeometry
from .masks import mask_patches, pad_patches
from .scenes import DIFFERENCES

FACTS = ("label", "difference", "level", "occlusion", "distance", "rotation_difference", "index")


@dataclass(frozen=True, eq=False)
class PhotoPairs:
    """``n`` scenes for one model.

    Attributes:
        images: uint8 ``(n, size, size, 3)``.
        patches: int64 ``(n, 2, p)``, patch ids of the two objects; those of fewer than ``p`` are filled up with -1.
        facts: a row for each scene: ``label, difference, level`` (text), ``occlusion`` (0..1), ``distance`` (object
            radii), ``rotation_difference`` (degrees), ``index``, and ``pair``, equal for twins.
        geometry: of the model.
        seed: of the scenes.
    """

    images: np.ndarray
    patches: np.ndarray
    facts: pd.DataFrame
    geometry: PatchGeometry
    seed: int

    task = "photorealistic"

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice | np.ndarray) -> PhotoPairs:
        """Fewer scenes."""
        facts = self.facts.iloc[rows].reset_index(drop=True)
        return dataclasses.replace(self, images=self.images[rows], patches=self.patches[rows], facts=facts)

    @property
    def labels(self) -> np.ndarray:
        """int64 ``(n,)``, 0 different, 1 same."""
        return self.facts.label.to_numpy()

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
        images, patches, size = [], [], geometry.image_size
        for row in data.select_columns(["image", "mask"]):
            picture = row["image"].convert("RGB")
            if picture.size != (size, size):
                picture = picture.resize((size, size), Image.Resampling.LANCZOS)
            images.append(np.asarray(picture))
            patches.append(mask_patches(np.asarray(row["mask"]), geometry.grid))
        facts = pd.DataFrame({name: np.asarray(data.with_format(None)[name][:]) for name in FACTS})
        for name in ("difference", "level"):
            facts[name] = np.array(DIFFERENCES)[facts[name]]
        facts["pair"] = facts["index"] // 2
        return cls(np.stack(images), pad_patches(patches), facts, geometry, int(data[0]["seed"]))
