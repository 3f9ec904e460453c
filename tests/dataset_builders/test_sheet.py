import numpy as np
import pytest
from PIL import Image

from hf_relvit.building.build import build
from hf_relvit.building.card import write_sheet_of
from hf_relvit.building.settings import BuildConfig
from hf_relvit.building.sheet import _Box, _place

FRAME, OTHER = (0xB3, 0x50, 0x0F), (0x1A, 0x5F, 0xA0)


@pytest.mark.parametrize(
    ("task", "config", "n", "examples", "inks"),
    [
        ("discrimination", "quick-32", 24, (4, 1), [FRAME]),
        ("rmts", "b16small-32", 8, (4, 1), [FRAME]),
        ("counterfactuals", "rmts-quick-32", 16, (2, 2), [FRAME, OTHER]),
    ],
)
def test_examples_with_their_patches(tmp_path, task, config, n, examples, inks):
    build(BuildConfig(task, config, n_train=n, n_eval=n), tmp_path, say=print)
    with Image.open(tmp_path / "columns.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    columns, rows = examples
    for part in np.split(pixels, rows, axis=0):
        for example in np.split(part, columns, axis=1):
            for ink in inks:
                assert (example == ink).all(
                    -1
                ).sum() > 100  # frames around the patches of the objects
    write_sheet_of(tmp_path, config, tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "columns.png").read_bytes()


def test_own_objects_have_numbers_for_names(tmp_path, own_objects):
    masks, palette = own_objects
    build(
        BuildConfig(
            "discrimination", "quick-9", n_train=24, n_eval=24, masks=masks, palette=palette
        ),
        tmp_path,
        say=print,
    )
    assert (tmp_path / "columns.png").exists()


def test_names_do_not_cover_each_other():
    boxes = [_Box(0, 0, 64, 64), _Box(64, 0, 128, 64)]  # side by side at the top
    first = _place(boxes[0], 100, boxes, 448)
    second = _place(boxes[1], 100, [*boxes, first], 448)
    assert first == (0, 64, 100, 82)
    assert second == (64, 82, 164, 100)
    at_the_edge = _Box(400, 200, 448, 248)
    assert _place(at_the_edge, 100, [], 448) == (348, 182, 448, 200)
