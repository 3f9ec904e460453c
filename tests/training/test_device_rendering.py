import numpy as np
import pytest
import torch
from one_device import one_device

from hf_relvit.geometry import GEOMETRIES
from hf_relvit.stimuli.distribution import SceneDistribution
from hf_relvit.stimuli.objects import ObjectSet
from hf_relvit.stimuli.rendering import render
from hf_relvit.stimuli.scenes import sample
from hf_relvit.training.data import SceneDataset
from hf_relvit.training.device_rendering import DeviceRenderer

CPU = torch.device("cpu")


@pytest.mark.parametrize("task", ["discrimination", "rmts"])
@pytest.mark.parametrize("geometry", ["b16", "b32", "quick"])
def test_the_same_pixels_to_the_bit(task, geometry):
    check_pixels(sample(task, GEOMETRIES[geometry], "train", 72))


@pytest.mark.parametrize("task", ["discrimination", "svrt_20", "svrt_21"])
def test_the_same_pixels_of_freely_placed_objects(task):
    check_pixels(sample(task, GEOMETRIES["quick"].with_placement("free"), "train", 72))


def check_pixels(table):
    some = table[[69, 3, 4]]
    renderer = DeviceRenderer(ObjectSet.default(), table.geometry, CPU)
    for scenes in (table, some):
        np.testing.assert_array_equal(renderer(scenes).numpy(), render(scenes))


def test_a_dataset_of_either_kind_is_the_same():
    host, device = (
        SceneDataset(
            SceneDistribution("rmts", GEOMETRIES["quick"], 32), "train", 16, length=64, device=where
        )
        for where in (None, CPU)
    )
    for wanted in ([3, 1], [40, 3, 17, 16, 0]):  # in one block, over several
        one, other = host.__getitems__(wanted), device.__getitems__(wanted)
        assert torch.is_tensor(other["image"]) and not torch.is_tensor(one["image"])
        for key, value in one.items():
            np.testing.assert_array_equal(other[key], value)


def test_the_host_does_not_wait(monkeypatch):
    table = sample("rmts", GEOMETRIES["b16"], "train", 8)
    renderer = DeviceRenderer(ObjectSet.default(), table.geometry, torch.device("meta"))
    with one_device(monkeypatch) as waits:
        assert renderer(table).device.type == "meta"
    assert not waits
