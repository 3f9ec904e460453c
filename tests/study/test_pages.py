from hf_relvit.manifest import write_manifest
from hf_relvit.report import run_page
from hf_relvit.report.pages import write_page
from hf_relvit.report.run_folder import RunFolder


def test_values_are_escaped_and_the_style_is_not(tmp_path):
    page = write_page(
        tmp_path / "out" / "page.html", "page.html", title="<script>", lead="a & b"
    ).read_text("utf-8")
    assert "<h1>&lt;script&gt;</h1>" in page and "a &amp; b" in page and "<script>" not in page
    assert '"Segoe UI"' in page  # a quote that is escaped makes browsers drop the font
    assert page.count("<style>") == 1 and "{%" not in page


def test_a_page_depends_on_cells_settings_and_drawing_code(tmp_path, monkeypatch):
    run = RunFolder(tmp_path / "seed0")
    seen = set()

    def is_new(*settings):
        digest = run_page.drawn_from(run, list(settings))
        new = digest not in seen
        seen.add(digest)
        return new

    assert is_new("quick", {"seed": 0}) and not is_new("quick", {"seed": 0})
    assert is_new("quick", {"seed": 1})
    cell = run.cell("evaluation")
    cell.mkdir(parents=True)
    (cell / "accuracy.parquet").write_text("table")
    assert not is_new("quick", {"seed": 0}), "the cell is not finished"
    write_manifest(cell, {})
    assert is_new("quick", {"seed": 0})
    (cell / "accuracy.parquet").write_text("another table")
    (cell / "DONE.json").unlink()
    write_manifest(cell, {})
    assert is_new("quick", {"seed": 0})
    monkeypatch.setattr(run_page, "_drawing_code", lambda: b"another version")
    assert is_new("quick", {"seed": 0})
