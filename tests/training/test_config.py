import dataclasses
import json
import time
import typing
from pathlib import Path

import pytest
from transformers import TrainerState
from transformers.trainer_utils import SchedulerType

from hf_relvit.errors import RelViTError
from hf_relvit.training.config import (
    COUNT,
    LIMITS,
    PRESETS,
    Schedule,
    TrainConfig,
    comparable,
    read_yaml,
    resolve,
    upgrade,
)
from hf_relvit.training.resolved import resolved
from hf_relvit.training.run import train
from hf_relvit.training.trainer import _Progress
from hf_relvit.training.training_folder import TrainingFolder

OLD = Path(__file__).parent / "old_run"


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
        ("images: -1", "images -1: expected int >= 1"),
        ("images: 1.5", "images 1.5: expected int, got float"),
        ("lr_scheduler_type: cosin", "expected one of cosine.*did you mean 'cosine'"),
        ("schedule: cosin", "expected one of cosine.*did you mean 'cosine'"),
        ("{schedule: cosine, lr_scheduler_type: cosine}", "are the same setting"),
        ("lr_scheduler_type: constant", "constant, which has no warm-up"),
        ("readout: clss", "did you mean 'cls'"),
        ("fresh: 'no'", "fresh 'no': expected bool, got str"),
        ("compile: 'no'", "compile 'no': expected bool, got str"),
        ("bf16: 'false'", "bf16 'false': expected bool"),
        ("learning_rate: .nan", "learning_rate nan: expected"),
        ("weight_decay: .inf", "expected a finite number"),
        ("learning_rate: true", "expected float, got bool"),
        ("seed: -1", "seed -1: expected int >= 0"),
        ("seed: 4294967296", "expected int <= 4294967295"),
        ("n_eval: 33", "33 scenes cannot be balanced"),
        ("eval_splits: validation", "expected one of train, validation"),
        ("backbone: 3", "backbone 3: expected str"),
        ("geometry: huge", "unknown geometry 'huge'"),
        ("task: rmts2", "unknown task 'rmts2'"),
        ("trainer: 3", "trainer 3: expected"),
        ("trainer: {adam_bet2: 0.9}", "unknown key 'adam_bet2'.*did you mean 'adam_beta2'"),
        ("trainer: {seed: 3}", "write seed beside trainer"),
        ("trainer: {max_steps: 3}", "decided by images and batch_size"),
        ("trainer: {fp16: true}", "use bf16"),
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


def test_the_preset_of_adapters_evaluates_less_than_it_trains():
    preset = PRESETS["adapters"]
    assert (preset.steps, preset.lora) == (120, 8)
    assert preset.evaluated < preset.images / 2
    assert resolve("adapters", geometry="b32").geometry == "b32"


def test_steps_round_up():
    assert TrainConfig(images=100, batch_size=64).steps == 2


@pytest.mark.parametrize("field", dataclasses.fields(TrainConfig), ids=lambda field: field.name)
def test_every_setting_refuses_a_value_of_another_type(field):
    with pytest.raises(RelViTError, match=f"^{field.name} ") as error:
        TrainConfig(**{field.name: object()})
    assert "\n" not in str(error.value)


def test_every_schedule_of_trainer_can_be_named():
    assert set(typing.get_args(Schedule)) == {kind.value for kind in SchedulerType} | {
        "exponential"
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"schedule": "cosine"}, {"lr_scheduler_type": "cosine"}),
        ({"schedule": "constant"}, {"lr_scheduler_type": "constant_with_warmup"}),
        (
            {"schedule": "plateau", "warmup_steps": 200},
            {"lr_scheduler_type": "reduce_lr_on_plateau", "warmup_steps": 0},
        ),
        ({"schedule": "exponential"}, {"lr_scheduler_type": "exponential", "warmup_steps": 0}),
        ({"best": True}, {"load_best_model_at_end": True}),
    ],
)
def test_settings_of_older_versions_have_todays_names(old, new):
    assert upgrade(old) == new
    assert upgrade(new) == new
    assert resolve("quick", old) == resolve("quick", new)


