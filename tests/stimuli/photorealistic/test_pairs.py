import numpy as np
import pytest
from datasets import Dataset

from hf_relvit.building.build import open_folder
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
