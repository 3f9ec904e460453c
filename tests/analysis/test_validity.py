"""The table of an alignment beside all of its controls."""

import dataclasses
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import torch

from hf_relvit.analysis.activations import Site
from hf_relvit.analysis.align import AlignConfig, align
from hf_relvit.analysis.alignment import Alignment
from hf_relvit.analysis.alignment_methods import DASConfig, fit_alignment
from hf_relvit.analysis.interchange import Replacement, capture_pair_residuals, replaced
from hf_relvit.analysis.naturalness import earth_movers_distance
from hf_relvit.analysis.scores import score_alignment
from hf_relvit.analysis.subspaces import random_rotation
from hf_relvit.analysis.validity import (
    Swapped,
    Unmapped,
    agreement,
    changes_something,
    principal_angles,
    read_write_angles,
    unmapped_pairs,
)
from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.stimuli.counterfactuals import sample_counterfactuals
from hf_relvit.stimuli.distribution import SceneDistribution
from hf_relvit.training.config import TrainConfig, vit
from hf_relvit.training.run import build_model

from .conftest import SIGN_OBJECTS

QUICK = GEOMETRIES["quick"]
VARIABLES = ("position", "jitter", "noise", "other_object")
CLOSED = AlignConfig(
    method="closed_form", pairs=64, test_pairs=200, layers=(0,), networks=("trained",)
)


def pairs(task="discrimination", n=64, property="color"):
    return sample_counterfactuals(task, QUICK, property, "test", n, objects=SIGN_OBJECTS)


COLUMNS = {
    "position": {"corner"},
    "mirrored": {"corner"},
    "flipped": {"corner"},
    "turned": {"corner"},
    "exchanged": {"corner"},
    "jitter": {"jitter"},
    "jitter_rows": {"jitter"},
    "jitter_columns": {"jitter"},
    "no_jitter": {"jitter"},
    "noise": {"index"},
    "other_shape": {"shape"},
    "other_color": {"color"},
    "other_object": {"shape", "color"},
    "other_property": {"shape"},
    "everything": {"corner", "jitter", "index", "shape", "color"},
}
"""What each change of a scene changes, for pairs about the color."""


def test_every_unmapped_variable_has_its_test():
    assert tuple(COLUMNS) == get_args(Unmapped)
    assert len(COLUMNS) * len(get_args(Swapped)) == 30


@pytest.mark.parametrize("task", ["discrimination", "rmts"])
@pytest.mark.parametrize("swapped", get_args(Swapped))
@pytest.mark.parametrize("variable", COLUMNS)
def test_one_thing_changes_and_the_swapped_object_keeps_its_value(task, variable, swapped):
    table = sample_counterfactuals(task, GEOMETRIES["b16"], "color", "test", 64)
    changed = unmapped_pairs(table, variable, swapped)
    rows = np.arange(len(table))
    judged = table.edited if swapped == "edited" else table.fixed
    assert (changed.label == table.base.label).all()
    assert (changed.source_object == judged).all() and (changed.edited == judged).all()
    assert changes_something(changed)
    own = variable == "other_property"
    for name in {"shape", "color"} - COLUMNS["other_property"] if own else {"shape", "color"}:
        before = getattr(changed.base, name)[rows, judged]
        assert (getattr(changed.source, name)[rows, judged] == before).all()
    moved = {
        name
        for name in ("corner", "jitter", "index", "shape", "color")
        if (getattr(changed.source, name) != getattr(changed.base, name)).any()
    }
    assert moved == COLUMNS[variable]
    patches = changed.source.patches().reshape(len(table), -1)
    assert patches.min() >= 0 and patches.max() < GEOMETRIES["b16"].grid ** 2
    assert all(len(set(each)) == len(each) for each in patches.tolist())


def test_scenes_without_jitter_have_no_change_of_it():
    assert not changes_something(unmapped_pairs(pairs(), "jitter"))
    assert changes_something(unmapped_pairs(pairs(), "noise"))


