"""Stimuli: scenes, their pictures, and pairs that differ in one property."""

from ..lazy import lazy_names

__all__, __getattr__, __dir__ = lazy_names(
    __name__,
    {
        "counterfactuals": (
            "CounterfactualTable",
            "sample_isolation_pairs",
            "sample_counterfactuals",
        ),
        "distribution": ("SceneDistribution",),
        "objects": (
            "ObjectSet",
            "open_objects",
        ),
        "own_pictures": ("OwnPictures",),
        "preview": ("contact_sheet",),
        "rendering": (
            "render",
            "render_masks",
        ),
        "scenes": (
            "SceneTable",
            "sample",
        ),
        "splits": ("split_names",),
    },
)
