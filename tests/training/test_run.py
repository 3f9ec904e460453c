import dataclasses
import logging
import warnings

import numpy as np
import pytest
from PIL import Image
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
)
from walk import run_quietly

from hf_relvit.building.build import build as build_data
from hf_relvit.building.settings import BuildConfig
from hf_relvit.errors import RelViTError, RelViTWarning
from hf_relvit.files import lock_path
from hf_relvit.modeling import RelViTForImageClassification
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.owned import noting
from hf_relvit.report.card import write_training_card
from hf_relvit.stimuli.objects import ObjectSet
from hf_relvit.stimuli.styles import style_of
from hf_relvit.training.config import PRESETS
from hf_relvit.training.run import _tell_of_long_evaluations, build_model, train
from hf_relvit.training.training_folder import TrainingFolder


@pytest.fixture
def clip(tmp_path):
    """A pretrained CLIP image tower with its processor, as a folder."""
    config = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=64,
        patch_size=8,
    )
    CLIPVisionModel(config).save_pretrained(tmp_path / "clip")
    size = {"height": 64, "width": 64}
    CLIPImageProcessor(size={"shortest_edge": 64}, crop_size=size).save_pretrained(
        tmp_path / "clip"
    )
    return str(tmp_path / "clip")


def test_a_pretrained_backbone_is_fine_tuned_with_its_own_processor(tiny, clip, tmp_path):
    config = dataclasses.replace(tiny, backbone=clip, images=32)
    model, processor = Checkpoint.open(train(config, tmp_path / "run", progress=False).model)
    assert processor.fingerprint == model.config.processor_fingerprint
    assert processor.image_processor.image_mean[0] == pytest.approx(0.48145466)
    assert model.config.readout == "cls"
    assert model.classifier.bias is None  # as in the paper
    write_training_card(TrainingFolder(tmp_path / "run"))
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert processor.fingerprint in card
    assert "n = 32; guessing gives 0.5" in card
    assert "{{" not in card


def test_a_backbone_of_another_geometry_is_refused(tiny, clip):
    with pytest.raises(RelViTError, match="do not fit a model of 64 px with patches of 8"):
        build_model(dataclasses.replace(tiny, backbone=clip, geometry="small"))


def test_a_missing_backbone_is_one_line(tiny, tmp_path):
    with pytest.raises(RelViTError, match="nothing-here") as error:
        build_model(dataclasses.replace(tiny, backbone=str(tmp_path / "nothing-here")))
    assert "\n" not in str(error.value)


def test_between_pair_needs_rmts(tiny, tmp_path):
    config = dataclasses.replace(tiny, pipeline={"between_pair": [0]})
    with pytest.raises(RelViTError, match="between_pair"):
        train(config, tmp_path, progress=False)


def test_a_palette_needs_masks(tiny):
    with pytest.raises(RelViTError, match="without a folder of masks"):
        build_model(dataclasses.replace(tiny, palette="colors.json"))


def test_what_a_checkpoint_holds_beside_the_backbone_is_not_reported(tmp_path):
    config = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2
    )
    CLIPVisionModelWithProjection(config).save_pretrained(tmp_path)
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logging.getLogger("transformers").addHandler(handler)
    try:
        RelViTForImageClassification.from_backbone(str(tmp_path))
    finally:
        logging.getLogger("transformers").removeHandler(handler)
    assert not [record for record in records if "LOAD REPORT" in record.getMessage()]


def test_what_a_training_killed_at_its_end_left_is_removed(tiny, tmp_path):
    """Its checkpoints stayed for ever, and a study took them for results."""
    config = dataclasses.replace(tiny, images=32)
    folder = train(config, tmp_path / "run", progress=False)
    whole = sorted(folder.path.rglob("*"))
    checkpoint = folder.checkpoints / "checkpoint-2"
    with noting(checkpoint):
        (checkpoint / "optimizer.pt").touch()
    lock_path(folder.checkpoints).write_text("process 1 on this machine")
    train(config, tmp_path / "run", progress=False)
    assert sorted(folder.path.rglob("*")) == whole


def test_evaluations_that_dwarf_training_are_told():
    """The paper's preset with few images would evaluate for a day; no preset itself does."""
    short = dataclasses.replace(PRESETS["b16"], images=3840)
    with pytest.warns(RelViTWarning, match="1667 times as many images as training"):
        _tell_of_long_evaluations(short)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for preset in PRESETS.values():
            _tell_of_long_evaluations(preset)


def test_a_style_is_trained_on_and_comes_back_with_the_checkpoint(tiny, tmp_path):
    config = dataclasses.replace(tiny, style="arrows")
    folder = train(config, tmp_path)
    checkpoint = Checkpoint.open(folder.model)
    expected = config.distribution()
    found = checkpoint.distribution()
    assert found.objects.fingerprint() == style_of("arrows").objects().fingerprint()
    assert (found.sample("test", 8).pixels() == expected.sample("test", 8).pixels()).all()
    assert config.to_dict()["style"] == "arrows" and "style" not in tiny.to_dict()


def test_a_style_beside_own_objects_or_an_unknown_one_is_refused(tiny):
    with pytest.raises(RelViTError, match="unknown style 'arrow'"):
        dataclasses.replace(tiny, style="arrow").distribution()
    with pytest.raises(RelViTError, match="with style arrows: name one of them"):
        dataclasses.replace(tiny, style="arrows", objects="mine").distribution()


@pytest.fixture
def own_masks(tmp_path):
    """A folder of sixteen silhouettes and two more, as a user would draw them."""
    for number, mask in enumerate(ObjectSet.default().masks[:18]):
        file = tmp_path / "masks" / ("ood" * (number >= 16)) / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture = np.pad(np.where(mask, 0, 255), 8, constant_values=255)
        Image.fromarray(picture.astype(np.uint8)).save(file)
    return tmp_path / "masks"


def test_a_checkpoint_of_own_objects_is_never_measured_on_ours(tiny, own_masks, tmp_path, capsys):
    """It would be right on fewer scenes, and nothing would say why."""
    config = dataclasses.replace(tiny, objects=str(own_masks))
    model = train(config, tmp_path / "run").model
    checkpoint = Checkpoint.open(model)
    with pytest.raises(RelViTError, match="trained on its user's own objects"):
        checkpoint.distribution()
    own = config.open_objects()
    assert checkpoint.config.scenes["objects"] == own.fingerprint()
    named = checkpoint.distribution(objects=own)
    expected = config.distribution().sample("test", 8)
    assert (named.sample("test", 8).pixels() == expected.pixels()).all()
    assert checkpoint.distribution(config="arrows-quick-32").objects.n_colors == 1
    command = ["evaluate", str(model), "-n", "16"]
    assert run_quietly(command) == 2
    assert "name their folder with --masks" in capsys.readouterr().err
    assert run_quietly([*command, "--masks", str(own_masks)]) == 0
    build = BuildConfig(tiny.task, named.name, n_train=8, n_eval=8, masks=str(own_masks))
    build_data(build, tmp_path / "data", say=str)
    assert run_quietly(["evaluate", str(model), "--data", str(tmp_path / "data")]) == 0