@pytest.mark.parametrize("by", get_args(Replacement))
def test_a_replaced_state_holds_nothing_of_its_source(sign_model, by):
    """Each object's own state is gone; the shared mean and spread are what is left."""
    states = torch.randn(400, 2, 5, generator=torch.Generator().manual_seed(1)) * 3 + 7
    changed = replaced(states, by)
    assert changed.shape == states.shape
    torch.testing.assert_close(changed.mean(0), states.mean(0), atol=0.6, rtol=0)
    centered = [each - states.mean(0) for each in (changed, states)]
    together = (centered[0] * centered[1]).mean() / centered[1].square().mean()
    assert abs(together) < 0.1
    spread = changed.std(0).mean()
    assert spread == 0 if by == "mean" else abs(spread - 3) < 0.3
    checkpoint = Checkpoint(*sign_model("color"))
    color = checkpoint.model.basis.detach()[checkpoint.model.COLOR]
    alignment = Alignment(color, torch.ones(4, dtype=torch.bool), Site("resid_post", 0), "color")
    own = score_alignment(checkpoint, alignment, pairs())
    without = score_alignment(checkpoint, alignment, pairs(), by)
    assert own.accuracy.iloc[0] == 1 and without.accuracy.iloc[0] <= 0.6
    assert set(without.control) == {by}


def test_all_changes_of_both_objects_are_in_the_row(sign_model):
    checkpoint = Checkpoint(*sign_model("color", "shape"))
    scenes = SceneDistribution("discrimination", QUICK, 256, SIGN_OBJECTS)
    everything = {"unmapped": get_args(Unmapped), "unmapped_objects": get_args(Swapped)}
    config = dataclasses.replace(
        CLOSED, splits=("test",), test_pairs=16, shuffled=False, **everything
    )
    row = align(checkpoint, scenes, config).validity().iloc[0]
    assert row.unmapped_variables == 30 - 2 * 4  # these scenes have no jitter
    assert row.unmapped > 0.8 and row.unmapped_n == 16 and row.unmapped_low < row.unmapped
    full = dataclasses.replace(config, method="full_swap", isolate=False, scored_controls=None)
    row = align(checkpoint, scenes, full).validity().iloc[0]
    assert row.unmapped < 0.6 and row.unmapped_worst.startswith("other_property")


@pytest.mark.parametrize("variable", VARIABLES)
def test_bases_that_are_given_are_not_computed_again(sign_model, variable):
    checkpoint = Checkpoint(*sign_model("color"))
    site = Site("resid_post", 0)
    captured = capture_pair_residuals(checkpoint, pairs(), [site])
    table = unmapped_pairs(pairs(), variable)
    shared = capture_pair_residuals(checkpoint, table, [site], base=captured)
    alone = capture_pair_residuals(checkpoint, table, [site])
    assert shared.base[site] is captured.base[site]
    assert shared.source[site].equal(alone.source[site])
    assert alone.base[site].equal(captured.base[site])


def test_a_clean_alignment_has_a_clean_row(sign_model):
    checkpoint = Checkpoint(*sign_model("color", "shape"))
    scenes = SceneDistribution("discrimination", QUICK, 256, SIGN_OBJECTS)
    found = align(checkpoint, scenes, dataclasses.replace(CLOSED, splits=("test",)))
    table = found.validity()
    assert len(table) == 1
    row = table.iloc[0]
    assert row.cause > 0.95 and row.isolate > 0.95
    assert row.disentangle == (row.cause + row.isolate) / 2
    for name in ("wrong_object", "random_tokens"):
        assert row[name] < 0.05
    for name in ("position", "noise", "other_object"):
        assert row[name] > 0.95 and row[f"{name}_n"] == 200
    assert np.isnan(row.jitter)  # these scenes have none
    assert row["mean"] <= 0.55 and row.other_image < 0.6 and row.replaced_by_noise < 0.6
    assert row.excess_shuffled == row.cause - row.shuffled_labels
    assert 0.5 < row.excess_shuffled_low < row.excess_shuffled < row.excess_shuffled_high <= 1
    assert np.isnan(row.random_weights) and np.isnan(row.excess_random)


def test_a_full_swap_shows_in_the_row_that_it_carries_too_much(sign_model):
    checkpoint = Checkpoint(*sign_model("color", "shape"))
    scenes = SceneDistribution("discrimination", QUICK, 256, SIGN_OBJECTS)
    config = dataclasses.replace(CLOSED, method="full_swap", splits=("test",))
    row = align(checkpoint, scenes, config).validity().iloc[0]
    assert row.cause == 0.5 and row.isolate == 0
    assert np.isnan(row.shuffled_labels)


