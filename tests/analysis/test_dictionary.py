"""Dictionaries as a basis: one with a known answer is recovered, and files that do not fit are one line."""

import json

import pytest
import torch
from safetensors.torch import save_file

from hf_relvit.analysis.align import AlignConfig, align
from hf_relvit.analysis.alignment import Alignment
from hf_relvit.analysis.alignment_methods import DASConfig, fit_alignment
from hf_relvit.analysis.dictionary import Dictionary, sizes
from hf_relvit.analysis.scores import score_alignment
from hf_relvit.cli import main
from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.stimuli.counterfactuals import sample_counterfactuals
from hf_relvit.stimuli.distribution import SceneDistribution

from .conftest import SIGN_OBJECTS, WIDTH

QUICK = GEOMETRIES["quick"]
SCENES = SceneDistribution("discrimination", QUICK, 256, SIGN_OBJECTS)
COLOR, SHAPE = {3, 8, 21, 30}, {1, 5, 13, 40}
FEATURES = 48


def pairs(prop, n=256, split="train"):
    return sample_counterfactuals("discrimination", QUICK, prop, split, n, objects=SIGN_OBJECTS)


def overall(frame):
    return frame[frame.condition == "all"].iloc[0].accuracy


def planted(model):
    """Twice as many directions as dimensions: the model's codes at COLOR and SHAPE, else its mixtures."""
    generator = torch.Generator().manual_seed(0)
    basis = model.basis.detach()
    mixtures = torch.randn(FEATURES, WIDTH - 10, generator=generator) @ basis[10:]
    rows = mixtures / mixtures.norm(dim=1, keepdim=True)
    rows[sorted(COLOR)] = basis[model.COLOR]
    rows[sorted(SHAPE)] = basis[model.SHAPE][:4]
    return rows


@pytest.fixture
def checkpoint(sign_model):
    return Checkpoint(*sign_model("color", "shape"))


def saved(tmp_path, **tensors):
    file = tmp_path / "dictionary.safetensors"
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, file)
    return str(file)


def layouts(rows):
    """The same dictionary as files of different makers have it."""
    doubled = torch.cat([rows, -rows])
    bias = torch.zeros(len(rows))
    return {
        "a matrix": {"matrix": rows},
        "an autoencoder": {"decoder": rows, "encoder": rows, "encoder_bias": bias + 0.1},
        "SAELens": {"W_dec": rows, "W_enc": rows.T, "b_enc": bias, "b_dec": torch.zeros(WIDTH)},
        "linear layers": {"decoder.weight": rows.T, "encoder.weight": rows, "encoder.bias": bias},
        "each direction twice": {"decoder": doubled, "encoder": doubled},
    }


@pytest.mark.parametrize("layout", layouts(torch.zeros(2, WIDTH)))
def test_the_features_of_a_known_dictionary_are_recovered(checkpoint, tmp_path, layout):
    file = saved(tmp_path, **layouts(planted(checkpoint.model))[layout])
    for prop, features in (("color", COLOR), ("shape", SHAPE)):
        config = DASConfig(method="dictionary", dictionary=file)
        found = fit_alignment(checkpoint, pairs(prop), 0, config)
        assert {feature % FEATURES for feature in found.facts["features"]} == features
        assert found.size == 4
        test = pairs(prop, 100, "test")
        assert overall(score_alignment(checkpoint, found, test)) == 1
        assert overall(score_alignment(checkpoint, found, test, "wrong_object")) == 0


def test_a_dictionary_without_the_answer_finds_none(checkpoint, tmp_path):
    rows = planted(checkpoint.model)
    others = [row for row in range(FEATURES) if row not in COLOR | SHAPE]
    file = saved(tmp_path, matrix=rows[others])
    config = DASConfig(method="dictionary", dictionary=file)
    found = fit_alignment(checkpoint, pairs("color"), 0, config)
    assert overall(score_alignment(checkpoint, found, pairs("color", 100, "test"))) < 0.2


