import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.stimuli.counterfactuals import (
    PROPERTIES,
    sample_counterfactual_block,
    sample_counterfactuals,
)
from hf_relvit.stimuli.draws import BLOCK
from hf_relvit.stimuli.objects import ObjectSet
from hf_relvit.stimuli.rendering import render
from hf_relvit.stimuli.splits import allowed_objects, belongs, split_names
from hf_relvit.stimuli.tasks import TASKS

DEFAULT = ObjectSet.default()
QUICK = GEOMETRIES["quick"]
N = 160
ROWS = np.arange(N)
PER_SCENE = (
    "shape",
    "color",
    "corner",
    "jitter",
    "label",
    "relation",
    "difference",
    "twin",
    "index",
)


SWAPS = [
    (name, prop) for name, task in TASKS.items() if task.swaps is not None for prop in task.swapped
]
PAIRED = list(dict(SWAPS))


def labels(task, shape, color):
    relation = (shape[:, 0::2] == shape[:, 1::2]) & (color[:, 0::2] == color[:, 1::2])
    single = {"same_shape": shape, "same_color": color}
    if task in single:
        answer = single[task][:, 0] == single[task][:, 1]
    elif relation.shape[1] == 1:
        answer = relation[:, 0]
    else:
        answer = relation[:, 0] == relation[:, 1]
    return answer.astype(int), relation


def swapped(pairs, giver):
    """Labels after the edited object has taken the property from an object of the source."""
    values = {"shape": pairs.base.shape.copy(), "color": pairs.base.color.copy()}
    values[pairs.property][ROWS, pairs.edited] = getattr(pairs.source, pairs.property)[ROWS, giver]
    return labels(pairs.base.task, **values)[0], values


def cases():
    for task, prop in SWAPS:
        for combinations in (32, 128, 256):
            for split in split_names(combinations, DEFAULT):
                yield task, combinations, split, prop


