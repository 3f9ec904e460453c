import hashlib
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES, SceneGeometry
from hf_relvit.stimuli.draws import BLOCK
from hf_relvit.stimuli.objects import ObjectSet
from hf_relvit.stimuli.rendering import render
from hf_relvit.stimuli.scenes import DIFFERENCES, sample, sample_block
from hf_relvit.stimuli.splits import SPLITS, allowed_objects, split_names
from hf_relvit.stimuli.tasks import TASKS

DEFAULT = ObjectSet.default()
QUICK = GEOMETRIES["quick"]
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


def digest(table) -> str:
    total = hashlib.sha256()
    for name in PER_SCENE:
        total.update(getattr(table, name).astype("<i8").tobytes())
    total.update(render(table).tobytes())
    return total.hexdigest()


def assert_equal(a, b):
    for name in PER_SCENE:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def expected_difference(table) -> np.ndarray:
    shape = table.shape[:, 0::2] != table.shape[:, 1::2]
    color = table.color[:, 0::2] != table.color[:, 1::2]
    kinds = np.where(shape, np.where(color, "both", "shape"), np.where(color, "color", "none"))
    return np.vectorize(DIFFERENCES.index)(kinds)


def has_room(task, geometry) -> bool:
    placed = TASKS[task].placed(geometry)
    return (placed.grid // placed.object_patches) ** 2 >= 2 * TASKS[task].objects


def even(counts) -> bool:
    return max(counts) - min(counts) <= 1


@pytest.mark.parametrize("n", [2, 10, 100, 6400])
@pytest.mark.parametrize("combinations", [32, 64, 128, 256])
def test_discrimination_is_exactly_balanced(n, combinations):
    for split in split_names(combinations, DEFAULT):
        table = sample("discrimination", QUICK, split, n, combinations=combinations)
        assert len(table) == n
        assert table.label.sum() == n // 2
        np.testing.assert_array_equal(table.label, table.relation[:, 0])
        np.testing.assert_array_equal(table.difference, expected_difference(table))
        kinds = np.bincount(table.difference[:, 0], minlength=4)
        assert kinds[0] == n // 2
        assert even(kinds[1:])


def test_every_allowed_object_is_doubled_equally_often():
    for combinations in (16, 32, 256):
        table = sample("discrimination", QUICK, "train", 1000, combinations=combinations)
        same = table[table.label == 1]
        counts = np.zeros((20, 20), int)
        np.add.at(counts, (same.shape[:, 0], same.color[:, 0]), 1)
        assert even(counts[allowed_objects("train", combinations, DEFAULT)])


def test_kept_object_is_first_or_second_equally_often():
    table = sample("discrimination", QUICK, "train", 4000)
    same = table[table.label == 1]
    kept = table[same.twin]
    first = (kept.shape[:, 0] == same.shape[:, 0]) & (kept.color[:, 0] == same.color[:, 0])
    assert abs(first.mean() - 0.5) < 0.06


@pytest.mark.parametrize("block", [0, 3])
def test_twins_keep_one_object_and_double_it_at_the_same_places(block):
    n = 600
    table = sample("discrimination", GEOMETRIES["b16"], "test", n, combinations=32, block=block)
    twin = table.twin - block * n
    other = table[twin]
    np.testing.assert_array_equal(other.index, table.twin)
    np.testing.assert_array_equal(other.twin, table.index)
    np.testing.assert_array_equal(other.corner, table.corner)
    assert (other.label != table.label).all()
    assert (other.jitter != table.jitter).any()
    for row in np.nonzero(table.label == 0)[0]:
        pair = set(zip(table.shape[row].tolist(), table.color[row].tolist()))
        doubled = list(zip(other.shape[row].tolist(), other.color[row].tolist()))
        assert len(pair) == 2
        assert doubled[0] == doubled[1]
        assert doubled[0] in pair


@pytest.mark.parametrize("combinations", [16, 32, 256])
@pytest.mark.parametrize("n", [4, 100, 6400])
def test_rmts_is_balanced_in_its_four_cells(n, combinations):
    for split in split_names(combinations, DEFAULT):
        table = sample("rmts", GEOMETRIES["b16"], split, n, combinations=combinations)
        cells = np.bincount(2 * table.relation[:, 0] + table.relation[:, 1], minlength=4)
        assert (cells == n // 4).all()
        np.testing.assert_array_equal(table.label, table.relation[:, 0] == table.relation[:, 1])
        np.testing.assert_array_equal(table.difference, expected_difference(table))
        np.testing.assert_array_equal(table.relation == 1, table.difference == 0)
        assert (table.twin == -1).all()
        possible = 3 if combinations != 16 or split not in ("train", "validation", "test") else 1
        for display in (0, 1):
            kinds = np.bincount(table.difference[table.relation[:, 1] == display, 0], minlength=4)[
                1 : 1 + possible
            ]
            assert even(kinds)


def test_rmts_pairs_never_show_the_same_two_objects():
    few = ObjectSet(DEFAULT.masks[:4], DEFAULT.palette[:3], 4, 3)
    table = sample("rmts", QUICK, "train", 2000, combinations=3, objects=few)
    objects = table.shape.astype(int) * 100 + table.color
    assert (np.sort(objects[:, :2], 1) != np.sort(objects[:, 2:], 1)).any(1).all()


def test_sixteen_combinations_differ_in_both_only():
    table = sample("discrimination", QUICK, "train", 200, combinations=16)
    assert set(table.difference[:, 0].tolist()) == {
        DIFFERENCES.index("none"),
        DIFFERENCES.index("both"),
    }


@pytest.mark.parametrize("combinations", [16, 32, 64, 128, 256])
@pytest.mark.parametrize("task", ["discrimination", "rmts"])
def test_scenes_show_all_allowed_objects_and_no_others(task, combinations):
    for split in split_names(combinations, DEFAULT):
        table = sample(task, QUICK, split, 4000, combinations=combinations)
        shown = np.zeros((20, 20), bool)
        shown[table.shape, table.color] = True
        np.testing.assert_array_equal(shown, allowed_objects(split, combinations, DEFAULT))


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("task", TASKS)
def test_objects_stand_on_their_own_whole_patches(task, name):
    geometry = GEOMETRIES[name]
    if not has_room(task, geometry) or TASKS[task].posed:  # see test_free_placement.py
        pytest.skip("too little room, or not on the grid")
    table = sample(task, geometry, "validation", 800)
    patches = table.patches()
    assert patches.shape == (800, TASKS[task].objects, geometry.object_patches**2)
    assert patches.min() >= 0
    assert patches.max() < geometry.grid**2
    flat = np.sort(patches.reshape(800, -1), 1)
    assert (np.diff(flat, axis=1) > 0).all()  # no patch twice
    assert table.corner.min() == 0
    assert table.corner.max() == geometry.grid - geometry.object_patches
    assert table.jitter.min() == 0
    assert table.jitter.max() == geometry.max_jitter
    if task == "rmts":
        assert (table.corner[:, 2:] == [[0, 0], [0, geometry.object_patches]]).all()


def test_display_patches_of_b16_are_the_official_ones():
    patches = sample("rmts", GEOMETRIES["b16"], "train", 4).patches()
    assert (patches[:, 2] == [0, 1, 14, 15]).all()
    assert (patches[:, 3] == [2, 3, 16, 17]).all()


@pytest.mark.parametrize("task", TASKS)
def test_jitter_and_places_are_uniform(task):
    geometry = GEOMETRIES["b16"]
    table = sample(task, geometry, "train", 6400)
    steps = 1 + TASKS[task].placed(geometry).max_jitter
    counts = np.bincount(table.jitter.ravel(), minlength=steps)
    expected = table.jitter.size / steps
    # chi-squared, 8 or 15 degrees of freedom, p = 3e-5 or 3e-5
    assert ((counts - expected) ** 2 / expected).sum() < (35 if steps == 9 else 48)
    if (
        task == "discrimination"
    ):  # each of 169 places about equally often; borders a little more, as they block less
        places = table.corner[..., 0].astype(int) * 13 + table.corner[..., 1]
        assert np.bincount(places.ravel(), minlength=169).min() > 0.6 * places.size / 169


@pytest.mark.parametrize("task", TASKS)
def test_drawing_is_a_function_of_its_arguments(task):
    reference = sample(task, QUICK, "test", 80, combinations=32, seed=5, block=1)
    assert_equal(reference, sample(task, QUICK, "test", 80, combinations=32, seed=5, block=1))
    assert reference.index.tolist() == list(range(80, 160))
    for change in ({"seed": 6}, {"block": 2}, {"combinations": 64}):
        other = sample(
            task, QUICK, "test", 80, **{"combinations": 32, "seed": 5, "block": 1, **change}
        )
        assert (other.shape != reference.shape).any()


def test_indexing():
    table = sample("rmts", QUICK, "train", 40)
    assert len(table[3]) == 1
    assert_equal(table[3], table[3:4])
    assert_equal(table[np.array([3, 1])][1], table[1])
    assert table[np.int64(3)].index.tolist() == [3]
    assert_equal(table[table.label == 1], table[np.nonzero(table.label)[0]])
    assert table[5].geometry is table.geometry
    with pytest.raises(IndexError):
        table[40]


@settings(max_examples=25, deadline=None)
@given(
    task=st.sampled_from(list(TASKS)),
    split=st.sampled_from(SPLITS),
    name=st.sampled_from(list(GEOMETRIES)),
    quarters=st.integers(1, 40),
    combinations=st.sampled_from([32, 48, 96, 224]),
    seed=st.integers(0, 2**63 - 1),
)
def test_any_table_is_consistent(task, split, name, quarters, combinations, seed):
    assume(has_room(task, GEOMETRIES[name]))
    table = sample(
        task, GEOMETRIES[name], split, 4 * quarters, combinations=combinations, seed=seed
    )
    assert table.label.sum() == 2 * quarters
    assert allowed_objects(split, combinations, DEFAULT)[table.shape, table.color].all()
    for patches in table.patches():
        owned = patches[patches >= 0]
        assert len(set(owned)) == len(owned)


@pytest.mark.parametrize("task", TASKS)
def test_one_scene_alone_in_a_fresh_process_is_the_same_bit_for_bit(task):
    n, index = 64, 100
    whole = sample(
        task, GEOMETRIES["b14"], "test_compositional", n, combinations=32, seed=9, block=index // n
    )
    pictures = render(whole)
    code = (
        "import hashlib, sys\n"
        "from hf_relvit.geometry import GEOMETRIES\n"
        "from hf_relvit.stimuli.rendering import render\n"
        "from hf_relvit.stimuli.scenes import sample\n"
        f"block = sample({task!r}, GEOMETRIES['b14'], 'test_compositional', {n}, combinations=32, seed=9, "
        f"block={index // n})\n"
        f"scene = block[{index % n}]\n"
        "assert 'torch' not in sys.modules and 'datasets' not in sys.modules\n"
        "print(scene.index[0], hashlib.sha256(render(scene).tobytes()).hexdigest())\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == [
        str(index),
        hashlib.sha256(pictures[index % n].tobytes()).hexdigest(),
    ]


@pytest.mark.parametrize(
    ("task", "golden"),
    [
        ("discrimination", "c8ebf3e463c6df393bcb51ba67d2c0d1927948ca3325e09b81ee86b7d232a4d6"),
        ("rmts", "9af2f4a6fa78fc1d16a15576fa10918a58f2fae300f0fb2216e838a0f80b4a28"),
    ],
)
def test_generator_version(task, golden):
    """A change here makes other stimuli: raise VERSION in dataset_builders/common.py with it."""
    table = sample(task, QUICK, "train", 24, combinations=32, seed=3, block=1)
    assert digest(table) == golden


def test_own_objects():
    rng = np.random.default_rng(0)
    masks = np.kron(rng.random((5, 8, 8)) < 0.5, np.ones((24, 24))).astype(bool)
    own = ObjectSet(masks, np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200]], np.uint8), 4, 2)
    for task in TASKS:
        for split in split_names(4, own):
            table = sample(task, QUICK, split, 48, combinations=4, objects=own)
            assert allowed_objects(split, 4, own)[table.shape, table.color].all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "same"}, "unknown task 'same': expected one of discrimination, rmts"),
        ({"split": "tset"}, "unknown split 'tset': expected one of train"),
        (
            {"n": 7},
            "7 scenes cannot be balanced for discrimination: choose a positive multiple of 2",
        ),
        ({"n": 0}, "0 scenes cannot be balanced"),
        (
            {"n": 6, "task": "rmts"},
            "6 scenes cannot be balanced for rmts: choose a positive multiple of 4",
        ),
        ({"seed": -1}, "seed -1: expected 0 to"),
        ({"seed": 2**63}, "expected 0 to"),
        (
            {"combinations": 20},
            "combinations 20: expected a multiple of the 16 colors, from 16 to 256",
        ),
        (
            {"geometry": SceneGeometry("tight", 64, 16, 64, 48)},
            "2 objects of 64 pixels have no room in 64 pixels: choose",
        ),
        (
            {"geometry": SceneGeometry("tight", 32, 16, 16, 12), "task": "rmts"},
            "4 objects of 16 pixels have no room",
        ),
    ],
)
def test_bad_input_is_one_line_with_the_cure(change, message):
    arguments = {"task": "discrimination", "geometry": QUICK, "split": "train", "n": 8, **change}
    with pytest.raises(RelViTError, match=message) as caught:
        sample(**arguments)
    assert "\n" not in str(caught.value)


