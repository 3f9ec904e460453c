"""`relvit measure` and `relvit board`: any supported family, resumed, recorded, and refused where unlike."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
import transformers
from own_folder import image_folder
from tiny_checkpoints import saved_checkpoints
from walk import run_quietly

from hf_relvit.analysis import battery
from hf_relvit.analysis.battery import BatteryConfig
from hf_relvit.errors import RelViTError
from hf_relvit.report.board import board_table, board_text, write_board
from hf_relvit.report.records import PROTOCOL, read_records, sealed, write_records
from hf_relvit.study import measure
from hf_relvit.study.measure import Backbone, measure_backbone, measure_folder

TINY = BatteryConfig(
    train_scenes=16,
    validation_scenes=8,
    scenes=8,
    attention_scenes=4,
    combinations=32,
    draws=5,
)
SIZES = dict(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=64,
    image_size=64,
    patch_size=8,
)
FAMILIES = {
    "clip_vision_model": ("CLIPVisionConfig", "CLIPVisionModel", "CLIPImageProcessor"),
    "dinov2": ("Dinov2Config", "Dinov2Model", "BitImageProcessor"),
    "siglip_vision_model": ("SiglipVisionConfig", "SiglipVisionModel", "SiglipImageProcessor"),
    "vit_mae": ("ViTMAEConfig", "ViTMAEForPreTraining", "ViTImageProcessor"),
    "deit": ("DeiTConfig", "DeiTModel", "DeiTImageProcessor"),
    "beit": ("BeitConfig", "BeitModel", "BeitImageProcessor"),
}


def saved(family: str, folder):
    """A tiny random model of a family with its processor, as it would lie on the Hub."""
    config, model, processor = (getattr(transformers, name) for name in FAMILIES[family])
    torch.manual_seed(0)
    model(config(**SIZES)).save_pretrained(folder)
    processor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


def never(*args, **options):
    raise AssertionError("measured again")


def quiet(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The folder of a measurement, and its record."""
    root = tmp_path_factory.mktemp("measured")
    backbone = saved_checkpoints(root / "models") / "backbone"
    record = measure_backbone(Backbone(str(backbone)), root / "out", TINY, say=quiet)
    return root / "out", record


@pytest.mark.long
@pytest.mark.parametrize("family", FAMILIES)
def test_families_are_measured(family, tmp_path):
    folder = saved(family, tmp_path / family)
    record = measure_backbone(Backbone(str(folder)), tmp_path / "out", TINY, say=quiet)
    assert (record["family"], record["model"], record["layers"]) == (family, family, 2)
    measures = {value["measure"] for value in record["values"]}
    assert len(measures) == 14
    assert len(record["values"]) == 28


def test_the_record_is_read_as_it_was_written(measured):
    out, record = measured
    assert read_records(out / "record.jsonl") == [record]
    assert (out / "battery.png").exists() and (out / "edits.png").exists()
    page = (out / "board.html").read_text()
    assert "Kinds of failure" in page and "backbone, rmts:" in page


@pytest.mark.long
def test_a_finished_measurement_is_not_done_again(measured, monkeypatch, tmp_path):
    out, record = measured
    monkeypatch.setattr(battery, "measure_attention", never)
    monkeypatch.setattr(measure, "measure_edits", never)
    backbone = str(out.parent / "models" / "backbone")
    again = measure_backbone(Backbone(backbone), out, TINY, say=quiet)
    assert again["values"] == record["values"]


def test_an_interrupted_measurement_ends_with_the_same_numbers(measured, tmp_path):
    out, record = measured
    copy = shutil.copytree(out, tmp_path / "out")
    shutil.rmtree(copy / "rmts" / "random")
    shutil.rmtree(copy / "rmts" / "trained_edits")
    backbone = str(out.parent / "models" / "backbone")
    again = measure_backbone(Backbone(backbone), copy, TINY, say=quiet)
    assert again["values"] == record["values"]


