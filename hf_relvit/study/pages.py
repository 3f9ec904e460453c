"""Self-contained HTML pages: templates of this folder, one style, pictures inside."""

from __future__ import annotations

import base64
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from ..provenance import whole_file


def write_page(path: Path, template: str, **values) -> Path:
    """Fill the template of that name and write it to ``path``, which is returned; values are escaped."""
    source, style = (files(__package__).joinpath(file).read_text("utf-8") for file in (template, "report.css"))
    text = Environment(autoescape=True, undefined=StrictUndefined).from_string(source).render(style=style, **values)
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def embedded(path: Path) -> str:
    """A PNG file as the address of an image in a page."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
