"""A stranger sees the whole README in two screens."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="playwright is not installed: make test-browser")
README = Path(__file__).parents[2] / "README.md"
ADDRESS = "http://readme/"
SCREEN = 1080
"""Pixels from top to bottom."""
STYLE = """<style>
body {font: 16px/1.5 sans-serif; width: 830px; margin: 32px auto}
h1, h2 {margin: 24px 0 16px; padding-bottom: .3em; line-height: 1.25}
p, ul, ol, pre, table {margin: 0 0 16px}
li + li {margin-top: .25em}
pre {padding: 16px; font-size: 85%; line-height: 1.45}
td, th {padding: 6px 13px}
img {max-width: 100%}
</style>"""
"""The column, sizes and distances of a forge's page."""


def test_it_is_not_longer_than_two_screens(chromium):
    markdown = pytest.importorskip("markdown_it", reason="markdown-it-py is not installed")
    body = markdown.MarkdownIt("commonmark").enable("table").render(README.read_text())
    page = chromium.new_page(viewport={"width": 1280, "height": SCREEN})
    page.route(f"{ADDRESS}**", lambda route: _answer(route, STYLE + body))
    page.goto(ADDRESS)
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollHeight") <= 2 * SCREEN
    page.close()


def _answer(route, html: str) -> None:
    """The page, and its pictures from the repository."""
    path = route.request.url.removeprefix(ADDRESS)
    if path:
        route.fulfill(path=README.parent / path)
    else:
        route.fulfill(body=html, content_type="text/html")
