import io

import numpy as np
import pytest
from datasets import Dataset
from datasets import Image as ImageFeature
from PIL import Image

from hf_relvit.building.dataset_folder import open_folder
from hf_relvit.dataset_builders import photorealistic
from hf_relvit.errors import RelViTError
from hf_relvit.geometry import PatchGeometry
from hf_relvit.stimuli.photorealistic.pairs import PhotoPairs


@pytest.fixture(scope="module")
def tiny():
    return open_folder(photorealistic.__path__[0], "tiny")["test"]


def test_at_the_size_of_the_set_nothing_changes(tiny):
    pairs = PhotoPairs.from_dataset(tiny, PatchGeometry(224, 16, 1))
    assert pairs.pictures.shape == (32, 224, 224, 3)
    np.testing.assert_array_equal(pairs.pictures[3], np.asarray(tiny[3]["image"]))
    for row, ids in zip(tiny, pairs.covered):
        assert [of[of >= 0].tolist() for of in ids] == row["patches"]


@pytest.mark.parametrize(("size", "patch"), [(64, 8), (224, 14), (256, 32)])
def test_any_model_gets_patches_of_its_own(tiny, size, patch):
    pairs = PhotoPairs.from_dataset(tiny.select(range(6)), PatchGeometry(size, patch, 5))
    assert pairs.pictures.shape == (6, size, size, 3)
    for first, second in pairs.covered:
        first, second = set(first[first >= 0]), set(second[second >= 0])
        assert first
        assert second
        assert not first & second
        assert max(first | second) < (size // patch) ** 2


def test_fewer_scenes(tiny):
    pairs = PhotoPairs.from_dataset(tiny, PatchGeometry(64, 8, 1))
    few = pairs[np.array([1, 4])]
    assert len(few) == 2
    assert few.facts["index"].tolist() == [1, 4]
    assert few.label.tolist() == [1, 0]
    assert set(pairs.facts.level) == {"object", "color"}
    assert (pairs.facts.pair == pairs.facts["index"] // 2).all()


def test_another_dataset_is_refused():
    with pytest.raises(RelViTError, match=r"without .*mask.*: expected photorealistic scenes"):
        PhotoPairs.from_dataset(Dataset.from_dict({"label": [1]}), PatchGeometry(64, 8, 1))


def _mask(values):
    return np.asarray(values, dtype=np.uint8)


def _with(data, **columns):
    for name, arrays in columns.items():
        stored = []
        for array in arrays:
            file = io.BytesIO()
            Image.fromarray(array).save(file, "PNG")
            stored.append({"bytes": file.getvalue(), "path": None})
        data = data.add_column(name, stored, feature=ImageFeature())
    return data


HALVES = np.repeat([[0] * 8, [1] * 8, [2] * 8, [0] * 8], 2, axis=0)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (_mask(HALVES == 1) * 255, "holds the values 0, 255: expected 0 where neither"),
        (_mask(HALVES == 1), "holds the values 0, 1: expected 0 where neither"),
        (255 - _mask(HALVES), "holds the values 253, 254, 255: expected"),
        (_mask(HALVES * 0), "holds the values 0: expected"),
        (_mask(HALVES * 0 + 255), "holds the values 255: expected"),
        (_mask(HALVES[:, :4]), r"has the shape \(8, 4\): expected a square"),
        (np.stack([_mask(HALVES)] * 3, 2), r"has the shape \(8, 8, 3\): expected a picture of one"),
        (np.stack([_mask(HALVES)] * 4, 2), r"has the shape \(8, 8, 4\): expected a picture of one"),
    ],
)
def test_masks_of_another_convention_are_refused(tiny, mask, message):
    rows = tiny.select(range(2)).remove_columns("mask")
    data = _with(rows, mask=[_mask(HALVES), mask])
    with pytest.raises(RelViTError, match=f"mask of row 1 {message}"):
        PhotoPairs.from_dataset(data, PatchGeometry(64, 16, 1))


def test_masks_and_images_of_any_square_size_are_taken_and_others_refused(tiny):
    rows = tiny.select(range(1)).remove_columns(["mask", "image"])
    large = _mask(HALVES).repeat(10, 0).repeat(10, 1)
    for image, mask in (((30, 30), large), ((100, 100), _mask(HALVES))):
        data = _with(rows, image=[np.zeros((*image, 3), np.uint8)], mask=[mask])
        pairs = PhotoPairs.from_dataset(data, PatchGeometry(64, 16, 1))
        assert pairs.covered.tolist() == [[[4, 5, 6, 7], [8, 9, 10, 11]]]
    data = _with(rows, image=[np.zeros((30, 40, 3), np.uint8)], mask=[large])
    with pytest.raises(RelViTError, match="image of row 0 is 40 x 30 pixels: expected a square"):
        PhotoPairs.from_dataset(data, PatchGeometry(64, 16, 1))
