import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Picture

from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES, PatchGeometry
from hf_relvit.modeling.processing import PixelProcessor, default_processor
from hf_relvit.stimuli.distribution import SceneDistribution
from hf_relvit.training.data import RelViTCollator, SceneDataset

QUICK = GEOMETRIES["quick"]


@pytest.fixture
def collator():
    return RelViTCollator(PixelProcessor(default_processor(64), 64), PatchGeometry(64, 8, 1), QUICK)


def test_a_batch_equals_its_items_in_any_order():
    data = SceneDataset(SceneDistribution("discrimination", QUICK), "train", 16, length=64)
    wanted = [40, 3, 17, 16, 0]  # over three blocks, out of order
    batch = data.__getitems__(wanted)
    for row, index in enumerate(wanted):
        for key, value in data[index].items():
            np.testing.assert_array_equal(batch[key][row], value)


def test_scenes_kept_on_a_device_are_the_same_scenes(collator):
    drawn, kept = (
        SceneDataset(SceneDistribution("rmts", QUICK, 32), "train", 24) for _ in range(2)
    )
    kept.keep(torch.device("cpu"))
    for wanted in ([5, 0, 23], [7]):
        one, other = drawn.__getitems__(wanted), kept.__getitems__(wanted)
        for key, value in one.items():
            np.testing.assert_array_equal(other[key], value)
        batches = [collator(batch) for batch in (one, other)]
        for key, value in batches[0].items():
            torch.testing.assert_close(batches[1][key], value, rtol=0, atol=0)
    with pytest.raises(IndexError):
        kept[24]


def test_fresh_scenes_never_repeat_and_are_the_same_for_everyone():
    one, other = (
        SceneDataset(SceneDistribution("discrimination", QUICK), "train", 32, length=10_000)
        for _ in range(2)
    )
    first, second = one.__getitems__(list(range(32))), one.__getitems__(list(range(32, 64)))
    assert not (first["image"] == second["image"]).all()
    np.testing.assert_array_equal(other.__getitems__(list(range(32, 64)))["image"], second["image"])
    with pytest.raises(IndexError):
        one[10_000]


def test_collator_makes_the_same_batch_of_scenes_and_of_a_published_dataset(collator):
    data = SceneDataset(SceneDistribution("rmts", QUICK, 32), "test", 8)
    rows = [data[i] for i in range(8)]
    features = Features(
        image=Image(),
        label=Value("int64"),
        patches=List(List(Value("int64"))),
        shape=List(Value("int64")),
    )
    published = Dataset.from_list(
        [
            {k: Picture.fromarray(r[k]) if k == "image" else r[k].tolist() for k in features}
            for r in rows
        ],
        features,
    )
    ours, theirs = (
        collator(data.__getitems__(list(range(8)))),
        collator([published[i] for i in range(8)]),
    )
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key], value, rtol=0, atol=0)
    assert ours["pixel_values"].shape == (8, 3, 64, 64)
    assert ours["pixel_values"].dtype == torch.float32
    assert ours["patches"].shape == (8, 4, 4)


def test_scenes_of_another_geometry_are_refused(collator):
    with pytest.raises(RelViTError, match="do not fit a model of 64 px"):
        RelViTCollator(collator.processor, collator.geometry, GEOMETRIES["small"])
    with pytest.raises(RelViTError, match="images of 112 x 112 pixels for a model of 64"):
        collator(
            SceneDataset(
                SceneDistribution("discrimination", GEOMETRIES["small"]), "test", 4
            ).__getitems__([0, 1])
        )
