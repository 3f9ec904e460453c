import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from transformers.modeling_outputs import ImageClassifierOutput

from hf_relvit.analysis.activations import Site, capture
from hf_relvit.analysis.alignment import fingerprint
from hf_relvit.analysis.probes import ProbeConfig, Probes, fit_probes
from hf_relvit.analysis.steering import Steering, SteeringConfig, steer
from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES, PatchGeometry
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.modeling.processing import PixelProcessor, default_processor
from hf_relvit.stimuli.rendering import render
from hf_relvit.stimuli.scenes import sample
from hf_relvit.training.run import build_model

QUICK = GEOMETRIES["quick"]
WIDTH = 12


class _Block(nn.Module):
    def forward(self, hidden):
        return hidden


class LinearModel(nn.Module):
    """Answers "same" if the sum of ``readout`` over all patch tokens is positive."""

    def __init__(self):
        super().__init__()
        geometry = PatchGeometry(64, 8, 1)
        self.config = SimpleNamespace(
            hidden_size=WIDTH, num_hidden_layers=2, image_size=64, geometry=geometry
        )
        self.layers = nn.ModuleList([_Block(), _Block()])
        generator = torch.Generator().manual_seed(0)
        self.embed = nn.Parameter(torch.randn(192, WIDTH, generator=generator) / 14)
        self.readout = nn.Parameter(torch.randn(WIDTH, generator=generator))

    def forward(self, pixel_values):
        patches = (
            pixel_values.unfold(2, 8, 8)
            .unfold(3, 8, 8)
            .permute(0, 2, 3, 1, 4, 5)
            .flatten(1, 2)
            .flatten(2)
        )
        hidden = (1 - patches) @ self.embed
        hidden = torch.cat([torch.zeros_like(hidden[:, :1]), hidden], 1)
        for layer in self.layers:
            hidden = layer(hidden)
        margin = (hidden[:, 1:] @ self.readout).sum(1)
        return ImageClassifierOutput(logits=torch.stack([torch.zeros_like(margin), margin], 1))


@pytest.fixture(params=["discrimination", "rmts"])
def world(request):
    """A linear model, scenes, and probes whose rows are random."""
    model, scenes = LinearModel().eval(), sample(request.param, QUICK, "test", 40)
    generator = torch.Generator().manual_seed(5)
    weights = {
        f"{layer}.{condition}.weight": torch.randn(2, 8 * WIDTH, generator=generator)
        for layer in (0, 1)
        for condition in ("trained", "shuffled")
    }
    processor = PixelProcessor(default_processor(64), 64)
    facts = {
        "config": {"target": "judgement", "form": "linear"},
        "tokens": 8,
        "hidden_size": WIDTH,
        "task": request.param,
        "geometry": "quick",
        "processor": processor.fingerprint,
        "blocks": {str(layer): fingerprint(model.layers[layer]) for layer in (0, 1)},
    }
    return model, processor, Probes(pd.DataFrame({"layer": [0, 1]}), weights, facts), scenes


def margins(model, processor, scenes):
    with torch.no_grad():
        return model(processor(render(scenes))).logits[:, 1].numpy()


def expected(model, processor, probes, scenes, row):
    """Accuracy by hand: a push moves the margin of a scene by alpha times readout x row, summed over tokens."""
    pair = ["sample", "display"].index(row.pair)
    has = scenes.relation[:, pair]
    weights = probes.directions(row.layer, "shuffled" if row.condition == "shuffled" else "trained")
    if row.condition == "shuffled":
        trained = probes.directions(row.layer).flatten(1).norm(dim=1)
        weights = weights * (trained / weights.flatten(1).norm(dim=1))[:, None, None]
    gain = (weights @ model.readout.detach()).sum(1).numpy()
    moved = (
        margins(model, processor, scenes)
        + row.alpha * gain[has if row.condition == "agree" else 1 - has]
    )
    return ((moved > 0) == (1 - scenes.label)).mean()


def test_every_number_is_that_of_the_linear_read_out(world):
    model, processor, probes, scenes = world
    result = steer(
        Checkpoint(model, processor),
        probes,
        scenes,
        SteeringConfig(alphas=(0.0, 0.5, 3.0, -3.0), batch_size=16),
    )
    pairs = 1 if scenes.task == "discrimination" else 2
    assert len(result.frame) == 2 * 4 * pairs * 3
    for row in result.frame.itertuples():
        assert row.accuracy == pytest.approx(expected(*world, row))
        assert row.n == 40
        assert row.ci_low <= row.accuracy <= row.ci_high
    base = ((margins(model, processor, scenes) > 0) == scenes.label).mean()
    assert (result.frame.base_accuracy == base).all()
    np.testing.assert_allclose(result.frame.floor, 1 - base)
    np.testing.assert_allclose(result.frame[result.frame.alpha == 0].accuracy, 1 - base)
    assert result.frame[result.frame.alpha == 3].accuracy.nunique() > 3  # the pushes do something


def test_the_batch_size_changes_nothing(world):
    model, processor, probes, scenes = world
    one, many = (
        steer(
            Checkpoint(model, processor),
            probes,
            scenes,
            SteeringConfig(alphas=(0.5, 3.0), batch_size=size),
        ).frame
        for size in (1, 64)
    )
    pd.testing.assert_frame_equal(one, many, rtol=1e-6)


