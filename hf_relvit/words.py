"""What splits, conditions and targets are called, once for reports, cards, figures and the terminal."""

from __future__ import annotations

SPLIT_NAMES = {
    "validation": "validation",
    "test": "IID test",
    "test_compositional": "compositional",
    "test_ood_shape": "new shapes",
    "test_ood_color": "new colors",
    "test_ood_shape_color": "new shapes + colors",
}
CONDITION_NAMES = {
    "all": "all",
    "difference_none": "same",
    "difference_both": "differ in shape and color",
    "difference_shape": "differ in shape only",
    "difference_color": "differ in color only",
}
TARGET_NAMES = {
    "judgement": "is the pair same?",
    "shape": "which shape?",
    "color": "which color?",
    "object": "which shape and color?",
    "same_object": "two tokens, one object?",
}


def split_name(split: str) -> str:
    """A split as people read it; one that is not ours keeps its name."""
    return SPLIT_NAMES.get(split, split)


def condition_name(condition: str) -> str:
    """A kind of scenes as people read it."""
    return CONDITION_NAMES.get(condition, condition.replace("_", " "))
