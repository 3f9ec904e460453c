"""Models whose failure is built in: the verdict must find it."""

import dataclasses
import json
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from hf_relvit.analysis.diagnosis import Diagnosis, DiagnosisConfig, diagnose, loss_settings
from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES, PatchGeometry
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.modeling.loss_config import Disentanglement, Pipeline, parse_loss
from hf_relvit.stimuli.distribution import SceneDistribution
from hf_relvit.training.config import vit
from hf_relvit.training.run import build_model

from .conftest import SIGN_OBJECTS, WIDTH, SignModel, make_sign_model

QUICK = GEOMETRIES["quick"]
CONFIG = DiagnosisConfig(
    scenes=96, train_scenes=240, pairs=160, test_pairs=96, epochs=20, layers=(0,)
)


class HandBuilt(SignModel):
    """A sign model with a fault. Made from its config alone, as the random twin is, it is "untrained": no signs."""

    def __init__(self, config):
        super().__init__(("color",) if config.fault == "color_only" else ("color", "shape"))
        self.config, self.trained = config, False

    def embed(self, pixels):
        hidden, fault = super().embed(pixels), self.config.fault
        noise = torch.randn(hidden[..., 10:].shape, generator=torch.Generator().manual_seed(3))
        lost = (
            {"blind": slice(0, 9), "half_blind": slice(4, 9)}.get(fault)
            if self.trained
            else slice(0, 9)
        )
        if lost is not None:
            hidden[..., lost] = 0
        # random weights let the pixels through where that is the point; else what is read there is learned
        if self.trained or fault not in ("blind", "half_blind"):
            hidden[..., 10:] = noise
        if (
            fault == "fused"
        ):  # the color's signs are flipped by the shape's: what is a color in one is none in another
            hidden[..., :4] *= hidden[..., 4:8]
        return hidden

    def judge(self, signs):
        logits = super().judge(signs)
        constant = not self.trained or self.config.fault in ("constant", "blind", "half_blind")
        return torch.zeros_like(logits) + torch.tensor([0.0, 1.0]) if constant else logits


def diagnosis(fault, **changes):
    _, processor = make_sign_model("color", "shape")
    config = SimpleNamespace(
        hidden_size=WIDTH,
        num_hidden_layers=2,
        image_size=64,
        geometry=PatchGeometry(64, 8, 1),
        fault=fault,
    )
    model = HandBuilt(config).eval()
    model.trained = fault != "untrained"
    settings = dataclasses.replace(CONFIG, **changes)
    return diagnose(
        Checkpoint(model, processor),
        SceneDistribution("discrimination", QUICK, 256, SIGN_OBJECTS),
        settings,
    )


def answers(found):
    """question -> reading."""
    return dict(zip(found.to_frame().name, found.to_frame().reading))


@pytest.fixture(scope="module")
def perfect():
    return diagnosis("none")


def test_a_model_that_works(perfect):
    assert perfect.verdict.verdict == "none"
    assert perfect.verdict.losses == () and perfect.facts["settings"] == {}
    frame = perfect.to_frame()
    decisive = frame[
        frame.decides & (frame.name != "the relation can be read")
    ]  # nothing linear says "same" here
    assert (decisive.reading == "yes").all()
    assert (decisive[~decisive.name.str.endswith("can be read")].value == 1).all()
    swaps = frame[frame.name.str.startswith("swapping")]
    assert (swaps.threshold == 0.75).all() and (swaps.ci_low > 0.9).all()
    assert set(swaps.control.dropna()) == {
        0.5
    }  # a constant answer, whatever is swapped, is right in half of the pairs


