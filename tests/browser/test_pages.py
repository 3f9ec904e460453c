"""Tables of our pages: whole on a desktop although prose is narrow, and to be scrolled on a phone."""

from __future__ import annotations

from pathlib import Path

import pytest

import hf_relvit.report

pytest.importorskip("playwright", reason="playwright is not installed: make test-browser")
CSS = (Path(hf_relvit.report.__path__[0]) / "page.css").read_text()
ROW = "".join(f"<td>0.000 (0.000–0.{i:03})</td>" for i in range(8))
PAGE = f"<style>{CSS}</style><p>Prose.</p><div class='scroll'><table><tr>{ROW}</tr></table></div>"
HIDDEN = (
    "document.querySelector('.scroll').scrollWidth - document.querySelector('.scroll').clientWidth"
)
BEYOND = "document.documentElement.scrollWidth - window.innerWidth"


@pytest.mark.parametrize(("width", "whole"), [(1280, True), (390, False)])
def test_a_wide_table(chromium, width, whole):
    page = chromium.new_page(viewport={"width": width, "height": 800})
    page.set_content(PAGE)
    hidden = page.evaluate(HIDDEN)
    beyond = page.evaluate(BEYOND)
    page.close()
    assert beyond <= 0
    assert (hidden <= 0) == whole
