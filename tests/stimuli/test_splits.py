import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.stimuli.objects import ObjectSet
from hf_relvit.stimuli.scenes import sample
from hf_relvit.stimuli.splits import SPLITS, allowed_objects, belongs, split_names
from hf_relvit.stimuli.tasks import TASKS

DEFAULT = ObjectSet.default()


def small_set(shapes=6, colors=5, n_shapes=4, n_colors=3) -> ObjectSet:
    return ObjectSet(DEFAULT.masks[:shapes], DEFAULT.palette[:colors], n_shapes, n_colors)


def scene_set(table) -> set:
    """What stands where, without any order of the objects, which does not change the picture."""
    objects = np.concatenate([table.shape[..., None], table.color[..., None], table.corner], -1)
    return {tuple(sorted(map(tuple, scene))) for scene in objects}


@pytest.mark.parametrize("combinations", [16, 32, 64, 128, 256])
def test_object_sets(combinations):
    train = allowed_objects("train", combinations, DEFAULT)
    per_color = combinations // 16
    assert train.shape == (20, 20)
    assert train.sum() == combinations
    assert (train[:16, :16].sum(0) == per_color).all()
    assert (train[:16, :16].sum(1) == per_color).all()
    for split in ("validation", "test"):
        np.testing.assert_array_equal(allowed_objects(split, combinations, DEFAULT), train)
    expected = np.zeros((20, 20), bool)
    for color in range(16):  # the band rule of the official code
        for shape in range(16 - per_color, 16):
            expected[(shape + color) % 16, color] = True
    np.testing.assert_array_equal(train, expected)
    if combinations < 256:
        unseen = allowed_objects("test_compositional", combinations, DEFAULT)
        assert not (unseen & train).any()
        assert (unseen | train)[:16, :16].all()
        assert unseen.sum() == 256 - combinations


def test_band_of_32():
    train = allowed_objects("train", 32, DEFAULT)
    for color in range(16):
        assert set(np.nonzero(train[:, color])[0]) == {(14 + color) % 16, (15 + color) % 16}


def test_ood_object_sets():
    for split, count, shapes, colors in (
        ("test_ood_shape", 64, slice(16, 20), slice(0, 16)),
        ("test_ood_color", 64, slice(0, 16), slice(16, 20)),
        ("test_ood_shape_color", 16, slice(16, 20), slice(16, 20)),
    ):
        allowed = allowed_objects(split, 32, DEFAULT)
        assert allowed.sum() == allowed[shapes, colors].sum() == count


def test_split_names():
    assert split_names(32, DEFAULT) == SPLITS
    assert split_names(256, DEFAULT) == tuple(s for s in SPLITS if s != "test_compositional")
    assert split_names(12, small_set(4, 3)) == ("train", "validation", "test")
    assert split_names(6, small_set(6, 3)) == (
        "train",
        "validation",
        "test",
        "test_compositional",
        "test_ood_shape",
    )


@pytest.mark.parametrize("combinations", [0, -16, 8, 33, 257, 272])
def test_combinations_out_of_range(combinations):
    with pytest.raises(
        RelViTError, match=rf"combinations {combinations}: expected a multiple of the 16 colors"
    ):
        split_names(combinations, DEFAULT)


def test_unknown_and_missing_splits_name_the_ones_there_are():
    with pytest.raises(
        RelViTError, match=r"unknown split 'tset': expected one of train, validation"
    ):
        allowed_objects("tset", 32, DEFAULT)
    with pytest.raises(
        RelViTError, match=r"'test_compositional' does not exist for 256 .*expected one of train"
    ):
        allowed_objects("test_compositional", 256, DEFAULT)
    with pytest.raises(RelViTError, match="'test_ood_shape' does not exist"):
        allowed_objects("test_ood_shape", 12, small_set(4, 3))


@pytest.mark.parametrize("task", TASKS)
def test_scenes_of_all_splits_seeds_and_blocks_are_disjoint(task):
    """Real scenes, not their hashes; few objects and places, so that draws without a partition do collide."""
    few, geometry = small_set(), GEOMETRIES["quick"]
    scenes = {}
    for split in split_names(6, few):
        for seed, block in ((0, 0), (0, 1), (7, 0)):
            table = sample(
                task, geometry, split, 1600, combinations=6, seed=seed, block=block, objects=few
            )
            scenes.setdefault(split, set()).update(scene_set(table))
    names = list(scenes)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            assert not scenes[a] & scenes[b], (a, b)
    if task == "discrimination":  # the draws are dense enough for the test to mean something
        assert len(scenes["train"]) < 0.95 * 4800


@given(st.data())
def test_every_scene_belongs_to_exactly_one_split_whatever_the_order_in_a_pair(data):
    pairs = data.draw(st.sampled_from([1, 2]))
    number = st.lists(st.integers(0, 19), min_size=2 * pairs, max_size=2 * pairs)
    shape, color, row, column = (np.array([data.draw(number)]) for _ in range(4))
    kinds, corner = np.stack([shape, color], -1), np.stack([row, column], -1)
    homes = [belongs(s, kinds, corner)[0] for s in ("train", "validation", "test")]
    assert sum(homes) == 1
    order = [1, 0, *range(2, 2 * pairs)]
    swapped = [
        belongs(s, kinds[:, order], corner[:, order])[0] for s in ("train", "validation", "test")
    ]
    assert homes == swapped
    assert belongs("test_compositional", kinds, corner).all()


def test_train_has_half_of_the_scene_space():
    rng = np.random.default_rng(0)
    scenes = rng.integers(0, 16, (40_000, 2, 2)), rng.integers(0, 13, (40_000, 2, 2))
    shares = [belongs(s, *scenes).mean() for s in ("train", "validation", "test")]
    np.testing.assert_allclose(shares, [0.5, 0.25, 0.25], atol=0.012)  # five standard errors