def test_your_own_pictures_are_measured(measured, tmp_path):
    out, record = measured
    backbone = Backbone(str(out.parent / "models" / "backbone"))
    pictures = image_folder(tmp_path / "pictures")
    own = measure_folder(backbone, tmp_path / "out", pictures, TINY, say=quiet)
    assert read_records(tmp_path / "out" / "record.jsonl") == [own]
    measures = [value["measure"] for value in own["values"]]
    assert measures == ["perceptual_score", "relational_score", "judgement", "likeness"]
    assert own["geometry"] == "own" and own["objects"] != record["objects"]
    sizes = own["settings"]
    assert sizes["train_scenes"] + sizes["validation_scenes"] + sizes["scenes"] == 40
    again = measure_folder(backbone, tmp_path / "out", pictures, TINY, say=quiet)
    assert again["values"] == own["values"]
    with pytest.raises(RelViTError, match="unlike measurements"):
        board_table([record, own])
    metadata = pictures / "metadata.jsonl"
    lines = metadata.read_text().splitlines()
    metadata.write_text("\n".join(lines[:-2]))
    with pytest.raises(RelViTError, match="was made with another pictures"):
        measure_folder(backbone, tmp_path / "out", pictures, TINY, say=quiet)


def test_a_style_has_no_place_beside_your_own_pictures(measured, tmp_path, capsys):
    out, _ = measured
    backbone = out.parent / "models" / "backbone"
    options = ["--data", str(tmp_path), "--style", "arrows", "--out", str(tmp_path / "out")]
    assert run_quietly(["measure", str(backbone), *options]) == 2
    assert "style arrows with --data" in capsys.readouterr().err


@pytest.mark.long
def test_a_checkpoint_of_ours_is_measured_without_its_head(measured, tmp_path):
    out, record = measured
    ours = str(out.parent / "models" / "ours")
    own = measure_backbone(Backbone(ours, "fine-tuned"), tmp_path / "out", TINY, say=quiet)
    assert own["values"] == record["values"]
    assert own["model"] == "fine-tuned"


def test_other_embeddings_are_another_backbone(measured, tmp_path):
    out, _ = measured
    checkpoint = Backbone(str(out.parent / "models" / "backbone")).open()
    before = measure._settings(checkpoint, TINY, "rmts")
    embeddings = checkpoint.model.backbone.embeddings
    with torch.no_grad():
        next(embeddings.parameters()).add_(1)
    assert measure._settings(checkpoint, TINY, "rmts") != before


def changed(record, **values):
    return sealed({**record, **values})


def test_a_board_puts_records_side_by_side(measured, tmp_path):
    _, record = measured
    records = [record, changed(record, model="other")]
    table = board_table(records)
    assert len(table) == 56 and set(table.model) == {"backbone", "other"}
    page = write_board(records, tmp_path, "Backbones")
    assert "other" in page.read_text()


@pytest.mark.parametrize(
    "values",
    [
        {"protocol": PROTOCOL + 1},
        {"geometry": "mini"},
        {"objects": "0" * 16},
        {"settings": {"seed": 1}},
    ],
    ids=["protocol", "geometry", "objects", "settings"],
)
def test_unlike_records_are_refused_with_their_difference(measured, values):
    _, record = measured
    other = changed(record, model="other", **values)
    key = next(iter(values))
    with pytest.raises(RelViTError, match=f"backbone has {key} .* other .*measure both alike"):
        board_table([record, other])


def test_a_claim_needs_every_control_below(measured):
    _, record = measured
    value = {**record["values"][0], "value": 0.9, "ci_low": 0.8, "ci_high": 1.0, "floor": 0.5}
    low = {"random": 0.5, "random_low": 0.4, "random_high": 0.6}
    none = {"shuffled": None, "shuffled_high": None, "places": None, "places_high": None}
    claimed = {**value, **low, **none}
    places = {**claimed, "places": 0.7, "places_high": 0.85}
    table = board_table([changed(record, values=[claimed, {**places, "task": "rmts"}])])
    assert table.claimed.tolist() == [True, False]


