"""The battery of frozen backbones: the layer is chosen on validation scenes, and each number is that of its module."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny_checkpoints import saved_checkpoints

from hf_relvit.analysis.activations import capture_object_states
from hf_relvit.analysis.attention import measure_attention
from hf_relvit.analysis.battery import (
    PROBES,
    Battery,
    BatteryConfig,
    measure_battery,
    pair_likeness,
)
from hf_relvit.analysis.probes import ProbeConfig, fit_probes
from hf_relvit.analysis.similarity import object_similarity
from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES, PatchGeometry, matching_geometry
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.stimuli.distribution import SceneDistribution
from hf_relvit.tables import largest, select

SMALL = BatteryConfig(
    train_scenes=64,
    validation_scenes=32,
    scenes=32,
    attention_scenes=16,
    combinations=32,
    draws=20,
    bf16=False,
)
SCENES = SceneDistribution("discrimination", GEOMETRIES["quick"], 32)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    root = saved_checkpoints(tmp_path_factory.mktemp("models"))
    return Checkpoint.of_backbone(root / "backbone")


@pytest.fixture(scope="module")
def battery(checkpoint):
    return measure_battery(checkpoint, "discrimination", SMALL)


def test_each_measure_and_condition_has_one_chosen_row_on_test_scenes(battery):
    chosen = battery.frame[battery.frame.chosen]
    assert set(chosen.split) == {"test"}
    counts = chosen.groupby(["measure", "condition"]).size()
    assert (counts == 1).all()
    assert set(chosen.measure) == {*PROBES, "likeness", "perceptual_score", "relational_score"}
    assert ("same_object", "places") in counts.index


def test_validation_scenes_choose_the_layer(battery):
    for measure in [*PROBES, "likeness"]:
        rows = select(battery.frame, measure=measure, condition="trained")
        validation = select(rows, split="validation")
        chosen = select(rows, chosen=True).iloc[0]
        best = validation.value.max()
        assert select(validation, layer=chosen.layer).value.item() == best


def test_a_chosen_probe_is_the_probe_of_its_module(battery, checkpoint):
    chosen = battery.frame[battery.frame.chosen]
    row = select(chosen, measure="judgement", condition="trained").iloc[0]
    probes = fit_probes(
        checkpoint, SCENES.sample("train", 64), SCENES.sample("test", 32), ProbeConfig()
    )
    same = select(probes.frame, layer=row.layer, condition="trained").iloc[0]
    assert (row.value, row.n, row.floor) == (same.accuracy, same.n, same.floor)


def test_bf16_changes_the_states_and_hardly_a_number(battery, checkpoint):
    halved = measure_battery(checkpoint, "discrimination", replace(SMALL, bf16=True))
    exact, rounded = battery.frame, halved.frame
    likeness = select(exact, measure="likeness").value.to_numpy()
    again = select(rounded, measure="likeness").value.to_numpy()
    assert again == pytest.approx(likeness, abs=0.05)
    attention = exact[exact.layer == -1].value.to_numpy()
    attention_again = rounded[rounded.layer == -1].value.to_numpy()
    assert attention_again == pytest.approx(attention, abs=0.01)
    assert not np.array_equal(attention, attention_again)


def test_attention_is_that_of_its_module(battery, checkpoint):
    scenes = SCENES.sample("test", 32)[:16]
    scores = measure_attention(checkpoint, scenes).scores
    row = select(battery.frame, measure="relational_score").iloc[0]
    assert row.value == pytest.approx(scores["relational_score"], abs=1e-6)


def test_places_alone_do_not_depend_on_the_weights(battery, checkpoint):
    other = measure_battery(checkpoint.randomly_initialized(), "discrimination", SMALL)
    of_places = [
        select(table.frame, condition="places").value.tolist() for table in (battery, other)
    ]
    assert of_places[0] == of_places[1]


def test_places_tell_more_than_guessing(battery):
    row = largest(select(battery.frame, condition="places"), "value")
    assert row.value > row.floor


@pytest.mark.parametrize("task", ["discrimination", "rmts"])
def test_likeness_of_pairs_is_that_of_similarity(checkpoint, task):
    scenes = SceneDistribution(task, GEOMETRIES["quick"], 32).sample("test", 8)
    likeness = pair_likeness(capture_object_states(checkpoint, scenes))
    pairs = scenes.shape.shape[1] // 2
    first_pair = likeness.reshape(8, pairs, -1)[:, 0]
    expected = object_similarity(checkpoint, scenes)[:, 1:]
    np.testing.assert_allclose(first_pair, expected, atol=1e-5)


def test_it_is_saved_and_opened(battery, tmp_path):
    battery.save(tmp_path)
    again = Battery.load(tmp_path)
    assert again.frame.equals(battery.frame)
    again.plot(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_no_scenes_for_other_patches():
    with pytest.raises(RelViTError, match="no scenes for a model of 96 px with patches of 12"):
        matching_geometry(PatchGeometry(96, 12))
    assert matching_geometry(PatchGeometry(224, 16)).name == "b16"


def test_numbers_of_scenes_are_checked():
    with pytest.raises(RelViTError, match="scenes 0: expected at least 1"):
        BatteryConfig(scenes=0)
