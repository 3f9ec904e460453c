"""The documentation site: `make docs` builds it with Sphinx, and every warning is an error.

Sphinx because it is maintained, reads our docstrings as they are, and checks its own references; mkdocs-material is in
maintenance mode, and its successor is not finished.
"""

from __future__ import annotations

import sys
from pathlib import Path

import hf_relvit

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

project = "hf_relvit"
author = "The hf_relvit authors"
copyright = "2026, the hf_relvit authors. Apache-2.0"
version = release = hf_relvit.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "_site.extension",
]
root_doc = "index"
exclude_patterns = ["_build", "_site", "results"]

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # `make notebooks` runs them; the pages show what is saved
nb_merge_streams = True

default_role = "literal"  # `name` in a docstring
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
napoleon_use_ivar = True  # attributes of a class are a list, not entries of their own
suppress_warnings = ["ref.python"]  # that list names `split`, and several classes have one

napoleon_use_rtype = False  # a table has columns, which are no type
napoleon_attr_annotations = False  # shapes such as "layers heads" are no types to resolve

smartquotes = False  # they turn the two dashes of an option into one
html_theme = "furo"
html_title = f"hf_relvit {version}"
html_copy_source = False
html_static_path = ["_site/static"]
html_css_files = ["site.css"]
