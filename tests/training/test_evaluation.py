import numpy as np
import pytest
import torch

from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.modeling.checkpoints import Checkpoint, randomly_initialized
from hf_relvit.stimuli.distribution import SceneDistribution
from hf_relvit.training.evaluation import evaluate, predict, sample_splits
from hf_relvit.training.run import build_model

QUICK = GEOMETRIES["quick"]


@pytest.fixture
def checkpoint(tiny):
    return build_model(tiny)


def test_batch_1_equals_batch_64(checkpoint):
    data = sample_splits(SceneDistribution("discrimination", QUICK), 20, ("test",))["test"]
    one, many = (predict(checkpoint, data, batch_size=size) for size in (1, 64))
    np.testing.assert_allclose(one, many, atol=1e-5)
    assert many.shape == (20, 2)
    assert many.dtype == np.float32


def test_the_random_twin_is_another_network_and_leaves_the_random_state_alone(checkpoint):
    model, _ = checkpoint
    state = torch.random.get_rng_state()
    one, other = randomly_initialized(model), randomly_initialized(model)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(one.classifier.weight, other.classifier.weight)
    assert not torch.equal(one.classifier.weight, model.classifier.weight)


def test_the_table_says_how_to_read_each_accuracy(checkpoint):
    model, processor = checkpoint
    data = sample_splits(SceneDistribution("rmts", QUICK, 32), 40)
    table = evaluate(Checkpoint(model, processor), data)
    assert list(dict.fromkeys(table.split)) == [
        "validation",
        "test",
        "test_compositional",
        "test_ood_shape",
        "test_ood_color",
        "test_ood_shape_color",
    ]
    everything = table[table.condition == "all"].set_index("split")
    assert (everything.n == 40).all()
    assert (everything.floor == 0.5).all()
    right = predict(Checkpoint(model, processor), data["test"]).argmax(1) == data["test"].label
    assert everything.accuracy["test"] == pytest.approx(right.mean())
    assert everything.ci_low["test"] <= everything.accuracy["test"] <= everything.ci_high["test"]
    base = (
        predict(Checkpoint(randomly_initialized(model), processor), data["test"]).argmax(1)
        == data["test"].label
    )
    assert everything.base_accuracy["test"] == pytest.approx(base.mean())
    cells = table[(table.split == "test") & table.condition.str.startswith("sample_")]
    assert cells.n.tolist() == [10] * 4


def test_a_split_that_does_not_exist_is_refused():
    with pytest.raises(
        RelViTError, match="unknown split 'test_compositional': expected some of train, validation"
    ):
        sample_splits(SceneDistribution("rmts", QUICK), 8, ("test_compositional",))
