"""Public addresses of this project: the one place that names them."""

from __future__ import annotations

REPOSITORY = "relvit/hf_relvit"
"""Owner and name on GitHub. Nothing is there before the first publication; a fork names its own here."""
_COLAB = "https://colab.research.google.com"


def colab_badge(notebook: str) -> str:
    """A button in Markdown that opens a notebook of ``docs/notebooks`` on Colab.

    Args:
        notebook: its name, such as "stimuli".
    """
    page = f"{_COLAB}/github/{REPOSITORY}/blob/main/docs/notebooks/{notebook}.ipynb"
    return f"[![Open in Colab]({_COLAB}/assets/colab-badge.svg)]({page})"
