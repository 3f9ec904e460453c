"""The figure of the README, drawn from the committed tables."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_it_is_drawn_from_committed_tables(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setattr(sys, "argv", ["readme_figure.py", str(tmp_path / "clip.png")])
    runpy.run_path(str(EXAMPLES / "readme_figure.py"), run_name="__main__")
    assert (tmp_path / "clip.png").stat().st_size > 10_000
