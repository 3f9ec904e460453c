"""Each analysis is one recipe: a distribution and a config are enough, and the facts say what was measured."""

import pytest
from pandas.testing import assert_frame_equal

from hf_relvit.analysis.attention import AttentionConfig, measure_attention
from hf_relvit.analysis.diagnosis import DiagnosisConfig
from hf_relvit.analysis.knockout import KnockoutConfig
from hf_relvit.analysis.novel import NovelConfig
from hf_relvit.analysis.probes import ProbeConfig, fit_probes, probe
from hf_relvit.analysis.similarity import SimilarityConfig
from hf_relvit.analysis.steering import SteeringConfig, steer
from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.stimuli.distribution import SceneDistribution
from hf_relvit.training.run import build_model

DISTRIBUTION = SceneDistribution("discrimination", GEOMETRIES["quick"], 32)
TRAIN = DISTRIBUTION.sample("train", 24)
TEST = DISTRIBUTION.sample("test_compositional", 12)
PROBE = ProbeConfig(epochs=1, train_scenes=24, scenes=12, split="test_compositional", layers=(1,))
STEERING = SteeringConfig((1.0,), scenes=12, split="test_compositional")
ATTENTION = AttentionConfig(scenes=12, split="test_compositional")


@pytest.fixture
def checkpoint(tiny):
    return Checkpoint(*build_model(tiny))


def by_hand(checkpoint):
    """On given scenes, with configs that say nothing of them."""
    probes = fit_probes(checkpoint, TRAIN, TEST, ProbeConfig(epochs=1, layers=(1,)))
    return {
        "probes": probes,
        "steering": steer(checkpoint, probes, TEST, SteeringConfig((1.0,))),
        "attention": measure_attention(checkpoint, TEST, AttentionConfig()),
    }


def by_recipe(checkpoint):
    probes = probe(checkpoint, DISTRIBUTION, PROBE)
    return {
        "probes": probes,
        "steering": steer(checkpoint, probes, DISTRIBUTION, STEERING),
        "attention": measure_attention(checkpoint, DISTRIBUTION, ATTENTION),
    }


def test_a_distribution_and_a_config_give_what_the_scenes_themselves_give(checkpoint):
    expected = by_hand(checkpoint)
    for name, result in by_recipe(checkpoint).items():
        assert_frame_equal(result.frame, expected[name].frame)


@pytest.mark.parametrize("way", [by_hand, by_recipe])
def test_the_facts_say_on_what_was_measured(checkpoint, way):
    """Not what the config would have drawn where scenes were given."""
    configs = {name: result.facts["config"] for name, result in way(checkpoint).items()}
    assert {name: config["scenes"] for name, config in configs.items()} == dict.fromkeys(
        configs, 12
    )
    assert configs["probes"]["train_scenes"] == 24
    assert configs["probes"]["layers"] == [1]
    assert {config["split"] for config in configs.values()} == {"test_compositional"}


CONFIGS = (
    AttentionConfig,
    NovelConfig,
    ProbeConfig,
    SteeringConfig,
    SimilarityConfig,
    KnockoutConfig,
    DiagnosisConfig,
)


@pytest.mark.parametrize("config", CONFIGS)
def test_every_count_of_every_config_must_be_one_or_more(config):
    counts = [name for name, hint in config.__annotations__.items() if hint == "int"]
    for name in set(counts) - {"seed"}:
        for value in (0, -1, 2.5, True, None):
            with pytest.raises(RelViTError, match=rf"^{name} {value}: expected at least 1$"):
                config(**{name: value})


@pytest.mark.parametrize("config", [ProbeConfig, DiagnosisConfig])
@pytest.mark.parametrize("layers", [(), (-1,), (0, -2)])
def test_layers_are_blocks_from_0(config, layers):
    with pytest.raises(RelViTError, match=r"^layers .*: name blocks from 0, or leave them out"):
        config(layers=layers)
