"""Every way to mistype a command is one line: option, value, what was expected, where to read on."""

import pytest

from hf_relvit import cli


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["trian"], ["trian"]),
        (["train", "quick", "--imagse", "3"], ["--imagse", "--images", "relvit train --help"]),
        (["train", "quick", "--images", "many"], ["--images 'many'", "integer"]),
        (["train", "quick", "--readout", "maen"], ["--readout 'maen'", "mean", "did you mean"]),
        (["evaluate"], ["Missing argument", "relvit evaluate --help"]),
        (["analyze", "das", "somewhere", "--method", "foo"], ["--method 'foo'", "closed_form"]),
    ],
)
def test_the_line_names_what_is_wrong_and_the_cure(words, parts, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert [part for part in parts if part not in line] == []
