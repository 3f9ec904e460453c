"""Pages that are made from the code before each build, and the check that no public object lacks an entry."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

from docutils import nodes
from PIL import Image
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.napoleon.docstring import GoogleDocstring
from sphinx.util import logging

from . import pages

logger = logging.getLogger(__name__)


def write_pages(app: Sphinx) -> None:
    folder = Path(app.srcdir) / "reference"
    pages.write_all(folder)


def check_entries(app: Sphinx, env: BuildEnvironment) -> None:
    """A warning, so a failed build, for each public object that no page describes."""
    described = set(env.get_domain("py").objects)
    for name in pages.missing_objects(described):
        logger.warning("no page describes the public object %s", name)


LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s#:]+)\)")


def name_repository_files(app: Sphinx, page: str, source: list[str]) -> None:
    """Turn links to files of the repository that are no pages into paths; a dead link stays, and fails."""
    site = Path(app.srcdir)
    folder = (site / page).parent

    def path_or_link(match: re.Match[str]) -> str:
        target = (folder / match[2]).resolve()
        is_page = target.is_relative_to(site) and not target.is_dir()
        if is_page or not target.exists():
            return match[0]
        path = f"`{target.relative_to(site.parent)}`"
        return path if match[1].strip("`") == path.strip("`") else f"{match[1]} ({path})"

    source[0] = LINK.sub(path_or_link, source[0])


LONGEST_WORD = 40  # letters of code in a line of a phone
WIDEST_PICTURE = 1000  # pixels; wider ones have several panels, too small to read on a phone


def mark_for_phones(app: Sphinx, document: nodes.document, page: str) -> None:
    """Classes for the style sheet: code with options stays whole in a line, and wide pictures scroll."""
    for code in document.findall(nodes.literal):
        words = code.astext().split()
        if "--" in code.astext() and max(map(len, words)) <= LONGEST_WORD:
            code["classes"].append("options")
    for image in document.findall(nodes.image):
        path = Path(app.srcdir) / image["uri"]
        wide = path.suffix == ".svg"  # a drawing from left to right
        if path.suffix in (".png", ".jpg") and path.exists():
            with Image.open(path) as picture:
                wide = picture.width > WIDEST_PICTURE
        image["classes"] += ["wide"] * wide


def keep_colons(self: GoogleDocstring) -> list[str]:
    """The docstring of an attribute as it is: napoleon takes the words before its first colon for a type."""
    return self._consume_to_end()


HEAD = "; see the head of this module."


def show_head(
    app: Sphinx, what: str, name: str, described: object, options: object, lines: list[str]
) -> None:
    """The text at the head of a module, in the entry of the function that points to it: the site shows no modules."""
    for number, line in enumerate(lines):
        if HEAD in line:
            head = inspect.cleandoc(sys.modules[described.__module__].__doc__ or "")
            lines[number] = line.replace(HEAD, ".")
            lines[number + 1 : number + 1] = ["", *head.splitlines(), ""]
            return


def setup(app: Sphinx) -> dict[str, bool]:
    GoogleDocstring._parse_attribute_docstring = keep_colons
    app.connect("builder-inited", write_pages)
    app.connect("source-read", name_repository_files)
    app.connect("autodoc-process-docstring", show_head)
    app.connect("doctree-resolved", mark_for_phones)
    app.connect("env-check-consistency", check_entries)
    return {"parallel_read_safe": True}
