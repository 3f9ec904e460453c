"""Which objects and which scenes each split may use, so that splits are disjoint by construction.

Objects: compositional splits hold out shape-color combinations (paper, section 3.1 and appendix); OOD splits use
shapes, colors or both that training never shows. Scenes: train, validation and test share objects, so every scene
(objects and places, for any jitter and noise) is given to exactly one of them by a hash. The hash knows no
seed: no train set, of any seed or length, ever shows a scene of any test set. The hash is our choice; the official
code draws each split independently and lets scenes recur.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from ..errors import RelViTError
from .objects import ObjectSet

Split = Literal[
    "train",
    "validation",
    "test",
    "test_compositional",
    "test_ood_shape",
    "test_ood_color",
    "test_ood_shape_color",
]
SPLITS = get_args(Split)
# Quarters of the scene space: half for training, where variety matters most.
_QUARTERS = {
    "train": (0, 1),
    "validation": (2,),
    "test": (3,),
}


def split_names(combinations: int, objects: ObjectSet) -> tuple[str, ...]:
    """The splits that exist: no compositional one if nothing is held out, no OOD ones without OOD objects."""
    check_combinations(combinations, objects)
    ood_shapes = len(objects.masks) - objects.n_shapes
    ood_colors = len(objects.palette) - objects.n_colors
    exists = {
        "test_compositional": combinations < objects.n_shapes * objects.n_colors,
        "test_ood_shape": ood_shapes > 1,
        "test_ood_color": ood_colors > 1,
        "test_ood_shape_color": ood_shapes > 1 and ood_colors > 1,
    }
    return tuple(split for split in SPLITS if exists.get(split, True))


def check_combinations(combinations: int, objects: ObjectSet) -> None:
    """Raise RelViTError unless every color can get the same number of training shapes."""
    total = objects.n_shapes * objects.n_colors
    colors = objects.n_colors
    if combinations % colors or not colors <= combinations <= total:
        raise RelViTError(
            f"combinations {combinations}: expected a multiple of the {colors} colors, "
            f"from {colors} to {total}, so that every color has equally many training shapes"
        )


def allowed_objects(split: str, combinations: int, objects: ObjectSet) -> np.ndarray:
    """Which shape-color combinations a split draws its objects from.

    The training combinations are a cyclic band, as in the official code: with 32 of 16 x 16, color ``c`` has the
    shapes ``(14 + c) % 16`` and ``(15 + c) % 16``. (There the colors' order depends on Python's hash seed; here it
    is the palette's.) The compositional split has all other combinations of the same shapes and colors.

    Args:
        split: one of SPLITS.
        combinations: training combinations; all of them means nothing is held out.
        objects: the shapes and colors.

    Returns:
        bool ``(all shapes, all colors)``.

    Raises:
        RelViTError: unknown split, a number of combinations out of its range, or a split that does not exist for it.
    """
    if split not in SPLITS:
        raise RelViTError(f"unknown split {split!r}: expected one of {', '.join(SPLITS)}")
    existing = split_names(combinations, objects)
    if split not in existing:
        raise RelViTError(
            f"split {split!r} does not exist for {combinations} combinations of {objects.n_shapes} x "
            f"{objects.n_colors} objects: expected one of {', '.join(existing)}"
        )
    shapes = objects.n_shapes
    colors = objects.n_colors
    per_color = combinations // colors
    offset = np.arange(shapes)[:, None] - np.arange(colors)
    band = offset % shapes >= shapes - per_color
    all_kinds = (len(objects.masks), len(objects.palette))
    allowed = np.zeros(all_kinds, dtype=bool)
    if split == "test_ood_shape":
        allowed[shapes:, :colors] = True
    elif split == "test_ood_color":
        allowed[:shapes, colors:] = True
    elif split == "test_ood_shape_color":
        allowed[shapes:, colors:] = True
    else:
        unseen = split == "test_compositional"
        allowed[:shapes, :colors] = ~band if unseen else band
    return allowed


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: np.ndarray) -> np.ndarray:
    """A bijective 64-bit finalizer (the constants of SplitMix64): near values end up far apart."""
    with np.errstate(over="ignore"):
        x = (x ^ x >> 30) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ x >> 27) * np.uint64(0x94D049BB133111EB)
    return x ^ x >> 31


def belongs(
    split: str,
    kinds: np.ndarray,
    corner: np.ndarray,
) -> np.ndarray:
    """Whether scenes belong to a split, by a hash of objects and places.

    The order of the objects within a pair does not matter, as it does not change the picture; an odd object is alone.

    Args:
        split: one of SPLITS; all scenes belong to the splits whose objects are theirs alone.
        kinds: integers ``(n, objects, 2)``, (shape, color) of each.
        corner: integers ``(n, objects, 2)``, (row, column), patches.

    Returns:
        bool ``(n,)``.
    """
    if split not in _QUARTERS:
        return np.ones(len(kinds), dtype=bool)
    shape, color = np.moveaxis(kinds, -1, 0).astype(np.uint64)
    row, column = np.moveaxis(corner, -1, 0).astype(np.uint64)
    words = shape << 40 | color << 24 | row << 12 | column
    with np.errstate(over="ignore"):
        objects = _mix(words + _GOLDEN)
        pairs = objects[:, 0::2].copy()
        second = objects[:, 1::2]
        pairs[:, : second.shape[1]] += second  # of either order
        n_pairs = pairs.shape[1]
        weights = 1 + 2 * np.arange(n_pairs, dtype=np.uint64)
        weighted = _mix(pairs) * weights
        scenes = _mix(weighted.sum(axis=-1))
    quarter = scenes >> 62
    return np.isin(quarter, _QUARTERS[split])
