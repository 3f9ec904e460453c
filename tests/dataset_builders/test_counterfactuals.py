import numpy as np
import pytest
from datasets import ClassLabel, Image

from hf_relvit.dataset_builders.counterfactuals.builder import Counterfactuals
from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.stimuli.counterfactuals import PROPERTIES, sample_counterfactuals
from hf_relvit.stimuli.rendering import render
from hf_relvit.stimuli.splits import SPLITS

QUICK = GEOMETRIES["quick"]


def prepared(builder, num_proc=None):
    builder.download_and_prepare(num_proc=num_proc)
    return builder.as_dataset()


@pytest.mark.parametrize("task", ["discrimination", "rmts"])
def test_rows_are_the_pairs_bit_for_bit(task, tmp_path):
    splits = prepared(Counterfactuals(tmp_path, f"{task}-quick-32", n_train=160, n_eval=32, seed=3))
    assert tuple(splits) == SPLITS
    for split, data in splits.items():
        half = (160 if split == "train" else 32) // 2
        assert len(data) == 2 * half
        assert set(data["seed"]) == {3}
        for i, prop in enumerate(PROPERTIES):
            pairs = sample_counterfactuals(task, QUICK, prop, split, half, combinations=32, seed=3)
            part = data.select(range(i * half, (i + 1) * half))
            assert set(part["property"]) == {i}
            rows = np.arange(half)
            for name in ("label", "judgement", "edited", "fixed", "source_object", "other_source"):
                np.testing.assert_array_equal(np.array(part[name]), getattr(pairs, name))
            for role, scenes in (
                ("edited", pairs.base),
                ("fixed", pairs.base),
                ("source_object", pairs.source),
                ("other_source", pairs.source),
            ):
                expected = scenes.patches()[rows, getattr(pairs, role)]
                np.testing.assert_array_equal(np.array(part[f"{role}_patches"]), expected)
            for scene in ("base", "source"):
                table = getattr(pairs, scene)
                for name in ("label", "shape", "color", "corner", "jitter", "relation", "index"):
                    np.testing.assert_array_equal(
                        np.array(part[f"{scene}_{name}"]), getattr(table, name)
                    )
                pictures = np.stack([np.asarray(image) for image in part[f"{scene}_image"]])
                np.testing.assert_array_equal(pictures, render(table))


def test_configs_and_columns(tmp_path):
    assert len(Counterfactuals.builder_configs) == 5 * len(GEOMETRIES) * 4
    assert Counterfactuals.builder_configs["rmts-b14-128"].n_eval == 2000
    builder = Counterfactuals(tmp_path, "rmts-quick-128", n_train=16, n_eval=16)
    columns = builder.info.features
    assert isinstance(columns["base_image"], Image) and isinstance(columns["source_image"], Image)
    assert columns["property"] == ClassLabel(names=["shape", "color"])
    assert columns["label"] == columns["base_label"] == ClassLabel(names=["different", "same"])
    assert Counterfactuals(tmp_path).config.name == "discrimination-b16-256"
    by_fields = Counterfactuals(
        tmp_path, task="rmts", geometry="quick", combinations=32, n_eval=16, n_train=16
    )
    assert (by_fields.config.name, by_fields.config.task) == ("rmts-quick-32", "rmts")
    other = Counterfactuals(tmp_path, "rmts-quick-48", n_train=16, n_eval=16)  # any multiple of 16
    assert other.config.task == "rmts" and other.config.combinations == 48
    assert other.cache_dir != builder.cache_dir


def test_any_number_of_processes_makes_the_same_rows(tmp_path):
    options = {"config_name": "discrimination-quick-256", "n_train": 84, "n_eval": 36}
    one = prepared(Counterfactuals(tmp_path / "1", **options))["train"]
    two = prepared(Counterfactuals(tmp_path / "2", **options), num_proc=2)["train"]
    assert one["base_index"] == two["base_index"]
    assert one["property"] == two["property"]
    assert one["source_shape"] == two["source_shape"]


def test_own_objects(own_objects, tmp_path):
    masks, palette = own_objects
    builder = Counterfactuals(
        tmp_path, "discrimination-quick-9", n_train=4, n_eval=4, masks=masks, palette=palette
    )
    assert len(prepared(builder)["test"]) == 4


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("b16-32", {}, "config 'b16-32': expected TASK-GEOMETRY-COMBINATIONS, such as rmts-b16-32"),
        ("rmts-b17-32", {}, "unknown geometry 'b17'"),
        (
            "rmts-quick-32",
            {"n_eval": 20},
            "10 pairs of scenes cannot be balanced for rmts: choose a positive multiple",
        ),
        ("rmts-quick-32", {"n_eval": 17}, "17 pairs for two properties: choose an even number"),
        ("discrimination-quick-16", {}, "too few combinations"),
        ("discrimination-quick-20", {}, "combinations 20"),
    ],
)
def test_bad_input(name, options, message, tmp_path):
    with pytest.raises(RelViTError, match=message):
        Counterfactuals(tmp_path, name, **options)
