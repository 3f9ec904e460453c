import json

import pytest
from transformers import AutoConfig, CLIPConfig

from hf_relvit.errors import RelViTError
from hf_relvit.geometry import PatchGeometry
from hf_relvit.modeling import Pipeline, RelViTConfig

PREFIX = {
    "vit": 1,
    "deit": 2,
    "clip_vision_model": 1,
    "dinov2": 1,
    "dinov2_with_registers": 5,
    "dinov3_vit": 5,
    "vit_mae": 1,
    "siglip_vision_model": 0,
    "beit": 1,
    "ijepa": 0,
}
READOUT = {
    "dinov2": "cls_mean",
    "dinov2_with_registers": "cls_mean",
    "siglip_vision_model": "map",
} | dict.fromkeys(("beit", "ijepa"), "mean")
PIPELINE = {
    "within_object": [0],
    "within_pair": [1],
    "start_epoch": {"within_pair": 2},
    "heads": [0, 3],
}


def test_geometry_and_defaults_of_every_family(family, backbone):
    config = RelViTConfig(backbone_config=backbone(family))
    assert config.geometry == PatchGeometry(32, 8, PREFIX[family])
    assert config.readout == READOUT.get(family, "cls")
    assert config.head_bias is (family != "clip_vision_model")
    assert config.id2label == {0: "different", 1: "same"}
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (32, 2, 4)


def test_json_round_trip(tmp_path, family, backbone):
    config = RelViTConfig(
        backbone_config=backbone(family),
        disentanglement={"layer": 1},
        pipeline=PIPELINE,
        processor_fingerprint="0123456789abcdef",
    )
    config.save_pretrained(tmp_path)
    again = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(again, RelViTConfig)
    assert again.to_dict() | {"_name_or_path": ""} == config.to_dict()
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["id2label"] == {"0": "different", "1": "same"}
    assert saved["disentanglement"] == {
        "layer": 1,
        "weight": 1.0,
        "control": False,
        "n_shapes": 16,
        "n_colors": 16,
    }
    assert set(saved["auto_map"]) == {"AutoConfig", "AutoModel", "AutoModelForImageClassification"}


def test_image_tower_of_a_full_model_is_taken_and_left_alone(backbone):
    full = CLIPConfig(vision_config=backbone("clip_vision_model").to_dict())
    config = RelViTConfig(backbone_config=full, image_size=48)
    assert config.backbone_config.model_type == "clip_vision_model"
    assert config.geometry.grid == 6 and config.resized
    mae = backbone("vit_mae")
    assert RelViTConfig(backbone_config=mae).backbone_config.mask_ratio == 0
    assert mae.mask_ratio == 0.75


def test_schedule_of_stages():
    spec = Pipeline(
        within_object=(0, 1),
        within_pair=(2,),
        start_epoch={"within_pair": 2},
        stop_epoch={"within_object": 5},
    )
    assert spec.stages() == {"within_object": (0, 1), "within_pair": (2,)}
    assert spec.stages(1.9) == {"within_object": (0, 1)}
    assert spec.stages(2.0) == {"within_object": (0, 1), "within_pair": (2,)}
    assert spec.stages(5.0) == {"within_pair": (2,)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"readout": "map"}, "readout 'map' for backbone vit: expected one of cls, cls_mean, mean"),
        ({"readuot": "mean"}, "unknown key 'readuot' in the configuration: did you mean 'readout'"),
        ({"id2label": {0: "same", 1: "different"}}, "exchange the rows of the head"),
        ({"id2label": {i: str(i) for i in range(3)}}, "expected {0: 'different', 1: 'same'}"),
        ({"image_size": 33}, "not divisible by patch size 8"),
        ({"disentanglement": {}}, "missing 1 required positional argument: 'layer'"),
        ({"disentanglement": 3}, "disentanglement is 3: expected a dictionary"),
        ({"disentanglement": {"layer": 3}}, "between 0 and 2"),
        ({"disentanglement": {"layers": 1}}, "did you mean 'layer'"),
        (
            {"disentanglement": {"layer": 1, "weight": "heavy"}},
            "weight is 'heavy': expected a finite",
        ),
        ({"disentanglement": {"layer": 1, "weight": -1}}, "weight is -1: expected a finite number"),
        ({"disentanglement": {"layer": True}}, "layer is True: expected an integer"),
        ({"disentanglement": {"layer": 1, "control": "no"}}, "control is 'no': expected true or"),
        ({"disentanglement": {"layer": 1, "n_colors": None}}, "n_colors is None: expected an"),
        ({"pipeline": {"within_object": 1}}, "within_object is 1: expected a list of integers"),
        ({"pipeline": {"within_object": [0], "heads": 1}}, "heads is 1: expected a list of"),
        ({"pipeline": {"within_object": [0], "weight": float("nan")}}, "weight is nan: expected"),
        (
            {"pipeline": {"within_object": [0], "start_epoch": {"within_object": "soon"}}},
            "epoch for",
        ),
        ({"pipeline": {}}, "names no blocks"),
        (
            {"pipeline": {"within_object": [2]}},
            "pipeline.within_object contains 2: expected a block between 0 and 1",
        ),
        ({"pipeline": {"within_object": [0], "heads": [4]}}, "a head between 0 and 3"),
        ({"pipeline": {"within_object": [0], "heads": []}}, "pipeline.heads is empty"),
        ({"pipeline": {"within_object": [0], "stop_epoch": {"wo": 1}}}, "stage 'wo'"),
        ({"pipeline": {"within_objects": [0]}}, "did you mean 'within_object'"),
    ],
)
def test_bad_values_are_one_line_errors(backbone, changes, message):
    with pytest.raises(RelViTError) as error:
        RelViTConfig(backbone_config=backbone("vit"), **changes)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_unsupported_backbones_name_the_supported_ones(backbone):
    for bad in (AutoConfig.for_model("swin"), {"hidden_size": 3}, None):
        with pytest.raises(RelViTError, match="expected one of vit, deit, clip_vision_model"):
            RelViTConfig(backbone_config=bad)
    with pytest.raises(RelViTError, match="not square"):
        RelViTConfig(backbone_config=backbone("vit", image_size=[32, 64]))
    with pytest.raises(RelViTError, match="readout 'cls' for backbone ijepa"):
        RelViTConfig(backbone_config=backbone("ijepa"), readout="cls")