def test_a_folder_of_an_older_version_opens_and_goes_on(tmp_path):
    """``old_run/config.json`` was written by the version before the settings had Trainer's names."""
    text = (OLD / "config.json").read_text()
    assert json.loads(text)["schedule"] == "cosine"
    (tmp_path / "config.json").write_text(text)
    settings = TrainingFolder(tmp_path).settings()
    assert (settings.lr_scheduler_type, settings.load_best_model_at_end) == ("cosine", False)
    folder = train(settings, tmp_path, progress=False)
    assert folder.finished()
    assert "schedule" not in folder.config
    with pytest.raises(RelViTError, match="another learning_rate"):
        train(dataclasses.replace(settings, learning_rate=1.0), tmp_path, progress=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "Expected a mapping, got a list"),
        ('{"schedul": 1}', "unknown key 'schedul'"),
        ('{"images": -1}', "config.json: images -1"),
        ("{", "cannot be read"),
    ],
)
def test_a_broken_settings_file_is_one_line(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(RelViTError, match=message):
        train(TrainConfig(), tmp_path, progress=False)


@pytest.mark.parametrize("family", ["vit", "dinov2", "deit"])
def test_the_resolved_settings_name_what_was_left_to_the_family(family):
    config = TrainConfig(backbone={"model_type": family, "hidden_size": 48})
    whole = resolved(config)
    assert whole.backbone["num_hidden_layers"] == 12
    assert (whole.backbone["hidden_size"], whole.backbone["image_size"]) == (48, 64)
    assert isinstance(whole.bf16, bool)
    assert resolved(whole) == whole
    assert "id2label" not in whole.backbone


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ({}, "expected model_type"),
        ({"model_type": "vitt"}, "expected model_type"),
        ({"model_type": "vit", "hiden_size": 32}, "did you mean 'hidden_size'"),
        ({"model_type": "vit", "hidden_size": "wide"}, "cannot be built"),
    ],
)
def test_a_backbone_that_cannot_be_built_leaves_no_folder(tmp_path, backbone, message):
    with pytest.raises(RelViTError, match=message):
        train(TrainConfig(backbone=backbone), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_what_the_weights_depend_on_is_compared():
    one = TrainConfig(report_to="wandb", gradient_checkpointing=True, trainer={"run_name": "x"})
    assert comparable(one.to_dict()) == comparable(TrainConfig().to_dict())
    other = TrainConfig(trainer={"adam_beta2": 0.9})
    assert comparable(other.to_dict()) != comparable(TrainConfig().to_dict())


USED = [
    {"fresh": False},
    {"lr_scheduler_type": "exponential", "warmup_steps": 0},
    {"pipeline": {"within_object": [0], "start_epoch": {"within_object": 1}}},
]


@pytest.mark.parametrize("settings", [{}, {"images": 128}, {"pipeline": {"within_object": [0]}}])
def test_a_number_of_training_images_that_nothing_reads_is_refused(settings):
    with pytest.raises(RelViTError, match=r"n_train 64 with fresh scenes.*--no-fresh"):
        resolve("quick", {**settings, "n_train": 64})
    with pytest.raises(RelViTError, match="n_train 64 with fresh scenes"):
        resolve("quick", settings, n_train=64)
    assert TrainConfig(n_train=64).n_train == 64  # as a folder of an older version may hold it


@pytest.mark.parametrize("settings", USED)
def test_a_number_of_training_images_that_something_reads_is_kept(settings):
    assert resolve("quick", {**settings, "n_train": 64}).n_train == 64


@pytest.mark.parametrize("name", [name for name, limit in LIMITS.items() if limit is COUNT])
def test_a_count_has_a_limit(name):
    with pytest.raises(RelViTError, match=f"^{name} 1000000000000: expected.*1000000000$"):
        TrainConfig(**{name: 10**12})


@pytest.mark.parametrize(
    ("first", "seconds", "line"),
    [
        (0, 60.0, "about 16 h of training left for 1,000 steps, without evaluations"),
        (500, 60.0, "about 8 h of training left for 1,000 steps, without evaluations"),
        (0, 1000.0, "about 11 days of training left for 1,000 steps, without evaluations"),
        (0, 0.1, ""),
    ],
)
def test_a_long_training_says_how_long(monkeypatch, capsys, first, seconds, line):
    """The first steps, which load and compile, do not count."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress = _Progress()
    state = TrainerState(global_step=first, max_steps=1000)
    nothing = (None, state, None)
    progress.on_train_begin(*nothing)
    for step in range(1, 30):
        now[0] += 3000.0 if step <= 2 else seconds
        state.global_step = first + step
        progress.on_step_end(*nothing)
    progress.on_train_end(*nothing)
    said = [text for text in capsys.readouterr().err.splitlines() if text.startswith("about")]
    assert said == ([line] if line else [])