def test_an_older_record_has_no_edits_and_stands_beside_a_new_one(measured):
    """The board says what is missing; an edit is claimed above random directions and the wrong object, too."""
    _, record = measured
    old = [value for value in record["values"] if "subspace" not in value]
    assert len(old) == 14
    table = board_table([record, changed(record, model="older", values=old)])
    assert len(table) == 28 + 14
    text = board_text(table)
    assert "not measured: shape swapped: new shape read (rmts) of older" in text
    value = next(value for value in record["values"] if value["measure"] == "shape_swap")
    high = {**value, "value": 0.9, "ci_low": 0.8, "ci_high": 1.0, "random": 0.1, "random_high": 0.2}
    low = {
        **high,
        "floor": 0.0,
        "shuffled_high": 0.1,
        "subspace_high": 0.1,
        "wrong_object_high": 0.1,
    }
    for name in ("subspace_high", "wrong_object_high"):
        reached = {**low, name: 0.85}
        rows = [low, {**reached, "task": "other"}]
        judged = [value for value in record["values"] if value["measure"] == "judgement"][:1]
        values = [*rows, *judged, {**judged[0], "task": "other"}]
        claimed = board_table([changed(record, values=values)])
        assert claimed[claimed.measure == "shape_swap"].claimed.tolist() == [True, False]


def test_a_record_changed_by_hand_is_refused(measured, tmp_path, capsys):
    _, record = measured
    write_records(tmp_path / "forged.jsonl", [{**record, "model": "better"}])
    with pytest.raises(RelViTError, match="the checksum does not fit the numbers"):
        read_records(tmp_path / "forged.jsonl")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("{", "is no JSON"),
        ("[]", "is no record"),
        ('{"protocol": 1}', "missing required field"),
        ('{"protocol": 0}', ">= 1"),
    ],
)
def test_files_that_hold_no_records(text, told, tmp_path):
    file = tmp_path / "record.jsonl"
    file.write_text(text)
    with pytest.raises(RelViTError, match=told):
        read_records(file)


