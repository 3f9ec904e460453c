"""Runs of many settings and seeds, cell by cell."""

from ..lazy import lazy_names

__all__, __getattr__, __dir__ = lazy_names(
    __name__,
    {
        "grid": (
            "CausalConfig",
            "Run",
            "Study",
        ),
        "run": (
            "run_single",
            "run_study",
        ),
        "photorealistic": (
            "PhotoSet",
            "open_set",
        ),
    },
)
