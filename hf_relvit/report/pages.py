"""Self-contained HTML pages: one frame and one style, ``page.html`` and ``page.css``, pictures inside."""

from __future__ import annotations

import base64
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined
from matplotlib.figure import Figure

from .. import __version__
from ..figures.style import save_figure
from ..files import atomic_write, write_text
from ..stimuli.preview import contact_sheet
from ..stimuli.scenes import SceneTable


def write_page(path: Path, template: str, **values) -> Path:
    """Fill a template and write it to ``path``, which is returned; values are escaped.

    Args:
        path: of the page.
        template: name of a file of this package, which extends ``page.html``.
        values: for the template; ``title`` for all, and the others that ``page.html`` names.
    """

    def read(name: str) -> str:
        return (files("hf_relvit.report") / name).read_text("utf-8")

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, loader=FunctionLoader(read)
    )
    text = environment.get_template(template).render(version=__version__, **values)
    write_text(path, text)
    return path


def save_figures(figure: Figure, path: Path) -> Path:
    """Write a figure to ``path`` with the endings .svg and .png.

    Args:
        figure: to save.
        path: without an ending.

    Returns:
        The path of the PNG file.
    """
    save_figure(figure, path)
    return path.with_name(f"{path.name}.png")


def save_scenes(scenes: SceneTable, path: Path) -> Path:
    """Write a contact sheet of scenes, three per row, to the PNG file ``path``, which is returned."""
    sheet = contact_sheet(scenes, columns=3)
    with atomic_write(path) as temporary:
        sheet.save(temporary, format="PNG", optimize=True)
    return path


def embedded(path: Path) -> str:
    """A PNG file as the address of an image in a page."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
