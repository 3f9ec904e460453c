"""Edits of frozen states: planted binding is found and ablated, planted properties are swapped, controls are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_checkpoints import saved_checkpoints

from hf_relvit.analysis.activations import ObjectStates, Site, capture_residuals
from hf_relvit.analysis.battery import BatteryConfig, Subject, subject_of_task
from hf_relvit.analysis.frozen_edits import (
    RANK,
    Ablation,
    FrozenEdits,
    _Swap,
    binding_subspace,
    measure_edits,
    run_between,
)
from hf_relvit.analysis.probes import ProbeConfig, fit_probes
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.tables import select

from .planted import planted

SMALL = BatteryConfig(
    train_scenes=192,
    validation_scenes=16,
    scenes=64,
    attention_scenes=64,
    combinations=32,
    draws=40,
    bf16=False,
)
CODE = 4
NUISANCE = 12


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    root = saved_checkpoints(tmp_path_factory.mktemp("models"))
    return Checkpoint.of_backbone(root / "backbone")


def bound(scenes, generator, basis):
    """Tokens ``(n, 8, 32)`` that share a code with the others of their object, beside louder parts without one."""
    n = len(scenes)
    code = torch.randn(n, 2, 1, CODE, generator=generator).sign().expand(-1, -1, 4, -1)
    loud = 1.5 * torch.randn(n, 2, 4, NUISANCE, generator=generator)
    rest = 0.1 * torch.randn(n, 2, 4, 32 - CODE - NUISANCE, generator=generator)
    return (torch.cat([code, loud, rest], -1) @ basis).flatten(1, 2)


@pytest.fixture(scope="module")
def ablation(checkpoint):
    """Of planted states, in which binding is the first CODE rows of a basis."""
    subject = subject_of_task(checkpoint, "discrimination", SMALL)
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(32, 32, generator=generator)).Q
    states = {
        split: ObjectStates(scenes, {0: bound(scenes, generator, basis)}, "corrected")
        for split, scenes in subject.parts.items()
    }
    subject.__dict__["states"] = states
    scenes = subject.parts["test"]
    tokens = torch.from_numpy(checkpoint.geometry.tokens(scenes.patches())).flatten(1)
    residual = torch.zeros(len(scenes), checkpoint.geometry.sequence_length, 32)
    objects = states["test"].states[0]
    residual = residual.scatter(1, tokens[..., None].expand_as(objects), objects)
    probes = []
    for target, form in (("same_object", "quadratic"), ("judgement", "linear")):
        config = ProbeConfig(target, form, layers=(0,), epochs=40)
        probes.append(fit_probes(checkpoint, states["train"], states["test"], config))
    planted_ablation = Ablation(subject, scenes, 0, 0, residual, tokens, *probes)
    return planted_ablation, basis[:CODE]


def test_the_subspace_of_the_probe_is_the_planted_one(ablation):
    made, planted_rows = ablation
    assert made.rank == min(RANK, 32 // 8) == CODE
    (found,) = made.subspaces()["trained"]
    inside = (found @ planted_rows.T).square().sum() / CODE
    assert inside > 0.8
    torch.testing.assert_close(found @ found.T, torch.eye(CODE), atol=1e-5, rtol=0)


def test_planted_binding_falls_by_its_subspace_and_not_by_others(ablation):
    made, _ = ablation
    rows = [row for row in made.rows() if row["measure"] == "binding"]
    for replacement in ("mean", "noise", "other_image"):
        by_condition = {row["condition"]: row for row in rows if row["replacement"] == replacement}
        effect = by_condition.pop("trained")
        assert effect["value"] > 0.2
        assert all(effect["ci_low"] > control["ci_high"] for control in by_condition.values())


def test_other_images_give_no_token_its_own_state(ablation):
    made, _ = ablation
    states = torch.arange(64 * 8).reshape(64, 8, 1).float()
    dealt = made._dealt(states)
    assert ((dealt // 8) != (states // 8)).all()


def test_a_positive_and_a_negative_direction_are_both_compared():
    form = torch.zeros(2, 4)
    form[0, 1] = 3
    form[1, 2] = 2
    found = binding_subspace(form, torch.randn(50, 4), 2)
    assert sorted(found.abs().argmax(1).tolist()) == [1, 2]


def test_blocks_run_on_from_given_states(checkpoint):
    subject = subject_of_task(checkpoint, "discrimination", SMALL)
    scenes = subject.parts["test"][:8]
    sites = [Site("resid_post", 0), Site("resid_post", 1)]
    first, last = capture_residuals(checkpoint, scenes, sites).values()
    tokens = torch.arange(5).expand(8, 5)
    again = run_between(subject, 0, first, 1, tokens)
    torch.testing.assert_close(again, last[:, :5])
    torch.testing.assert_close(run_between(subject, 1, last, 1, tokens), last[:, :5])


@pytest.mark.parametrize("prop", ["shape", "color"])
def test_a_planted_property_is_swapped(prop):
    subject = subject_of_task(planted("factored"), "discrimination", SMALL)
    swap = _Swap.best(subject, prop, 0, 1)
    rows = {
        row["condition"]: row
        for row in swap.rows(subject.pairs(prop))
        if row["measure"] == f"{prop}_swap"
    }
    effect = rows.pop("trained")
    assert effect["value"] > 0.9 and effect["floor"] < 0.1
    assert set(rows) == {"wrong_object", "shuffled", "subspace"}
    assert all(effect["ci_low"] > control["ci_high"] for control in rows.values())


def test_all_edits_of_a_task(checkpoint, tmp_path):
    subject = subject_of_task(checkpoint, "discrimination", SMALL)
    edits = measure_edits(subject, subject.battery().frame)
    chosen = edits.frame[edits.frame.chosen]
    counts = chosen.groupby("measure").condition.agg(set).to_dict()
    ablated = {"trained", "shuffled", "subspace", "varying"}
    swapped = {"trained", "shuffled", "subspace", "wrong_object"}
    names = ["binding", "binding_likeness", "binding_relation"]
    assert all(counts[name] == ablated for name in names)
    for prop in ("shape", "color"):
        assert counts[f"{prop}_swap"] == counts[f"{prop}_swap_relation"] == swapped
    assert (chosen.ci_low <= chosen.value).all() and (chosen.value <= chosen.ci_high).all()
    replaced = set(select(edits.frame, measure="binding").replacement)
    assert replaced == {"mean", "noise", "other_image"}
    edits.save(tmp_path)
    assert FrozenEdits.load(tmp_path).frame.equals(edits.frame)
    edits.plot(tmp_path / "edits.png")
    assert (tmp_path / "edits.png").stat().st_size > 10_000


def test_tasks_without_pairs_and_pictures_are_not_swapped(checkpoint):
    assert subject_of_task(checkpoint, "match_to_sample", SMALL).swapped == ()
    assert subject_of_task(checkpoint, "discrimination", SMALL, placement="free").swapped == ()
    pictures = Subject(checkpoint, {}, SMALL, False, "own", "own")
    assert pictures.swapped == () and pictures.pairs("shape") is None


def test_a_table_of_no_edits_opens_again(checkpoint, tmp_path):
    """As of objects at any pixel: whether two tokens are of one object was not asked, either."""
    few = replace(SMALL, train_scenes=16, scenes=16, attention_scenes=8)
    subject = subject_of_task(checkpoint, "discrimination", few, placement="free")
    edits = measure_edits(subject, subject.battery().frame)
    edits.save(tmp_path)
    assert len(FrozenEdits.load(tmp_path).frame) == 0


def test_swaps_of_a_task_are_those_that_change_its_answer(checkpoint):
    assert subject_of_task(checkpoint, "same_color", SMALL).swapped == ("color",)
    pairs = subject_of_task(checkpoint, "rmts", SMALL).pairs("shape", "validation")
    assert len(pairs) == 64
    assert np.unique(pairs.base.split) == "validation"