def test_differences_have_newcombes_interval():
    """56 of 70 less 48 of 80: .0524 to .3339 (Newcombe 1998, table II, method 10)."""
    from hf_relvit.analysis.validity import validity_table
    from hf_relvit.statistics import wilson

    rows = []
    for weights, hits, n in (("trained", 56, 70), ("random", 48, 80)):
        low, high = wilson(hits, n)
        known = {"property": "color", "method": "das", "layer": 0, "split": "test", "size": 1}
        measured = {"accuracy": hits / n, "ci_low": low, "ci_high": high, "n": n}
        kind = {"score": "cause", "control": "none", "weights": weights, "condition": "all"}
        rows.append(known | measured | kind | {"divergence": 1, "emd": 1, "emd_unedited": 1})
    row = validity_table(pd.DataFrame(rows)).iloc[0]
    assert row.excess_random_low == pytest.approx(0.0524, abs=1e-4)
    assert row.excess_random_high == pytest.approx(0.3339, abs=1e-4)


def test_earth_movers_distance_is_that_of_the_best_matching():
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(40, 4, 6, generator=generator)
    flat = states.flatten(0, 1)
    order = torch.randperm(160, generator=generator)
    assert earth_movers_distance(states, flat[order]) == pytest.approx(0, abs=1e-9)
    assert earth_movers_distance(states, 3 * flat[order] + 5) == pytest.approx(0, abs=1e-4)
    line = torch.linspace(-1, 1, 160)[:, None]
    bent = line**3
    standard = [(x - x.mean()) / x.std(correction=0) for x in (line, bent)]
    wanted = (standard[0] - standard[1]).square().mean() / 2  # in one dimension the order is kept
    assert earth_movers_distance(bent[:, None], line) == pytest.approx(wanted.item(), rel=1e-3)


def alignment(seed, size=3, width=12, layer=0):
    rows = random_rotation(size, width, torch.Generator().manual_seed(seed))
    return Alignment(rows, torch.ones(size, dtype=torch.bool), Site("resid_post", layer), "color")


def test_angles_between_subspaces():
    one = alignment(0)
    turned = dataclasses.replace(one, rotation=one.rotation.flip(0))
    assert principal_angles(one, turned).max() < 1e-3
    whole = alignment(1, size=12)
    two = dataclasses.replace(one, rotation=whole.rotation[:3])
    rest = dataclasses.replace(one, rotation=whole.rotation[3:6])
    assert principal_angles(two, rest) == pytest.approx([90, 90, 90])
    table = agreement([two, turned, rest, alignment(0, layer=1)])
    assert table.layer.tolist() == [0] and table.seeds.tolist() == [3]
    with pytest.raises(RelViTError, match="3 directions of width 12, 3 of width 16: expected"):
        principal_angles(one, alignment(0, width=16))


def test_orthogonal_alignments_read_what_they_write_and_oblique_ones_do_not():
    one = alignment(0)
    assert read_write_angles(one).max() < 1e-3
    whole = alignment(1, size=12).rotation
    leaning = dataclasses.replace(one, rotation=whole[:3] + whole[3:6], write=whole[:3])
    assert read_write_angles(leaning) == pytest.approx([45, 45, 45], abs=1e-3)


def test_captures_in_bfloat16_are_close_and_stay_in_float32():
    checkpoint = Checkpoint(*build_model(TrainConfig(backbone=vit(2, 32, 2))))
    site = Site("resid_post", 1)
    exact = capture_pair_residuals(checkpoint, pairs(n=16), [site])
    rough = capture_pair_residuals(checkpoint, pairs(n=16), [site], bf16=True)
    assert rough.base[site].dtype == torch.float32
    assert not rough.base[site].equal(exact.base[site])
    torch.testing.assert_close(rough.base[site], exact.base[site], atol=0.05, rtol=0.05)


def test_scores_have_the_published_measure_of_divergence(sign_model):
    checkpoint = Checkpoint(*sign_model("color"))
    swap = fit_alignment(checkpoint, pairs(), 0, DASConfig("full_swap"))
    frame = score_alignment(checkpoint, swap, pairs())
    assert (frame.emd >= 0).all() and (frame.emd_unedited >= 0).all()
