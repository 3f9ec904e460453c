"""Which part of a mask is the object? A folder drawn the other way round must not become silhouettes of background."""

import warnings

import numpy as np
import pytest
from PIL import Image

from hf_relvit.errors import RelViTError, RelViTWarning
from hf_relvit.stimuli.objects import SHAPE_NAMES, ObjectSet
from hf_relvit.stimuli.silhouettes import read_silhouettes

OURS = dict(zip(SHAPE_NAMES, ObjectSet.default().masks))
OF_THE_BORDER = ["cross", "hourglass", "bow tie", "magnet", "flag"]
"""Ours that fill so much of their border that their background has little of it."""
STAIRS = "stairs"
"""The one whose background is a silhouette of the same kind: a staircase."""


def folder_of(path, shapes, inverted=(), margin=0):
    """Masks of our shapes, some drawn the other way round."""
    path.mkdir()
    for number, name in enumerate(shapes):
        black = np.pad(OURS[name], margin)
        drawn = np.where(black ^ (name in inverted), 0, 255)
        Image.fromarray(drawn.astype(np.uint8)).save(path / f"{number} {name}.png")
    return path


def test_ours_are_read_without_a_word(tmp_path):
    masks, _ = read_silhouettes(folder_of(tmp_path / "masks", OURS))
    np.testing.assert_array_equal(masks, ObjectSet.default().masks)


def test_ours_all_inverted_are_refused(tmp_path):
    with pytest.raises(RelViTError, match=r"5 of 5 masks .*; invert them, or"):
        read_silhouettes(folder_of(tmp_path / "masks", OF_THE_BORDER, OF_THE_BORDER))


@pytest.mark.parametrize("name", OF_THE_BORDER)
@pytest.mark.parametrize("other", [STAIRS, "cross"])
def test_an_inverted_shape_that_touches_its_border_is_refused(tmp_path, name, other):
    folder = folder_of(tmp_path / "masks", {other: 0, name: 0, STAIRS: 0}, {name, other})
    with pytest.raises(RelViTError, match=r"look drawn the other way round, such as .*\.png"):
        read_silhouettes(folder)


@pytest.mark.parametrize("name", OF_THE_BORDER)
def test_a_few_among_many_are_named_in_a_warning(tmp_path, name):
    folder = folder_of(tmp_path / "masks", OURS, {name})
    with pytest.warns(RelViTWarning, match=rf"1 of 20 masks .* such as \d+ {name}\.png") as said:
        masks, _ = read_silhouettes(folder)
    assert len(said) == 1 and "\n" not in str(said[0].message)
    number = list(OURS).index(name)
    np.testing.assert_array_equal(masks[number], ~OURS[name])


def test_where_nothing_tells_there_is_a_warning(tmp_path):
    """The background of a staircase is a staircase, so black is the object, and the line says so."""
    folder = folder_of(tmp_path / "masks", [STAIRS], [STAIRS])
    upright = np.where(OURS[STAIRS][::-1], 0, 255).astype(np.uint8)
    Image.fromarray(upright).save(folder / "1.png")
    with pytest.warns(RelViTWarning, match="nothing tells the masks") as said:
        masks, _ = read_silhouettes(folder)
    assert len(said) == 1 and "\n" not in str(said[0].message)
    np.testing.assert_array_equal(masks[1], OURS[STAIRS][::-1])


@pytest.mark.parametrize("inverted", [False, True])
def test_a_margin_settles_it_for_every_shape(tmp_path, inverted):
    folder = folder_of(tmp_path / "masks", OURS, OURS if inverted else (), margin=2)
    if inverted:
        with pytest.raises(RelViTError, match=r"black on 100% of its border"):
            read_silhouettes(folder)
    else:
        assert len(read_silhouettes(folder)[0]) == len(OURS)


def test_an_object_of_several_pieces_is_read_with_a_margin(tmp_path):
    """As letters with a dot are."""
    folder = folder_of(tmp_path / "masks", ["heart"], margin=2)
    for number, gap in enumerate((40, 60)):
        mask = np.full((192, 192), 255, np.uint8)
        mask[8:40, 60:130] = 0
        mask[40 + gap : 184, 60:130] = 0
        Image.fromarray(mask).save(folder / f"dotted {number}.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read_silhouettes(folder)[0]) == 3


def test_specks_are_no_pieces(tmp_path):
    folder = folder_of(tmp_path / "masks", OF_THE_BORDER)
    for path in folder.iterdir():
        drawn = np.array(Image.open(path))
        drawn[::24, ::24] ^= 255
        Image.fromarray(drawn).save(path)
    assert len(read_silhouettes(folder)[0]) == len(OF_THE_BORDER)


def test_a_folder_out_of_distribution_is_looked_at_too(tmp_path):
    folder = folder_of(tmp_path / "masks", [STAIRS, "cross"])
    folder_of(folder / "ood", OF_THE_BORDER, OF_THE_BORDER)
    with pytest.raises(RelViTError, match=r"5 of 7 masks"):
        read_silhouettes(folder)
