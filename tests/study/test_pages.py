from hf_relvit.report.pages import write_page


def test_values_are_escaped_and_the_style_is_not(tmp_path):
    page = write_page(
        tmp_path / "out" / "page.html", "page.html", title="<script>", lead="a & b"
    ).read_text("utf-8")
    assert "<h1>&lt;script&gt;</h1>" in page and "a &amp; b" in page and "<script>" not in page
    assert '"Segoe UI"' in page  # a quote that is escaped makes browsers drop the font
    assert page.count("<style>") == 1 and "{%" not in page
