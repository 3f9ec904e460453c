import pytest

from hf_relvit.errors import RelViTError
from hf_relvit.training.config import PRESETS, TrainConfig, read_yaml, resolve


def test_options_override_settings_which_override_the_preset():
    config = resolve("quick-rmts", {"images": 256, "seed": 3}, seed=4, task=None)
    assert (config.images, config.seed, config.task) == (256, 4, "rmts")
    assert config.pipeline == PRESETS["quick-rmts"].pipeline
    assert resolve("quick-rmts", {"pipeline": None}).pipeline is None  # in settings None is a value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rat: 1.0e-4", "did you mean 'learning_rate'"),
        ("learning_rate: 1e-4", "expected a number"),
        ("images: -1", "images -1: expected a positive"),
        ("schedule: linear", "expected one of cosine"),
        ("eval_splits: [test]", "expected a list with 'validation'"),
        ("- 1", "holds list"),
        ("a: [", "cannot be read as YAML"),
    ],
)
def test_bad_settings_are_one_line_with_the_cure(tmp_path, text, message):
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(RelViTError, match=message) as error:
        resolve("quick", read_yaml(file))
    assert "\n" not in str(error.value)


def test_unknown_preset_names_the_nearest():
    with pytest.raises(RelViTError, match="did you mean 'quick'"):
        resolve("quik")


def test_the_papers_presets_hold_the_papers_values():
    for name in ("b16", "b14", "b32"):
        preset = PRESETS[name]
        assert (preset.learning_rate, preset.batch_size, preset.weight_decay) == (1e-6, 128, 0.01)
        assert preset.images == 200 * preset.n_train
        assert preset.n_train == 6400
        assert not preset.fresh


def test_steps_round_up():
    assert TrainConfig(images=100, batch_size=64).steps == 2