def test_the_answer_flips_exactly_at_the_predicted_alpha(world):
    model, processor, probes, scenes = world
    flips = 0
    for i in range(12):
        scene = scenes[i]
        gain = (
            (probes.directions(1)[1 - int(scene.relation[0, 0])] @ model.readout.detach())
            .sum()
            .item()
        )
        alpha = -margins(model, processor, scene)[0] / gain
        config = SteeringConfig(alphas=(alpha * 0.999, alpha * 1.001))
        frame = steer(Checkpoint(model, processor), probes, scene, config).frame
        before, after = frame[
            (frame.layer == 1) & (frame.condition == "flip") & (frame.pair == "sample")
        ].accuracy
        assert {before, after} == {0.0, 1.0}
        flips += 1
    assert flips == 12


def test_relative_norm(world):
    model, processor, probes, scenes = world
    frame = steer(Checkpoint(model, processor), probes, scenes, SteeringConfig(alphas=(2.0,))).frame
    tokens = torch.from_numpy(model.config.geometry.tokens(scenes.patches()[:, :2])).flatten(1)
    with torch.no_grad():
        residual = capture(model, processor(render(scenes)), [Site("resid_post", 1)])[
            Site("resid_post", 1)
        ]
    own = residual[torch.arange(40)[:, None], tokens].flatten(1).norm(dim=1).mean().item()
    row = frame[(frame.layer == 1) & (frame.condition == "flip") & (frame.pair == "sample")].iloc[0]
    assert row.relative_norm == pytest.approx(
        2 * probes.directions(1).flatten(1).norm(dim=1).mean().item() / own
    )
    same_length = frame[frame.layer == 1].groupby("pair").relative_norm.nunique()
    assert (same_length <= 2).all()


def test_bf16_changes_no_clear_answer(world):
    model, processor, probes, scenes = world
    exact, rough = (
        steer(Checkpoint(model, processor), probes, scenes, SteeringConfig((1000.0,), bf16=bf16))
        for bf16 in (False, True)
    )
    pd.testing.assert_frame_equal(rough.frame, exact.frame)


def test_fitted_probes_steer_a_real_model(tiny_rmts, tmp_path):
    model, processor = build_model(tiny_rmts)
    probes = fit_probes(
        Checkpoint(model, processor),
        sample("rmts", QUICK, "train", 32),
        sample("rmts", QUICK, "test", 8),
        ProbeConfig(epochs=1),
    )
    scenes = sample("rmts", QUICK, "validation", 12)
    result = steer(
        Checkpoint(model, processor),
        probes,
        scenes,
        SteeringConfig(alphas=(1.0, 50.0), batch_size=5),
    )
    whole = steer(
        Checkpoint(model, processor), probes, scenes, SteeringConfig((1.0, 50.0), batch_size=12)
    ).frame
    pd.testing.assert_frame_equal(whole, result.frame)
    last = result.frame[
        result.frame.layer == 1
    ]  # the read-out takes CLS, which pushes after the last block miss
    assert (last.accuracy == last.floor).all()
    rough = steer(
        Checkpoint(model, processor), probes, scenes, SteeringConfig((1.0, 50.0), bf16=True)
    ).frame
    moved = (rough.accuracy - whole.accuracy).abs()
    assert moved.mean() <= 0.1  # an untrained model is near a tie in many scenes
    result.save(tmp_path)
    again = Steering.load(tmp_path)
    assert again.frame.equals(result.frame)
    assert again.facts["probes"]["processor"] == processor.fingerprint
    again.plot(tmp_path / "steering.svg")
    assert (tmp_path / "steering.svg").stat().st_size > 1000


def test_bad_input(world, tiny):
    model, processor, probes, scenes = world
    other = build_model(dataclasses.replace(tiny, task=scenes.task)).model
    other.config.processor_fingerprint = None
    for change, message in (
        (
            {"config": {"target": "shape", "form": "linear"}},
            "linear probes of 'shape' cannot steer: fit linear ones",
        ),
        (
            {"config": {"target": "judgement", "form": "quadratic"}},
            "quadratic probes of 'judgement' cannot steer",
        ),
        ({"processor": "0" * 16}, "probes for image processor 0000000000000000, this one is"),
        ({"task": "counting"}, "probes of counting in 'quick': sample some like those"),
        ({"geometry": "b16"}, "in geometry 'quick' for probes of .* in 'b16'"),
    ):
        with pytest.raises(RelViTError, match=message):
            steer(
                Checkpoint(model, processor),
                dataclasses.replace(probes, facts=probes.facts | change),
                scenes,
            )
    with pytest.raises(RelViTError, match=r"probes of another model \(block 0 differs\)"):
        steer(Checkpoint(other, processor), probes, scenes)
    with pytest.raises(RelViTError, match="0 scenes"):
        steer(Checkpoint(model, processor), probes, scenes[[]])
    with pytest.raises(RelViTError, match=r"alphas \(\): expected one or more numbers"):
        SteeringConfig(alphas=())
    with pytest.raises(RelViTError, match="alphas"):
        SteeringConfig(alphas=(float("nan"),))
    with pytest.raises(RelViTError, match="batch_size 0"):
        SteeringConfig(batch_size=0)
