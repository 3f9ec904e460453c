"""Files beside weights that a stranger wrote: any value of another type or kind ends in one line at every door."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
import transformers
from tiny_checkpoints import saved_checkpoints

from hf_relvit.errors import RelViTError
from hf_relvit.modeling import RelViTConfig
from hf_relvit.modeling.checkpoint_errors import open_backbone_config
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.modeling.config_values import (
    KINDS,
    LIMITS,
    PARTS,
    REFUSED,
    SWITCHES,
    TEXTS,
    check_values,
)
from hf_relvit.training.config import TrainConfig
from hf_relvit.training.run import build_model

JUNK = [3, "x", ["x"], {"x": 1}, True, -1.5, [], {}, float("nan"), [3], 10**12]
HUB_KERNELS = ("attn_implementation", "_attn_implementation", "experts_implementation")
SHADOWS = ("save_pretrained", "from_dict", "validate", "to_dict", "attribute_map", "sub_configs")
FITS = {
    "return_dict": [True],
    "architectures": [["x"], []],
    "configuration_files": [["x"], []],
    "layer_types": [["x"], []],
    "auto_map": [{"x": 1}, {}],
    "id2label": [{"x": 1}, {}],
    "label2id": [{"x": 1}, {}],
    "pruned_heads": [{"x": 1}, {}],
    "num_labels": [3],
    "chunk_size_feed_forward": [3, 10**12],
    **{part: [{"x": 1}, {}] for part in PARTS},
}
FITS.update({name: [True] for name in SWITCHES})
FITS.update({name: ["x"] for name in TEXTS})


def fits(name: str, value) -> bool:
    return any(type(value) is type(good) and value == good for good in FITS.get(name, []))


WRONG = [
    (name, value)
    for name in (*KINDS, *REFUSED, *HUB_KERNELS, *SHADOWS)
    for value in JUNK
    if not fits(name, value) and not (name in HUB_KERNELS and value == {})
]


def test_the_walk_is_long_enough():
    assert len(WRONG) > 300
    assert {name for name, _ in WRONG} == {*KINDS, *REFUSED, *HUB_KERNELS, *SHADOWS}


@pytest.mark.parametrize("part", [None, "backbone_config", "vision_config"])
def test_a_key_of_the_library_with_another_value(part):
    for name, value in WRONG:
        values = {name: value} if part is None else {part: {name: value}}
        with pytest.raises(RelViTError, match=name) as caught:
            check_values(values)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("value", [0.5, "x", -1, 10**9, True])
def test_a_size_is_checked_before_a_configuration_is_made(name, value):
    """DINOv2 makes a name for each layer when its configuration is made: 10^9 of them took the memory."""
    with pytest.raises(RelViTError, match=name):
        check_values({"model_type": "dinov2", name: value})


def test_configurations_of_every_family_pass(family, backbone):
    config = RelViTConfig(backbone_config=backbone(family))
    for values in (config.to_dict(), backbone(family).to_dict()):
        check_values(json.loads(json.dumps(values, default=str)))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return saved_checkpoints(tmp_path_factory.mktemp("checkpoints"))


OPENS = {
    "ours": Checkpoint.open,
    "plain": Checkpoint.open,
    "backbone": lambda folder: build_model(TrainConfig(backbone=str(folder), combinations=32)),
}


def edited(folders, kind: str, file: str, name: str, value, tmp_path, part: str | None = None):
    """A copy of a checkpoint with one value of one JSON file changed."""
    folder = shutil.copytree(folders / kind, tmp_path / "edited")
    path = folder / file
    values = json.loads(path.read_text())
    changed = values if part is None else values[part]
    changed[name] = value
    path.write_text(json.dumps(values))
    return folder


def refused(kind: str, folder) -> str:
    with pytest.raises(RelViTError) as caught:
        OPENS[kind](folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


EDITS = [
    ("architectures", 3),
    ("transformers_version", 3),
    ("quantization_config", {"quant_method": "bitsandbytes", "load_in_8bit": True}),
    ("attn_implementation", "kernels-community/x"),
    ("_attn_implementation", {"": "kernels-community/x"}),
    ("transformers_weights", "pytorch_model.bin"),
    ("num_labels", 10**9),
    ("save_pretrained", 3),
    ("layer_norm_eps", float("nan")),
    ("layer_norm_eps", -1.5),
    ("hidden_dropout_prob", float("nan")),
    ("initializer_range", float("inf")),
    ("initializer_range", -1.5),
    ("pooler_act", "no_such_function"),
]


@pytest.mark.parametrize("kind", OPENS)
@pytest.mark.parametrize("name, value", EDITS)
def test_an_edited_configuration(kind, name, value, folders, tmp_path):
    part = "backbone_config" if kind == "ours" else None
    folder = edited(folders, kind, "config.json", name, value, tmp_path, part)
    refused(kind, folder)


@pytest.mark.parametrize("name", ["scenes", "adapter"])
@pytest.mark.parametrize("value", [3, ["rmts"], {"task": "rmts"}, {"rank": 0}])
def test_facts_of_ours(name, value, folders, tmp_path):
    folder = edited(folders, "ours", "config.json", name, value, tmp_path)
    assert name in refused("ours", folder)


SETTINGS = [
    ("size", None),
    ("size", 0),
    ("size", {"height": -1, "width": 64}),
    ("resample", 10**9),
    ("do_center_crop", True),
    ("do_resize", "x"),
    ("rescale_factor", None),
    ("rescale_factor", [1, 2]),
    ("rescale_factor", float("nan")),
    ("image_mean", float("nan")),
    ("image_mean", [1, 2]),
    ("image_std", 0),
    ("image_std", [0, 0, 0]),
    ("image_std", "x"),
    ("save_pretrained", 3),
    ("input_data_format", 3),
]


@pytest.mark.parametrize("kind", OPENS)
@pytest.mark.parametrize("name, value", SETTINGS)
def test_an_edited_image_processor(kind, name, value, folders, tmp_path):
    folder = edited(folders, kind, "preprocessor_config.json", name, value, tmp_path)
    refused(kind, folder)


@pytest.mark.parametrize("kind", OPENS)
def test_weights_of_another_name_are_not_unpickled(kind, folders, tmp_path, monkeypatch):
    folder = edited(
        folders, kind, "config.json", "transformers_weights", "pytorch_model.bin", tmp_path
    )
    torch.save({}, folder / "pytorch_model.bin")
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: pytest.fail("a pickle was opened"))
    assert "transformers_weights" in refused(kind, folder)


@pytest.mark.parametrize("kind", OPENS)
def test_adapters_beside_weights_lead_nowhere_else(kind, folders, tmp_path):
    """With peft installed, transformers would load them, and from the Hub the base that they name."""
    folder = shutil.copytree(folders / kind, tmp_path / "edited")
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/else"}')
    assert "adapter_config.json" in refused(kind, folder)


@pytest.mark.parametrize("text", ["[]", "null", "5", '"x"'])
@pytest.mark.parametrize("kind", OPENS)
def test_a_configuration_of_another_shape_says_so(kind, text, folders, tmp_path):
    folder = shutil.copytree(folders / kind, tmp_path / "edited")
    (folder / "config.json").write_text(text)
    assert "holds no mapping" in refused(kind, folder)


@pytest.mark.parametrize("text", ["[]", "{", "3", '{"max_length": "x"}'])
def test_settings_of_generation_are_not_read(text, folders, tmp_path):
    folder = shutil.copytree(folders / "ours", tmp_path / "edited")
    (folder / "generation_config.json").write_text(text)
    Checkpoint.open(folder)


def test_a_backbone_is_looked_at_before_its_weights(folders, tmp_path):
    folder = edited(folders, "backbone", "config.json", "quantization_config", {}, tmp_path)
    with pytest.raises(RelViTError, match="quantized weights"):
        open_backbone_config(folder)


@pytest.mark.parametrize("kind", OPENS)
def test_a_log_shows_no_bar_of_the_library(kind, folders, tmp_path, capsys):
    """In a log, "Loading weights" stood before the line of an error."""
    bars = transformers.utils.logging
    bars.enable_progress_bar()
    opened = OPENS[kind](folders / kind)
    opened.save(tmp_path / "model")
    assert capsys.readouterr().err == ""
    assert bars.is_progress_bar_enabled()
