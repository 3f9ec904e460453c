import numpy as np
import pytest
from own_folder import SCENES, image_folder, rows_of
from walk import run_quietly

from hf_relvit.building.dataset_folder import open_folder
from hf_relvit.dataset_builders import photorealistic
from hf_relvit.errors import RelViTError
from hf_relvit.modeling.checkpoints import Checkpoint, randomly_initialized
from hf_relvit.stimuli.own_pictures import OwnPictures
from hf_relvit.stimuli.photorealistic.pairs import PhotoPairs
from hf_relvit.training.evaluation import PHOTOREALISTIC, evaluate
from hf_relvit.training.run import build_model


@pytest.fixture
def checkpoint(tiny):
    return build_model(tiny)


@pytest.fixture
def pairs(checkpoint):
    data = open_folder(photorealistic.__path__[0], "tiny")["test"]
    return PhotoPairs.from_dataset(data, checkpoint.model.config.geometry)


def test_conditions_divide_the_scenes(pairs):
    found = pairs.conditions()
    for kind in ("difference_", "level_", "occlusion_", "distance_", "rotation_difference_"):
        parts = [rows for name, rows in found.items() if name.startswith(kind)]
        assert (np.sum(parts, 0) == 1).all()
    hidden = pairs.facts.occlusion[found["occlusion_none"]]
    assert hidden.max() < 0.02
    assert set(pairs.label[found["difference_none"]]) == {1}
    assert (
        found["level_color"]
        == (found["difference_color"] | found["level_color"] & (pairs.label == 1))
    ).all()


def test_accuracy_is_that_of_the_model_with_an_interval_of_scenes(checkpoint, pairs):
    model, processor = checkpoint
    table = evaluate(Checkpoint(model, processor), {PHOTOREALISTIC: pairs}).set_index("condition")
    assert (table.split == "photorealistic").all()
    for net, column in ((model, "accuracy"), (randomly_initialized(model), "base_accuracy")):
        answers = net.eval()(pixel_values=processor(pairs.pictures)).logits.argmax(-1).numpy()
        right = answers == pairs.label
        for name, rows in pairs.conditions().items():
            assert table[column][name] == pytest.approx(right[rows].mean())
            assert table.n[name] == rows.sum()
    assert (table.ci_low <= table.accuracy).all()
    assert (table.accuracy <= table.ci_high).all()
    p, n = table.accuracy["all"], 16  # 16 scenes of two twins each
    width = 2 * 1.96 * np.sqrt(p * (1 - p) / n + 1.96**2 / 4 / n**2) / (1 + 1.96**2 / n)
    assert table.ci_high["all"] - table.ci_low["all"] == pytest.approx(width, rel=1e-3)


def test_a_checkpoint_of_another_task_is_refused(tiny_rmts, pairs):
    with pytest.raises(
        RelViTError, match="a checkpoint of rmts on photorealistic pairs: expected one of discrim"
    ):
        evaluate(build_model(tiny_rmts), {PHOTOREALISTIC: pairs})


def test_your_own_pictures_are_answered_as_drawn_scenes(checkpoint):
    """The same pictures with boxes: the same accuracy, by command and by function."""
    own = OwnPictures.of(rows_of(SCENES), checkpoint.geometry)
    mine = evaluate(checkpoint, {"own": own})
    drawn = evaluate(checkpoint, {"test": SCENES})
    assert mine.condition.tolist() == ["all"]
    columns = ["accuracy", "n", "auc", "base_accuracy", "floor"]
    expected = drawn[drawn.condition == "all"]
    assert (mine[columns].to_numpy() == expected[columns].to_numpy()).all()


def test_your_own_pictures_need_a_checkpoint_of_discrimination(tiny_rmts):
    checkpoint = build_model(tiny_rmts)
    own = OwnPictures.of(rows_of(SCENES), checkpoint.geometry)
    with pytest.raises(RelViTError, match="a checkpoint of rmts on own pairs"):
        evaluate(checkpoint, {"own": own})


def test_the_command_takes_a_folder_of_pictures(checkpoint, tmp_path, capsys):
    checkpoint.save(tmp_path / "model")
    pictures = image_folder(tmp_path / "pictures")
    command = ["evaluate", str(tmp_path / "model"), "--data", str(pictures)]
    assert run_quietly(command) == 0
    assert " 40 " in capsys.readouterr().out
    assert run_quietly(["evaluate", str(tmp_path / "model"), "--data", str(tmp_path)]) == 2
