"""Scenes drawn on the fly are the same in DataLoader workers that are not forked (macOS, Windows, Python 3.14)."""

import numpy as np
import pytest
from torch.utils.data import DataLoader

from hf_relvit.geometry import GEOMETRIES, PatchGeometry
from hf_relvit.modeling.processing import PixelProcessor, default_processor
from hf_relvit.stimuli.distribution import SceneDistribution
from hf_relvit.stimuli.objects import PALETTE, ObjectSet
from hf_relvit.training.data import RelViTCollator, SceneDataset

QUICK = GEOMETRIES["quick"]


def distribution(kind):
    if kind == "own objects":
        ours = ObjectSet.default()
        own = ObjectSet(ours.masks[:4], PALETTE[:4], 4, 4)
        return SceneDistribution("rmts", QUICK, 16, own)
    return SceneDistribution("discrimination", QUICK, 128)


@pytest.mark.long
@pytest.mark.parametrize("context", ["spawn", "forkserver"])
@pytest.mark.parametrize("kind", ["ours", "own objects"])
def test_scenes_are_the_same_in_workers_that_are_not_forked(kind, context):
    data = SceneDataset(distribution(kind), "train", 32, length=64)  # the second half is fresh
    alone = list(DataLoader(data, 16, collate_fn=dict))
    workers = DataLoader(data, 16, num_workers=1, multiprocessing_context=context, collate_fn=dict)
    batches = list(workers)
    assert len(batches) == len(alone) == 4
    for batch, expected in zip(batches, alone):
        assert batch.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_array_equal(batch[name], values)


@pytest.mark.long
def test_the_collator_works_there_too():
    data = SceneDataset(distribution("ours"), "train", 16)
    processor = PixelProcessor(default_processor(QUICK.image_size), QUICK.image_size)
    collate = RelViTCollator(processor, PatchGeometry(QUICK.image_size, QUICK.patch_size, 1))
    (alone,) = DataLoader(data, 16, collate_fn=collate)
    (batch,) = DataLoader(
        data, 16, num_workers=1, multiprocessing_context="spawn", collate_fn=collate
    )
    np.testing.assert_array_equal(batch["pixel_values"], alone["pixel_values"])