@pytest.mark.parametrize(("task", "combinations", "split", "property"), list(cases()))
def test_swap_makes_the_label_and_the_wrong_object_never_does(task, combinations, split, property):
    pairs = sample_counterfactuals(task, QUICK, property, split, N, combinations=combinations)
    assert len(pairs) == len(pairs.base) == len(pairs.source) == N
    base, relation = labels(task, pairs.base.shape, pairs.base.color)
    np.testing.assert_array_equal(base, pairs.base.label)
    np.testing.assert_array_equal(relation, pairs.base.relation)
    source, source_relation = labels(task, pairs.source.shape, pairs.source.color)
    np.testing.assert_array_equal(source, pairs.source.label)
    np.testing.assert_array_equal(source_relation, pairs.source.relation)

    after, values = swapped(pairs, pairs.source_object)
    np.testing.assert_array_equal(after, pairs.label)
    np.testing.assert_array_equal(after, 1 - base)
    np.testing.assert_array_equal(swapped(pairs, pairs.other_source)[0], base)
    np.testing.assert_array_equal(pairs.judgement, relation[ROWS, pairs.edited // 2])

    # all that is shown or made is of the split's combinations, and every scene is the split's own
    allowed = allowed_objects(split, combinations, DEFAULT)
    for shape, color in (
        (values["shape"], values["color"]),
        (pairs.source.shape, pairs.source.color),
    ):
        assert allowed[shape, color].all()
    for scenes in (pairs.base, pairs.source):
        assert allowed[scenes.shape, scenes.color].all()
        assert belongs(split, np.stack([scenes.shape, scenes.color], -1), scenes.corner).all()
        taken = np.sort(scenes.patches().reshape(N, -1), 1)
        assert (np.diff(taken, axis=1) > 0).all()


@pytest.mark.parametrize(("task", "property"), SWAPS)
def test_values_are_those_of_the_protocol(task, property):
    pairs = sample_counterfactuals(task, QUICK, property, "train", N, combinations=128)
    other = {"shape": "color", "color": "shape"}[property]
    p, o = getattr(pairs.base, property), getattr(pairs.base, other)
    ps, os_ = getattr(pairs.source, property), getattr(pairs.source, other)
    edited, fixed, giver, rest = pairs.edited, pairs.fixed, pairs.source_object, pairs.other_source
    different = pairs.judgement == 0
    assert (p[ROWS, edited] != p[ROWS, fixed])[different].all()
    assert (p[ROWS, edited] == p[ROWS, fixed])[~different].all()
    assert (o[ROWS, edited] == o[ROWS, fixed]).all()
    assert (ps[ROWS, giver] == p[ROWS, fixed])[different].all()
    assert (ps[ROWS, giver] != p[ROWS, fixed])[~different].all()
    assert (ps[ROWS, rest] == p[ROWS, edited])[~different].all()
    assert (ps[ROWS, rest] != p[ROWS, fixed])[different].all()
    three = np.stack([o[ROWS, edited], os_[ROWS, giver], os_[ROWS, rest]], 1)
    assert (np.diff(np.sort(three, 1), axis=1) > 0).all()
    if TASKS[task].objects == 4:
        same_places = (pairs.base.corner == pairs.source.corner).all()
        assert same_places == (task == "rmts")
        for name in ("shape", "color"):  # the source keeps the edited pair
            for place in (edited, fixed):
                kept, before = (
                    getattr(pairs.source, name)[ROWS, place],
                    getattr(pairs.base, name)[ROWS, place],
                )
                np.testing.assert_array_equal(kept, before)
        assert (giver // 2 != edited // 2).all()
        objects = pairs.base.shape.astype(int) * 100 + pairs.base.color
        assert (np.sort(objects[:, :2], 1) != np.sort(objects[:, 2:], 1)).any(1).all()
    else:
        assert (pairs.base.corner != pairs.source.corner).any()
    assert (edited // 2 == fixed // 2).all()
    assert (giver // 2 == rest // 2).all()
    assert ((edited != fixed) & (giver != rest)).all()


@pytest.mark.parametrize("task", PAIRED)
@pytest.mark.parametrize("n", [8, 16, 40, 800])
def test_balance_is_exact(task, n):
    prop = TASKS[task].swapped[-1]
    pairs = sample_counterfactuals(task, QUICK, prop, "test", n, combinations=128)
    assert pairs.label.sum() == pairs.judgement.sum() == n // 2
    assert (pairs.edited % 2).sum() == n // 2
    if TASKS[task].objects == 4:
        rows = np.arange(n)
        cell = (
            pairs.judgement * 4
            + pairs.edited // 2 * 2
            + pairs.base.relation[rows, 1 - pairs.edited // 2]
        )
        assert np.bincount(cell, minlength=8).tolist() == [n // 8] * 8
        for value in range(8):
            assert abs((pairs.edited[cell == value] % 2).mean() - 0.5) <= 4 / n


def test_values_are_uniform():
    pairs = sample_counterfactuals("discrimination", QUICK, "shape", "train", 4000)
    for scenes, place in (
        (pairs.base, pairs.edited),
        (pairs.source, pairs.source_object),
        (pairs.base, pairs.fixed),
    ):
        for values in (scenes.shape, scenes.color):
            counts = np.bincount(values[np.arange(4000), place], minlength=16)[:16]
            assert (
                (counts - 250) ** 2 / 250
            ).sum() < 45  # chi-squared, 15 degrees of freedom, p = 8e-5


@pytest.mark.parametrize("task", PAIRED)
def test_splits_share_no_scene(task):
    seen = {}
    for split in ("train", "validation", "test"):
        for property in TASKS[task].swapped:
            for seed in (0, 1):
                pairs = sample_counterfactuals(
                    task, QUICK, property, split, 400, combinations=32, seed=seed
                )
                for scenes in (pairs.base, pairs.source):
                    for row in zip(
                        scenes.shape.tolist(), scenes.color.tolist(), scenes.corner.tolist()
                    ):
                        objects = list(zip(*row[:2], map(tuple, row[2])))
                        scene = tuple(
                            tuple(sorted(objects[i : i + 2])) for i in range(0, len(objects), 2)
                        )
                        assert seen.setdefault(scene, split) == split


@pytest.mark.parametrize(("task", "property"), SWAPS)
def test_a_small_image_has_as_many_pairs_as_asked(task, property):
    """Some pairs have no place at which base and source belong to the test split: others are drawn, of their cell."""
    pairs = sample_counterfactuals(task, GEOMETRIES["mini"], property, "test", 256, combinations=32)
    for scenes in (pairs.base, pairs.source):
        kinds = np.stack([scenes.shape, scenes.color], -1)
        assert belongs("test", kinds, scenes.corner).all()
    same = pairs.base.relation.sum(1) if pairs.base.relation.ndim > 1 else pairs.judgement
    cells = np.column_stack([pairs.judgement, pairs.base.label, pairs.edited, same])
    counts = np.unique(cells, axis=0, return_counts=True)[1]
    assert counts.min() == counts.max()


def test_noise_is_new_in_every_scene():
    indices = []
    for property in PROPERTIES:
        pairs = sample_counterfactuals("rmts", QUICK, property, "test", 40, combinations=32)
        indices += [*pairs.base.index.tolist(), *pairs.source.index.tolist()]
    assert len(set(indices)) == 160
    assert min(indices) > 10**12
    assert render(pairs.base).shape == (40, 64, 64, 3)
    assert (render(pairs.base[[7]]) == render(pairs.base)[7]).all()


def test_drawing_is_a_function_of_its_arguments():
    arguments = {"combinations": 32, "seed": 5}
    first = sample_counterfactuals("rmts", QUICK, "color", "test", 16, **arguments)
    again = sample_counterfactuals("rmts", QUICK, "color", "test", 16, **arguments)
    for scenes in ("base", "source"):
        for name in PER_SCENE:
            np.testing.assert_array_equal(
                getattr(getattr(first, scenes), name), getattr(getattr(again, scenes), name)
            )
    for name in ("edited", "fixed", "source_object", "other_source", "label", "judgement"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    other = sample_counterfactuals("rmts", QUICK, "color", "test", 16, combinations=32, seed=6)
    assert (other.base.shape != first.base.shape).any()


def test_indexing():
    pairs = sample_counterfactuals("rmts", QUICK, "shape", "train", 24)
    part = pairs[pairs.judgement == 1]
    assert len(part) == len(part.base) == 12
    assert part.judgement.all()
    assert len(pairs[3]) == 1
    np.testing.assert_array_equal(pairs[[5, 2]].source.shape, pairs.source.shape[[5, 2]])


def test_own_objects_and_the_smallest_world():
    small = ObjectSet(DEFAULT.masks[:3], DEFAULT.palette[:3], 3, 3)
    pairs = sample_counterfactuals(
        "discrimination", QUICK, "shape", "train", N, combinations=9, objects=small
    )
    np.testing.assert_array_equal(swapped(pairs, pairs.source_object)[0], pairs.label)
    np.testing.assert_array_equal(swapped(pairs, pairs.other_source)[0], 1 - pairs.label)


def test_needs_neither_torch_nor_datasets():
    code = "import sys, hf_relvit.stimuli.counterfactuals; assert not {'torch', 'datasets'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"property": "size"}, "unknown property 'size': expected one of shape, color"),
        ({"task": "counting"}, "unknown task 'counting'"),
        ({"task": "above"}, "task 'above' has no counterfactual pairs: expected one of discrim"),
        ({"task": "same_color"}, "a swap of shape does not change the answer of 'same_color'"),
        ({"split": "dev"}, "unknown split 'dev'"),
        (
            {"n": 7},
            "7 pairs of scenes cannot be balanced for discrimination: choose a positive multiple of 2",
        ),
        (
            {"n": 12, "task": "rmts"},
            "12 pairs of scenes cannot be balanced for rmts: choose a positive multiple of 8",
        ),
        ({"n": 0}, "0 pairs"),
        ({"seed": -1}, "seed -1"),
        (
            {"combinations": 16},
            "split 'train' has too few combinations .* choose more combinations",
        ),
    ],
)
def test_bad_input_is_one_line_with_the_cure(change, message):
    arguments = {
        "task": "discrimination",
        "geometry": QUICK,
        "property": "shape",
        "split": "train",
        "n": 8,
        **change,
    }
    with pytest.raises(RelViTError, match=message) as caught:
        sample_counterfactuals(**arguments)
    assert "\n" not in str(caught.value)


def test_table_is_frozen():
    pairs = sample_counterfactuals("discrimination", QUICK, "shape", "train", 2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        pairs.property = "color"


def test_a_large_set_is_its_blocks():
    n = BLOCK + 80
    options = {"combinations": 32, "seed": 2}
    place = ("rmts", GEOMETRIES["quick"], "color", "test")
    whole = sample_counterfactuals(*place, n, **options)
    last = sample_counterfactual_block(*place, n, 1, **options)
    assert len(whole) == n and len(last) == 80
    np.testing.assert_array_equal(whole[BLOCK:].base.shape, last.base.shape)
    np.testing.assert_array_equal(whole[BLOCK:].label, last.label)
    scenes = np.concatenate([whole.base.index, whole.source.index])
    assert len(np.unique(scenes)) == 2 * n  # each has its own noise
    first = sample_counterfactuals(*place, BLOCK, **options)
    np.testing.assert_array_equal(whole[:BLOCK].source.corner, first.source.corner)