FAULTS = {
    # all that each stage needs is there, but nothing is made of it
    "constant": (
        "relational",
        ["pipeline"],
        {"color can be read": "yes", "swapping color changes the answer": "silent"},
    ),
    # one property is there, but the answer ignores it
    "color_only": ("relational", ["pipeline"], {"swapping color changes the answer": "yes"}),
    # right answers from codes that mean nothing by themselves
    "fused": (
        "perceptual",
        ["disentanglement"],
        {"answers are right": "yes", "the object's own tokens carry color": "yes"},
    ),
    # less than random weights let through
    "blind": (
        "perceptual",
        ["disentanglement"],
        {"shape can be read": "no", "color can be read": "no"},
    ),
    "half_blind": (
        "both",
        ["disentanglement", "pipeline"],
        {"shape can be read": "no", "color can be read": "yes"},
    ),
    # nothing tells it from random weights
    "untrained": ("undetermined", [], {"answers are right": "no"}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault):
    found = diagnosis(fault)
    verdict, losses, readings = FAULTS[fault]
    assert (found.verdict.verdict, list(found.verdict.losses)) == (verdict, losses)
    assert found.verdict.by_split == {"test": verdict}
    assert set(found.facts["settings"]) == set(losses)
    assert readings.items() <= answers(found).items()
    stages = {
        "perceptual": {"Perceptual"},
        "relational": {"Relational"},
        "both": {"Perceptual", "Relational"},
    }
    assert {reason.split()[0] for reason in found.verdict.reasons} == stages.get(verdict, {"No"})


def test_a_search_cut_short_does_not_blame_the_model():
    found = diagnosis("none", epochs=1, pairs=16)
    assert found.verdict.verdict == "none"
    assert set(found.tables["alignments"].method) == {"closed_form", "full_swap"}


def test_what_the_closed_form_misses_is_searched_for():
    rows = diagnosis("fused").tables["alignments"]
    scored = rows[
        (rows.control == "none") & (rows.weights == "trained") & (rows.property == "color")
    ]
    assert set(scored.method) == {"closed_form", "das"}


def test_few_images_give_no_verdict():
    found = diagnosis("none", scenes=4, test_pairs=4, train_scenes=100, pairs=64)
    assert found.verdict.verdict == "undetermined"
    assert "Take more scenes and pairs" in found.verdict.advice[0]


def test_it_is_kept_whole(perfect, tmp_path):
    perfect.save(tmp_path)
    again = Diagnosis.load(tmp_path)
    pd.testing.assert_frame_equal(again.to_frame(), perfect.to_frame())
    assert again.verdict.reasons == perfect.verdict.reasons
    for name in Diagnosis.TABLES:
        pd.testing.assert_frame_equal(again.tables[name], perfect.tables[name])
    values = json.loads(
        (tmp_path / "verdict.json").read_text(), parse_constant=pytest.fail
    )  # no NaN: any reader opens it
    assert values["verdict"] == "none" and values["facts"]["config"]["layers"] == [0]
    again.plot(tmp_path / "figure.svg")
    assert "the answer depends on color" in (tmp_path / "figure.svg").read_text()


@pytest.mark.parametrize("task", ["discrimination", "rmts"])
def test_a_real_model_without_training(tiny, tiny_rmts, task):
    model, processor = build_model(
        dataclasses.replace(tiny if task == "discrimination" else tiny_rmts, backbone=vit(2, 32, 2))
    )
    layers = (0, 1)  # several, as of every model of some depth: the best is chosen among them
    config = DiagnosisConfig(48, 64, pairs=16, test_pairs=48, epochs=1, layers=layers)
    found = diagnose(Checkpoint(model, processor), SceneDistribution(task, QUICK, 128), config)
    assert found.verdict.verdict == "undetermined"
    assert found.verdict.reasons == (
        "No measure tells this model from a network with random weights.",
    )
    assert set(found.verdict.by_split) == {"test", "test_compositional"}
    assert any("takes both auxiliary losses" in line for line in found.verdict.advice) == (
        task == "rmts"
    )
    assert found.stages is not None and found.facts["config"]["layers"] == [0, 1]
    pairs = {"sample"} if task == "discrimination" else {"sample", "display"}
    assert set(found.tables["steering"].pair) == pairs
    swaps = found.tables["alignments"]
    assert set(swaps.control) == {"none", "wrong_object", "whole_object"} and set(
        swaps.weights
    ) == {
        "trained",
        "random",
    }
    assert ((swaps.ci_low <= swaps.accuracy) & (swaps.accuracy <= swaps.ci_high)).all()


@pytest.mark.parametrize(
    ("depth", "task"), [(2, "discrimination"), (6, "discrimination"), (8, "rmts"), (12, "rmts")]
)
def test_settings_of_losses_are_valid(depth, task):
    settings = loss_settings(("disentanglement", "pipeline"), task, depth, 4)
    backbone = SimpleNamespace(num_hidden_layers=depth, hidden_size=128, num_attention_heads=4)
    parse_loss(Disentanglement, settings["disentanglement"], "disentanglement", backbone)
    parse_loss(Pipeline, settings["pipeline"], "pipeline", backbone)
    if depth == 8:  # the layers of the preset
        parts = {
            "within_object": [0, 1, 2],
            "within_pair": [3, 4],
            "between_pair": [5, 6],
            "heads": [0, 1],
        }
        assert settings["pipeline"] == parts


def test_bad_input(tiny):
    model, processor = build_model(tiny)
    with pytest.raises(RelViTError, match="layer 2 of a model with blocks 0 to 1"):
        diagnose(
            Checkpoint(model, processor),
            SceneDistribution("discrimination", QUICK),
            DiagnosisConfig(layers=(0, 2)),
        )
    with pytest.raises(RelViTError, match="epochs 0: expected at least 1"):
        DiagnosisConfig(epochs=0)