def test_rmts_with_two_objects_is_refused_rather_than_drawn_forever():
    two = ObjectSet(DEFAULT.masks[:2], DEFAULT.palette[:2], 2, 2)
    with pytest.raises(
        RelViTError,
        match=r"split 'train' has 2 objects for 2 combinations: rmts needs 3 .* choose more",
    ):
        sample("rmts", QUICK, "train", 8, combinations=2, objects=two)
    assert len(sample("discrimination", QUICK, "train", 8, combinations=2, objects=two)) == 8


@pytest.mark.parametrize("task", ["discrimination", "rmts"])
def test_a_large_set_is_its_blocks(task):
    n = BLOCK + 400
    whole = sample(task, GEOMETRIES["quick"], "train", n, seed=5)
    blocks = [sample_block(task, GEOMETRIES["quick"], "train", n, i, seed=5) for i in range(2)]
    first = sample(task, GEOMETRIES["quick"], "train", BLOCK, seed=5)  # as ever
    assert [len(block) for block in blocks] == [BLOCK, 400]
    for name in ("shape", "color", "corner", "jitter", "label", "twin", "index"):
        joined = np.concatenate([getattr(block, name) for block in blocks])
        np.testing.assert_array_equal(getattr(whole, name), joined)
        np.testing.assert_array_equal(getattr(whole[:BLOCK], name), getattr(first, name))
    assert whole.index.tolist() == list(range(n))
    assert whole.label[BLOCK:].mean() == 0.5
    if task == "discrimination":
        assert (whole.twin[whole.twin] == whole.index).all()
    with pytest.raises(RelViTError, match=f"block 2 of {n} scenes: expected 0 to 1"):
        sample_block(task, GEOMETRIES["quick"], "train", n, 2)
    with pytest.raises(RelViTError, match=f"block 1 of {n} scenes: expected at most {BLOCK}"):
        sample(task, GEOMETRIES["quick"], "train", n, block=1)


@pytest.mark.parametrize("task", ["discrimination", "rmts"])
def test_memory_of_a_block_does_not_grow_with_the_set(task):
    def peak(n, block):
        tracemalloc.start()
        sample_block(task, GEOMETRIES["quick"], "train", n, block)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(400, 0)
    assert peak(10**7, 100) <= 1.1 * peak(BLOCK, 0) < 80 * 2**20
