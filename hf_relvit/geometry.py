"""How a position in an image becomes patches and token indices; nobody else adds a ``+1``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import RelViTError


def _check_patches(image_size: int, patch_size: int) -> None:
    if image_size % patch_size:
        raise RelViTError(
            f"image size {image_size} is not divisible by patch size {patch_size}: "
            f"choose {image_size // patch_size * patch_size} or {(image_size // patch_size + 1) * patch_size} pixels"
        )


@dataclass(frozen=True)
class PatchGeometry:
    """The token layout of a model.

    Args:
        image_size: side of the square image, pixels.
        patch_size: side of a patch, pixels.
        prefix_tokens: tokens before the patches: 0 (SigLIP, I-JEPA), 1 (ViT, CLIP, DINO, DINOv2, MAE, BEiT),
            2 (DeiT), 1 + registers (DINOv2 with registers, DINOv3).

    Raises:
        RelViTError: the image does not divide into whole patches.
    """

    image_size: int
    patch_size: int
    prefix_tokens: int = 1

    def __post_init__(self):
        _check_patches(self.image_size, self.patch_size)

    @property
    def grid(self) -> int:
        """Patches per image side."""
        return self.image_size // self.patch_size

    @property
    def num_patches(self) -> int:
        return self.grid**2

    @property
    def sequence_length(self) -> int:
        """Prefix tokens and patches."""
        return self.prefix_tokens + self.num_patches

    def patches(self, corner, size: int):
        """Patch ids of square objects.

        Args:
            corner: integers ``(..., 2)``, (row, column) of the top-left patch.
            size: patches per object side.

        Returns:
            int64 ``(..., size * size)``, row by row: top left, top right, bottom left, bottom right for size 2
            (the order of the paper's official data code).
        """
        corner = np.asarray(corner, dtype=np.int64)
        steps = np.arange(size)
        offsets = (steps[:, None] * self.grid + steps[None, :]).reshape(-1)
        return (corner[..., 0] * self.grid + corner[..., 1])[..., None] + offsets

    def check(self, scenes: SceneGeometry | PatchGeometry) -> None:
        """Raise RelViTError unless scenes of this layout stand on the patches of a model of this geometry."""
        if (self.image_size, self.patch_size) != (scenes.image_size, scenes.patch_size):
            name = getattr(scenes, "name", "")
            raise RelViTError(
                f"scenes of geometry {name!r} ({scenes.image_size} px, patches of {scenes.patch_size}) do not fit a "
                f"model of {self.image_size} px with patches of {self.patch_size}: use scenes of the model's geometry",
                page="geometry",
            )

    def tokens(self, patches):
        """Sequence indices of patch ids (numpy or torch); padding, -1, stays -1."""
        return patches + self.prefix_tokens * (patches >= 0)


@dataclass(frozen=True)
class SceneGeometry:
    """The layout of a stimulus set (paper, section 3.1; sizes from the official code).

    Args:
        name: of the preset.
        image_size: side of the square image, pixels.
        patch_size: side of the patch that objects are aligned to, pixels.
        object_size: side of the square of whole patches that an object owns, pixels.
        sprite_size: side of the drawn object, pixels; the rest, ``object_size - sprite_size``, is jitter.

    Raises:
        RelViTError: objects do not cover whole patches, or do not fit.
    """

    name: str
    image_size: int
    patch_size: int
    object_size: int
    sprite_size: int

    def __post_init__(self):
        _check_patches(self.image_size, self.patch_size)
        if self.object_size % self.patch_size:
            raise RelViTError(
                f"object size {self.object_size} does not cover whole patches of {self.patch_size} pixels: "
                f"choose a multiple of {self.patch_size}, so that every object token is known"
            )
        if not 8 <= self.sprite_size <= self.object_size <= self.image_size:
            raise RelViTError(
                f"sprite size {self.sprite_size}, object size {self.object_size}, image size {self.image_size}: "
                "expected 8 <= sprite <= object <= image pixels"
            )

    @property
    def grid(self) -> int:
        """Patches per image side."""
        return self.image_size // self.patch_size

    @property
    def object_patches(self) -> int:
        """Patches per object side."""
        return self.object_size // self.patch_size

    @property
    def max_jitter(self) -> int:
        """Largest offset of the sprite inside its patches, pixels, inclusive."""
        return self.object_size - self.sprite_size

    def patches(self, corner):
        """Patch ids ``(..., patches per object)`` of objects whose top-left patches are ``corner (..., 2)``."""
        return PatchGeometry(self.image_size, self.patch_size, 0).patches(
            corner, self.object_patches
        )


GEOMETRIES = {
    g.name: g
    for g in (
        SceneGeometry("b16", 224, 16, 32, 24),  # the paper's main setting
        SceneGeometry("b14", 224, 14, 28, 21),  # DINOv2
        SceneGeometry("b32", 224, 32, 32, 24),  # one patch per object
        SceneGeometry("b16small", 224, 16, 16, 12),  # the official archive's one-patch objects
        SceneGeometry("small", 112, 8, 16, 16),  # our choice: between quick and b16
        SceneGeometry("quick", 64, 8, 16, 16),  # our choice: learnable on a laptop in minutes
        SceneGeometry("mini", 48, 8, 16, 16),  # our choice: small enough for many seeds on a laptop
    )
}
"""The presets by name: three sizes of the paper, one of the authors' archive, and three of ours for laptops."""


def geometry(name: str) -> SceneGeometry:
    """The named preset.

    Raises:
        RelViTError: no such preset.
    """
    if name not in GEOMETRIES:
        raise RelViTError(f"unknown geometry {name!r}: expected one of {', '.join(GEOMETRIES)}")
    return GEOMETRIES[name]


def matching_geometry(model: PatchGeometry) -> SceneGeometry:
    """The preset whose scenes stand on the patches of a model: the first in ``GEOMETRIES`` of its sizes.

    Raises:
        RelViTError: there is none.
    """
    size = (model.image_size, model.patch_size)
    for preset in GEOMETRIES.values():
        if (preset.image_size, preset.patch_size) == size:
            return preset
    known = ", ".join(f"{each.image_size}/{each.patch_size}" for each in GEOMETRIES.values())
    raise RelViTError(
        f"no scenes for a model of {size[0]} px with patches of {size[1]}: expected one of {known}",
        page="geometry",
    )


def parse_config(name: str) -> tuple[SceneGeometry, int]:
    """Geometry and training combinations of a dataset config such as "b16-32".

    Raises:
        RelViTError: not of the form GEOMETRY-COMBINATIONS, or no such geometry.
    """
    head, _, tail = name.rpartition("-")
    if not tail.isdecimal() or not tail.isascii():
        raise RelViTError(
            f"config {name!r}: expected GEOMETRY-COMBINATIONS, such as b16-32 or quick-256"
        )
    return geometry(head), int(tail)
