"""Stimulus sets as dataset folders that plain ``load_dataset`` opens."""

from ..lazy import lazy_names

__all__, __getattr__, __dir__ = lazy_names(
    __name__,
    {
        "dataset_folder": (
            "check_folder",
            "open_folder",
        ),
    },
)
