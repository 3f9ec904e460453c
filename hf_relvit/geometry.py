"""How a position in an image becomes patches and token indices; nobody else adds a ``+1``."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from .errors import RelViTError

Placement = Literal["grid", "free", "posed"]


def _check_patches(image_size: int, patch_size: int) -> None:
    if image_size < patch_size:
        raise RelViTError(
            f"image size {image_size} is smaller than a patch of {patch_size} pixels: choose {patch_size} or more"
        )
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
        object_size: side of the square of whole patches that an object has for itself, pixels.
        sprite_size: side of the drawn object, pixels; the rest, ``object_size - sprite_size``, is jitter.
        placement: "grid", every object has all tokens of its square; "free", it stands at any pixel and has those that
            it covers (``stimuli.token_sets``); "posed", it also has a scale, a turn or a mirror image, and
            ``sprite_size`` is the side of a square that holds them all (``stimuli.poses``).

    Raises:
        RelViTError: objects do not cover whole patches, or do not fit.
    """

    name: str
    image_size: int
    patch_size: int
    object_size: int
    sprite_size: int
    placement: Placement = "grid"

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
        """Largest offset of the sprite inside its patches, pixels, inclusive.

        Off the grid it is one pixel less than a patch, so that all pixels are equally often an object's first.
        """
        return self.object_size - self.sprite_size if self.on_grid else self.patch_size - 1

    @property
    def on_grid(self) -> bool:
        """Whether every object has the same number of tokens, those of its square."""
        return self.placement == "grid"

    @property
    def tokens_per_object(self) -> int:
        """Patches of every object; 1 off the grid, where they differ and analyses read the mean state of an object."""
        return self.object_patches**2 if self.on_grid else 1

    def with_placement(self, placement: Placement) -> SceneGeometry:
        """The same objects on the grid or off it, with the placement behind the preset's name."""
        if placement == "grid":
            return self
        moved = self.freed() if placement == "free" else self.posed()
        return replace(moved, name=f"{self.name}-{placement}")

    def freed(self) -> SceneGeometry:
        """The same objects at any pixel, each in a square with as many more patches as that takes."""
        room = self._whole_patches(self.sprite_size + self.patch_size - 1)
        return replace(self, object_size=room, placement="free")

    def posed(self) -> SceneGeometry:
        """Objects of any pose at any pixel, in squares of two patches more per side (one, where they were freed).

        Our choice: objects of b16 are then 20 to 32 pixels large in any turn, around the paper's 24.
        """
        if self.placement == "posed":
            return self
        more = 2 if self.on_grid else 1
        room = self.object_size + more * self.patch_size
        canvas = (room - self.patch_size + 1) // 2 * 2
        return replace(self, object_size=room, sprite_size=canvas, placement="posed")

    def _whole_patches(self, pixels: int) -> int:
        """The side of the smallest square of whole patches with a side of so many pixels."""
        return math.ceil(pixels / self.patch_size) * self.patch_size

    def check_equal_tokens(self, work: str) -> None:
        """Raise RelViTError for work that needs the same number of tokens of every object.

        Args:
            work: in words, such as "a swap".
        """
        if not self.on_grid:
            grid, _, _ = self.name.partition("-")
            raise RelViTError(
                f"{work} needs equally many tokens of every object, and freely placed objects of {self.name!r} differ "
                f"in theirs: take a task and a geometry on the grid, such as discrimination and {grid}"
            )

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
    """The named preset, or with "-free" or "-posed" behind its name the same objects off the grid.

    Raises:
        RelViTError: no such preset.
    """
    for preset in GEOMETRIES.values():
        for placement in get_args(Placement):
            placed = preset.with_placement(placement)
            if placed.name == name:
                return placed
    raise RelViTError(
        f"unknown geometry {name!r}: expected one of {', '.join(GEOMETRIES)}, or one of them with -free or -posed"
    )


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


def nearest_geometry(image_size: int, patch_size: int) -> SceneGeometry | None:
    """The preset of a model's sizes, else the first one of its patches; None where there is neither.

    A model reads a preset of its patches by interpolation of its position embeddings.
    """
    same_patches = [each for each in GEOMETRIES.values() if each.patch_size == patch_size]
    same_size = [each for each in same_patches if each.image_size == image_size]
    return next(iter([*same_size, *same_patches]), None)


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
