"""The layout of a run on disk, and the pages and cards that are made of it."""

from ..lazy import lazy_names

__all__, __getattr__, __dir__ = lazy_names(
    __name__,
    {
        "diagnosis_page": ("write_diagnosis",),
        "run_folder": (
            "RunFolder",
            "StudyFolder",
        ),
        "results": (
            "RunResults",
            "collect_results",
        ),
        "run_page": ("write_report",),
    },
)