def test_the_commands(measured, tmp_path, capsys):
    out, record = measured
    sizes = {name: value for name, value in vars(TINY).items() if value is not None}
    options = [f"--{name.replace('_', '-')}={value}" for name, value in sizes.items()]
    backbone = str(out.parent / "models" / "backbone")
    assert run_quietly(["measure", backbone, "--out", str(out), *options, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["measure"]
    assert len(shown) == len(record["values"])
    line = ["board", str(out / "record.jsonl"), "--out", str(tmp_path / "board")]
    assert run_quietly(line) == 0
    assert "relation of a pair (discrimination)" in capsys.readouterr().out


TEXT = dict(
    hidden_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=2,
    intermediate_size=32,
    vocab_size=64,
)
ROPE = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}
CLIP_TOWER = {"model_type": "clip_vision_model", **SIZES}
SIGLIP_TOWER = {"model_type": "siglip_vision_model", "vision_use_head": False, **SIZES}
SEERS = {
    "llava": ("Llava", CLIP_TOWER, {"text_config": {"model_type": "llama", **TEXT}}),
    "llava_next": ("LlavaNext", CLIP_TOWER, {"text_config": {"model_type": "llama", **TEXT}}),
    "llava_siglip": ("Llava", SIGLIP_TOWER, {"text_config": {"model_type": "llama", **TEXT}}),
    "paligemma": (
        "PaliGemma",
        SIGLIP_TOWER,
        {"text_config": {"model_type": "gemma", "head_dim": 16, **TEXT}, "projection_dim": 32},
    ),
}
"""Language models that see, with a tower of a supported family."""


def saved_seer(name: str, folder):
    """A tiny random one with its processor; returns the model."""
    stem, tower, rest = SEERS[name]
    config = getattr(transformers, f"{stem}Config")(
        vision_config=tower, image_token_index=5, **rest
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{stem}ForConditionalGeneration")(config)
    model.save_pretrained(folder)
    transformers.CLIPImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return model


@pytest.mark.long
@pytest.mark.parametrize("name", SEERS)
def test_the_tower_of_a_language_model_is_measured_with_its_weights(name, tmp_path):
    model = saved_seer(name, tmp_path / name)
    backbone = Backbone(str(tmp_path / name))
    opened = backbone.open().model.backbone.state_dict()
    tower = model.model.vision_tower.state_dict()
    assert opened.keys() <= tower.keys()
    assert all(torch.equal(opened[key], tower[key]) for key in opened)
    record = measure_backbone(backbone, tmp_path / "out", TINY, tasks=["rmts"], say=quiet)
    assert (record["family"], record["model"]) == (SEERS[name][1]["model_type"], name)
    again = measure_backbone(backbone, tmp_path / "out", TINY, tasks=["rmts"], say=quiet)
    assert again["values"] == record["values"]


def test_a_backbone_of_other_images_reads_those_of_its_patches(tmp_path):
    """As DINOv2, which was made for 518 px."""
    folder = tmp_path / "dino"
    config = transformers.Dinov2Config(**{**SIZES, "image_size": 96})
    transformers.Dinov2Model(config).save_pretrained(folder)
    transformers.BitImageProcessor(size={"height": 96, "width": 96}).save_pretrained(folder)
    said = []
    backbone = Backbone(str(folder))
    record = measure_backbone(backbone, tmp_path / "out", TINY, tasks=["rmts"], say=said.append)
    assert (record["image_size"], record["geometry"]) == (112, "small")
    assert "reads those of 112 px, its positions interpolated" in said[0]
    assert backbone.open().geometry.image_size == 96


def qwen(name: str, **vision):
    """The configuration of a language model of the Qwen-VL kind."""
    rest = {"num_heads": 2, "hidden_size": 32, "depth": 2, "patch_size": 8, **vision}
    text = {**TEXT, "rope_parameters": ROPE}
    return getattr(transformers, f"{name}Config")(vision_config=rest, text_config=text)


REFUSED = {
    "cnn": (
        lambda: transformers.ResNetConfig(depths=[1], hidden_sizes=[8], embedding_size=8),
        "'resnet' changes its grid between blocks",
    ),
    "pooling": (
        lambda: transformers.SwinConfig(depths=[1, 1], num_heads=[2, 2], embed_dim=8),
        "'swin' changes its grid between blocks, .* no token is one patch",
    ),
    "small images": (
        lambda: transformers.ViTConfig(**{**SIZES, "image_size": 4}),
        "image size 4 is smaller than a patch of 8 pixels: choose 8 or more",
    ),
    "siglip2": (
        lambda: transformers.Siglip2VisionConfig(hidden_size=32, num_hidden_layers=2),
        "loose patches.* a SigLIP 2 of fixed size, such as google/siglip2-base-patch16-224",
    ),
    "qwen2": (
        lambda: qwen("Qwen2VL", embed_dim=32),
        "'qwen2_vl_vision' packs images of any size into one row of tokens: expected one of vit",
    ),
    "qwen2.5": (
        lambda: qwen("Qwen2_5_VL", window_size=32),
        "'qwen2_5_vl_vision' packs .* and attends within windows: expected one of vit",
    ),
    "bert": (lambda: transformers.BertConfig(), "'bert' is not supported: expected one of vit"),
}
"""What it is -> its configuration, and what is said."""


@pytest.mark.parametrize("kind", REFUSED)
def test_a_backbone_that_cannot_be_read_is_refused_in_one_line(kind, tmp_path):
    config, told = REFUSED[kind]
    config().save_pretrained(tmp_path)
    with pytest.raises(RelViTError, match=told) as error:
        measure_backbone(Backbone(str(tmp_path)), tmp_path / "out", TINY, say=quiet)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["", "a b", "a--b", "a\nb", "é" * 97])
def test_a_name_that_is_none_is_refused(name):
    """Two dashes stand for a slash in names of files, so that no two names share a file."""
    with pytest.raises(RelViTError, match="name it by --name"):
        Backbone("owner/model", name)


def test_a_timm_model_is_refused_without_timm(tmp_path):
    """As such a folder lies on the Hub: without a model type."""
    values = {"architecture": "vit_tiny_patch16_224", "pretrained_cfg": {"tag": "in1k"}}
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(
        RelViTError, match=r"'timm_wrapper' runs inside timm.*take the same weights"
    ):
        measure_backbone(Backbone(str(tmp_path)), tmp_path / "out", TINY, say=quiet)
