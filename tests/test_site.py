"""Parts of the documentation site that the build itself cannot check; `make docs` builds it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from hf_relvit.addresses import REPOSITORY, colab_badge

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))


@pytest.fixture
def site(monkeypatch):
    """The modules that make reference pages."""
    pytest.importorskip("sphinx", reason="sphinx is not installed: make docs")
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    from _site import extension, pages

    yield SimpleNamespace(extension=extension, pages=pages)
    for name in [name for name in sys.modules if name.split(".")[0] == "_site"]:
        del sys.modules[name]


def test_there_are_three_notebooks():
    assert len(NOTEBOOKS) == 3


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_shows_the_outputs_of_a_run_from_top_to_bottom(file):
    cells = [cell for cell in json.loads(file.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    kinds = {output["output_type"] for output in outputs}
    assert "error" not in kinds and {"execute_result", "stream"} <= kinds
    assert not any(output.get("name") == "stderr" for output in outputs)


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_the_badge_of_a_notebook_opens_this_very_notebook(file):
    cells = ["".join(cell["source"]) for cell in json.loads(file.read_text())["cells"]]
    assert colab_badge(file.stem) in cells[0]
    assert f"git clone --quiet https://github.com/{REPOSITORY}\n" in cells[1]


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_the_beginning_of_a_notebook_runs(file, monkeypatch):
    """Its first cells open what the others work with; `make notebooks` runs them all."""
    monkeypatch.chdir(file.parent)
    cells = [cell for cell in json.loads(file.read_text())["cells"] if cell["cell_type"] == "code"]
    names: dict = {}
    for cell in cells[:2]:
        lines = [line for line in cell["source"] if not line.lstrip().startswith("%")]
        code = "".join(lines).replace(":  # on Colab", ": pass")
        exec(compile(code, file.name, "exec"), names)
    assert {"checkpoint", "scenes"} & names.keys()


def test_every_public_object_must_have_an_entry(site):
    everything = site.pages.missing_objects(set())
    assert {"hf_relvit.Checkpoint", "hf_relvit.align", "hf_relvit.GEOMETRIES"} <= set(everything)
    described = set(everything) - {"hf_relvit.align"}
    assert site.pages.missing_objects(described) == ["hf_relvit.align"]


def test_a_link_to_nothing_stays_a_link_and_so_fails_the_build(site, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/there.md").write_text("# There")
    (tmp_path / "LICENSE").write_text("free")
    source = ["[a](there.md) [b](../LICENSE) [LICENSE](../LICENSE) [c](../GONE.md)"]
    app = SimpleNamespace(srcdir=str(tmp_path / "docs"))
    site.extension.name_repository_files(app, "index", source)
    assert source == ["[a](there.md) b (`LICENSE`) `LICENSE` [c](../GONE.md)"]


def test_the_pages_made_from_code_name_what_is_in_the_code(site):
    commands = site.pages.commands_page()
    assert all(f"`relvit {name}`" in commands for name in ("train", "analyze das", "study run"))
    summaries = re.findall(r"^\* `[\w-]+`: (.*)$", commands, re.MULTILINE)
    assert summaries and all(each.rstrip().endswith((".", "?")) for each in summaries)
    data_sets = site.pages.datasets_page()
    assert all(f"| `{name}` |" in data_sets for name in ("b16", "mini", "judgement", "occlusion"))
    assert "## PublishedRun" in site.pages.records_page()
