"""Names of splits, conditions and targets, once for reports, cards, figures and the terminal."""

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
PHOTOREALISTIC_NAMES = {
    "all": "all",
    "difference_none": "same pairs",
    "difference_object": "different objects",
    "difference_color": "different paint",
    "level_object": "objects differ, and twins",
    "level_color": "paint differs, and twins",
    "occlusion_none": "nothing hidden",
    "occlusion_some": "up to 25 % hidden",
    "occlusion_much": "more hidden",
    "distance_near": "near",
    "distance_middle": "middle",
    "distance_far": "far",
    "rotation_difference_to_60": "turned by 0 to 60°",
    "rotation_difference_to_120": "60 to 120°",
    "rotation_difference_to_180": "120 to 180°",
}
"""Conditions of photorealistic scenes, see ``training.photorealistic.conditions``."""
KIND_NAMES = {
    "within_object": "heads within objects",
    "within_pair": "heads within pairs",
    "between_pair": "heads between pairs",
}
"""Kinds of attention heads."""
REPLACEMENT_NAMES = {
    "mean": "mean over scenes",
    "noise": "noise",
    "other_image": "another image",
}
"""Replacements of the outputs of heads."""
TARGET_NAMES = {
    "judgement": "does the relation hold?",
    "shape": "which shape?",
    "color": "which color?",
    "object": "which shape and color?",
    "same_object": "two tokens, one object?",
}
READ_NAMES = {
    "shape": "reading shape",
    "color": "reading color",
    "judgement": "reading the relation",
}
"""Outcomes of a knock-out that probes measure."""
MEASURE_NAMES = {
    "shape": "shape",
    "color": "color",
    "judgement": "relation of a pair",
    "same_object": "tokens of one object",
    "likeness": "likeness of a pair",
    "perceptual_score": "perceptual attention",
    "relational_score": "relational attention",
    "binding": "binding ablated: tokens of one object",
    "binding_likeness": "binding ablated: likeness",
    "binding_relation": "binding ablated: relation",
    "shape_swap": "shape swapped: new shape read",
    "shape_swap_relation": "shape swapped: relation changes",
    "color_swap": "color swapped: new color read",
    "color_swap_relation": "color swapped: relation changes",
}
"""Measures of the battery of frozen backbones."""


def split_name(split: str) -> str:
    """A split as people read it; one that is not ours keeps its name."""
    return SPLIT_NAMES.get(split, split)


def condition_name(condition: str, split: str = "") -> str:
    """A kind of scenes of a split as people read it."""
    names = PHOTOREALISTIC_NAMES if split == "photorealistic" else CONDITION_NAMES
    return names.get(condition, condition.replace("_", " "))
