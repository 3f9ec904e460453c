import numpy as np
import pytest
from hf_relvit.dataset_builders import photorealistic
from hf_relvit.dataset_builders.build import open_folder

from hf_relvit.errors import RelViTError
from hf_relvit.stimuli.photorealistic.pairs import PhotoPairs
from hf_relvit.training.evaluation import random_twin
from hf_relvit.training.photorealistic import conditions, evaluate_photorealistic
from hf_relvit.training.run import build_model


@pytest.fixture
def checkpoint(tiny):
    return build_model(tiny)


@pytest.fixture
def pairs(checkpoint):
    data = open_folder(photorealistic.__path__[0], "tiny")["test"]
    return PhotoPairs.from_dataset(data, checkpoint[0].config.geometry)


def test_conditions_divide_the_scenes(pairs):
    found = conditions(pairs)
    assert found["all"].all()
    for kind in ("difference_", "level_", "occlusion_", "distance_", "rotation_difference_"):
        parts = [rows for name, rows in found.items() if name.startswith(kind)]
        assert (np.sum(parts, 0) == 1).all()
    hidden = pairs.facts.occlusion[found["occlusion_none"]]
    assert hidden.max() < 0.02
    assert set(pairs.labels[found["difference_none"]]) == {1}
    assert (found["level_color"] == (found["difference_color"] | found["level_color"] & (pairs.labels == 1))).all()


def test_accuracy_is_that_of_the_model_with_an_interval_of_scenes(checkpoint, pairs):
    model, processor = checkpoint
    table = evaluate_photorealistic(model, processor, pairs).set_index("condition")
    assert (table.split == "photorealistic").all()
    for net, column in ((model, "accuracy"), (random_twin(model), "base_accuracy")):
        answers = net.eval()(pixel_values=processor(pairs.images)).logits.argmax(-1).numpy()
        right = answers == pairs.labels
        for name, rows in conditions(pairs).items():
            assert table[column][name] == pytest.approx(right[rows].mean())
            assert table.n[name] == rows.sum()
    assert (table.ci_low <= table.accuracy).all()
    assert (table.accuracy <= table.ci_high).all()
    p, n = table.accuracy["all"], 16  # 16 scenes of two twins each
    width = 2 * 1.96 * np.sqrt(p * (1 - p) / n + 1.96**2 / 4 / n**2) / (1 + 1.96**2 / n)
    assert table.ci_high["all"] - table.ci_low["all"] == pytest.approx(width, rel=1e-3)


def test_a_checkpoint_of_another_task_is_refused(tiny_rmts, pairs):
    with pytest.raises(RelViTError, match="a checkpoint of rmts on photorealistic pairs: expected one of discrim"):
        evaluate_photorealistic(*build_model(tiny_rmts), pairs)