def test_it_stands_in_the_same_table_with_the_same_controls(checkpoint, tmp_path):
    file = saved(tmp_path, matrix=planted(checkpoint.model))
    config = AlignConfig(
        method="dictionary",
        dictionary=file,
        layers=(0,),
        splits=("test",),
        networks=("trained",),
        pairs=64,
        scenes=128,
        test_pairs=64,
    )
    result = align(checkpoint, SCENES, config)
    row = result.validity().iloc[0]
    assert row.method == "dictionary" and row["size"] == 4
    assert row.cause > 0.95 and row.isolate > 0.95 and row.unmapped > 0.95
    controls = ["wrong_object", "random_tokens", "shuffled_labels", "mean", "other_image"]
    assert row[controls].max() <= 0.6
    result.save(tmp_path / "saved")
    opened = Alignment.load(tmp_path / "saved", subfolder="color-0")
    assert opened.write.equal(result.alignments[0].write)
    assert opened.facts["features"] == result.alignments[0].facts["features"]


def test_sizes_are_doubled_up_to_all():
    assert list(sizes(1)) == [1]
    assert list(sizes(11)) == [1, 2, 4, 8, 11]


BROKEN = {
    "another width": ({"matrix": torch.ones(7, 5)}, rf"\(7, 5\) for a model of width {WIDTH}"),
    "a vector": ({"matrix": torch.ones(WIDTH)}, "expected"),
    "not finite": ({"decoder": torch.full((7, WIDTH), torch.nan)}, "not all finite"),
    "infinite bias": (
        {"decoder": torch.ones(7, WIDTH), "b_enc": torch.full((7,), torch.inf)},
        "b_enc is not all finite",
    ),
    "integers": ({"decoder": torch.ones(7, WIDTH, dtype=torch.int64)}, "not all finite"),
    "no decoder": ({"W_enc": torch.ones(WIDTH, 7)}, "holds W_enc: expected directions named"),
    "fewer encoders": (
        {"W_dec": torch.ones(7, WIDTH), "W_enc": torch.ones(WIDTH, 6)},
        "expected as many features",
    ),
    "another bias": (
        {"W_dec": torch.ones(7, WIDTH), "b_dec": torch.ones(3)},
        rf"b_dec of shape \(3,\): expected \({WIDTH},\)",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_file_that_does_not_fit_is_one_line(tmp_path, fault):
    tensors, message = BROKEN[fault]
    with pytest.raises(RelViTError, match=message) as caught:
        Dictionary.load(saved(tmp_path, **tensors), WIDTH)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"\x80\x04pickle", json.dumps({}).encode()])
def test_what_is_no_safetensors_file_is_one_line(tmp_path, content):
    file = tmp_path / "dictionary.pt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(RelViTError, match="cannot open the dictionary") as caught:
        Dictionary.load(file, WIDTH)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "dictionary"}, "dictionary None for method 'dictionary': name a safetensors"),
        ({"dictionary": "some"}, "dictionary some for method 'das'"),
        ({"method": "dictionary", "dictionary": "some", "size": 0}, "size 0"),
    ],
)
def test_settings_that_do_not_go_together_are_one_line(settings, message):
    with pytest.raises(RelViTError, match=message):
        DASConfig(**settings)


def test_more_features_than_vary_are_refused(checkpoint, tmp_path):
    file = saved(tmp_path, matrix=planted(checkpoint.model)[:2])
    config = DASConfig(method="dictionary", dictionary=file, size=3)
    with pytest.raises(RelViTError, match=r"3 features of .* of which 1 vary .* at most 1"):
        fit_alignment(checkpoint, pairs("color", 64), 0, config)


def test_encoders_that_do_not_tell_directions_apart_are_one_line():
    rows = torch.eye(4, dtype=torch.float64)
    same = rows[[0, 0, 0, 0]]
    zeros = torch.zeros(4, dtype=torch.float64)
    with pytest.raises(RelViTError, match="do not tell their directions apart"):
        Dictionary(rows, same, zeros, zeros).operator(torch.tensor([0, 1]))


def test_the_command_refuses_a_dictionary_in_one_line(tmp_path, capsys):
    """Exit code 2 before any work, without a traceback."""
    out = str(tmp_path / "out")
    command = ["analyze", "das", "nowhere", "--method", "dictionary", "--out", out]
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 2
    shown = capsys.readouterr()
    assert "dictionary None for method" in " ".join((shown.out + shown.err).split())
