"""Analyses of scenes whose objects differ in their number of tokens: mean states, or one line that says why not."""

from __future__ import annotations

import pytest
import torch
from tiny_checkpoints import saved_checkpoints

from hf_relvit.analysis.activations import Site, capture_object_states, capture_residuals
from hf_relvit.analysis.battery import BatteryConfig, measure_battery
from hf_relvit.analysis.knockout import KnockoutConfig, knock_out_heads
from hf_relvit.analysis.probes import ProbeConfig, fit_probes
from hf_relvit.analysis.steering import steer
from hf_relvit.errors import RelViTError
from hf_relvit.geometry import geometry
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.stimuli.distribution import SceneDistribution

SETS = {"free": ("discrimination", "quick-free"), "posed": ("svrt_21", "quick")}
SMALL = BatteryConfig(
    train_scenes=32,
    validation_scenes=16,
    scenes=16,
    attention_scenes=8,
    draws=10,
    bf16=False,
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    root = saved_checkpoints(tmp_path_factory.mktemp("models"))
    return Checkpoint.open(root / "ours")


@pytest.fixture(params=SETS)
def scenes(request) -> SceneDistribution:
    task, name = SETS[request.param]
    return SceneDistribution(task, geometry(name), 64)


def test_the_state_of_an_object_is_the_mean_of_its_tokens(checkpoint, scenes):
    drawn = scenes.sample("test", 16)
    states = capture_object_states(checkpoint, drawn, [1]).states[1]
    (whole,) = capture_residuals(checkpoint, drawn, [Site("resid_post", 1)]).values()
    prefix = checkpoint.geometry.prefix_tokens
    for scene, patches in enumerate(drawn.patches()):
        for number, ids in enumerate(patches):
            own = whole[scene, ids[ids >= 0] + prefix]
            torch.testing.assert_close(states[scene, number], own.mean(0))


def test_a_battery_reads_everything_but_binding(checkpoint, scenes):
    placement = "free" if scenes.geometry.name == "quick-free" else "grid"
    battery = measure_battery(checkpoint, scenes.task, SMALL, placement=placement)
    measures = set(battery.frame.measure)
    scores = {"perceptual_score", "relational_score"}
    assert measures == {"shape", "color", "judgement", "likeness", *scores}
    assert battery.facts["geometry"] == scenes.geometry.name


def test_knocked_out_heads_are_counted_with_what_probes_read(checkpoint, scenes):
    config = KnockoutConfig(heads=1, draws=1, scenes=16, train_scenes=32)
    frame = knock_out_heads(checkpoint, scenes, config).frame
    assert set(frame.outcome) == {"answer", "shape", "color", "judgement"}


def test_work_on_equally_many_tokens_is_refused_in_one_line(checkpoint, scenes):
    drawn = scenes.sample("test", 16)
    states = capture_object_states(checkpoint, drawn)
    probes = fit_probes(checkpoint, states, states, ProbeConfig(epochs=1))
    binding = ProbeConfig("same_object", "quadratic")
    for work, words in (
        (lambda: steer(checkpoint, probes, drawn), "steering needs equally many tokens"),
        (lambda: fit_probes(checkpoint, states, states, binding), "the target 'same_object' needs"),
    ):
        with pytest.raises(RelViTError, match=words) as caught:
            work()
        assert "\n" not in str(caught.value)
