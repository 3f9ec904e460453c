import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES, PatchGeometry, SceneGeometry, geometry, parse_config


def test_the_papers_geometries():
    rows = {name: (g.grid, g.object_patches, g.max_jitter) for name, g in GEOMETRIES.items()}
    assert rows["b16"] == (14, 2, 8)
    assert rows["b14"] == (16, 2, 7)
    assert rows["b32"] == (7, 1, 8)
    assert rows["b16small"] == (14, 1, 4)


def test_patches_are_top_left_top_right_bottom_left_bottom_right():
    display = PatchGeometry(224, 16).patches([[0, 0], [0, 2]], 2)
    assert display.tolist() == [[0, 1, 14, 15], [2, 3, 16, 17]]  # the official RMTS display pair


@given(prefix=st.integers(0, 5), patches=st.lists(st.integers(-1, 195), min_size=1))
def test_only_the_prefix_shifts_and_padding_stays(prefix, patches):
    layout = PatchGeometry(224, 16, prefix)
    for array in (np.array(patches), torch.tensor(patches)):
        tokens = layout.tokens(array)
        assert [int(t) for t in tokens] == [p if p < 0 else p + prefix for p in patches]
    assert layout.sequence_length == 196 + prefix


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: PatchGeometry(225, 16),
            "225 is not divisible by patch size 16: choose 224 or 240",
        ),
        (
            lambda: SceneGeometry("x", 224, 16, 24, 24),
            "object size 24 does not cover whole patches of 16",
        ),
        (lambda: SceneGeometry("x", 224, 16, 32, 40), "expected 8 <= sprite <= object <= image"),
        (lambda: geometry("b15"), "unknown geometry 'b15': expected one of b16"),
        (lambda: parse_config("b16"), "expected GEOMETRY-COMBINATIONS"),
        (lambda: parse_config("b17-32"), "unknown geometry 'b17'"),
    ],
)
def test_bad_geometry_is_one_line_with_the_cure(make, message):
    with pytest.raises(RelViTError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_a_config_is_a_geometry_and_combinations():
    assert parse_config("b16small-32") == (GEOMETRIES["b16small"], 32)
