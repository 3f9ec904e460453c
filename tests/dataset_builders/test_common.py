import re
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Image, List, Value

from hf_relvit.building import rows
from hf_relvit.building.common import COMBINATIONS
from hf_relvit.dataset_builders.counterfactuals.builder import Counterfactuals
from hf_relvit.dataset_builders.scenes.builder import Scenes
from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES, geometry
from hf_relvit.stimuli.draws import BLOCK
from hf_relvit.stimuli.objects import COLOR_NAMES, SHAPE_NAMES, ObjectSet
from hf_relvit.stimuli.rendering import render
from hf_relvit.stimuli.scenes import sample
from hf_relvit.stimuli.splits import SPLITS

COLUMNS = ("label", "shape", "color", "corner", "jitter", "relation", "difference", "twin", "index")


def discrimination(*arguments, **options):
    return Scenes(*arguments, task="discrimination", **options)


def rmts(*arguments, **options):
    return Scenes(*arguments, task="rmts", **options)


@pytest.fixture(params=[discrimination, rmts])
def kind(request):
    return request.param


def prepared(builder, num_proc=None):
    builder.download_and_prepare(num_proc=num_proc)
    return builder.as_dataset()


def test_named_configs_are_geometry_by_combinations():
    assert set(Scenes.builder_configs) == {f"{g}-{k}" for g in GEOMETRIES for k in COMBINATIONS}
    for name, config in Scenes.builder_configs.items():
        assert name == f"{config.geometry}-{config.combinations}"
        assert (config.n_train, config.n_eval, config.seed) == (6400, 6400, 0)
        assert str(config.version) == str(Scenes.VERSION)


def test_rows_are_the_scenes_bit_for_bit(kind, tmp_path):
    splits = prepared(kind(tmp_path, "quick-32", n_train=200, n_eval=40, seed=3))
    assert tuple(splits) == SPLITS
    for split, data in splits.items():
        n = 200 if split == "train" else 40
        table = sample(kind.__name__, GEOMETRIES["quick"], split, n, combinations=32, seed=3)
        assert len(data) == n
        assert set(data["seed"]) == {3}
        np.testing.assert_array_equal(
            np.stack([np.asarray(image) for image in data["image"]]), render(table)
        )
        for column in COLUMNS:
            np.testing.assert_array_equal(
                np.array(data[column]), getattr(table, column), err_msg=column
            )
        np.testing.assert_array_equal(np.array(data["patches"]), table.patches())


@pytest.mark.parametrize(
    ("task", "name"),
    [("discrimination", "quick-free"), ("discrimination", "small-posed"), ("svrt_21", "quick")],
)
def test_rows_of_freely_placed_objects_list_their_own_patches(task, name, tmp_path):
    data = prepared(Scenes(tmp_path, f"{name}-32", task=task, n_train=4, n_eval=4))["test"]
    table = sample(task, geometry(name), "test", 4, combinations=32)
    for row, patches in zip(data, table.patches()):
        assert row["patches"] == [ids[ids >= 0].tolist() for ids in patches]
    pictures = np.stack([np.asarray(image) for image in data["image"]])
    np.testing.assert_array_equal(pictures, render(table))
    posed = table.pose is not None
    assert ("pose" in data.column_names) == posed
    assert not posed or data["pose"][:] == table.pose.tolist()


def test_columns(kind, tmp_path):
    answer = ClassLabel(names=["different", "same"])
    assert dict(kind(tmp_path, "b16-32").info.features) == {
        "image": Image(),
        "label": answer,
        "shape": List(ClassLabel(names=list(SHAPE_NAMES))),
        "color": List(ClassLabel(names=list(COLOR_NAMES))),
        "corner": List(List(Value("int64"))),
        "jitter": List(List(Value("int64"))),
        "patches": List(List(Value("int64"))),
        "relation": List(answer),
        "difference": List(ClassLabel(names=["none", "both", "shape", "color"])),
        "twin": Value("int64"),
        "index": Value("int64"),
        "seed": Value("int64"),
    }


def test_streaming_gives_the_same_rows_and_shards(tmp_path):
    builder = discrimination(tmp_path, "quick-256", n_train=64, n_eval=200)
    stream = builder.as_streaming_dataset(split="test")
    assert stream.num_shards == 64
    table = sample("discrimination", GEOMETRIES["quick"], "test", 200)
    pictures = render(table)
    count = 0
    for row in stream:
        np.testing.assert_array_equal(np.asarray(row["image"]), pictures[row["index"]])
        assert row["label"] == table.label[row["index"]]
        count += 1
    assert count == 200


def test_number_of_processes_does_not_change_the_rows(tmp_path):
    one = prepared(rmts(tmp_path / "1", "quick-64", n_train=100, n_eval=4))
    two = prepared(rmts(tmp_path / "2", "quick-64", n_train=100, n_eval=4), num_proc=2)
    for split in one:
        assert one[split].data.table.equals(two[split].data.table)
        assert one[split]._fingerprint == two[split]._fingerprint


def test_custom_configs(kind, tmp_path):
    builder = kind(tmp_path, geometry="quick", combinations=48, n_eval=8)
    assert builder.config.name == "quick-48"
    assert builder.config.n_eval == 8
    assert kind(tmp_path, "quick-48", n_eval=8).cache_dir == builder.cache_dir
    assert kind(tmp_path, geometry="b14", combinations=32).config.name == "b14-32"
    assert kind(tmp_path, n_train=8).config.name == "b16-256"
    assert kind(tmp_path, "quick-48").config.version == Scenes.VERSION


def test_every_parameter_has_its_own_cache(kind, tmp_path):
    variants = [
        {"config_name": "quick-32"},
        {"config_name": "quick-64"},
        {"config_name": "b16-32"},
        {"config_name": "quick-32", "n_train": 64},
        {"config_name": "quick-32", "n_eval": 64},
        {"config_name": "quick-32", "seed": 1},
        {"config_name": "quick-48"},
    ]
    folders = [kind(tmp_path, **variant).cache_dir for variant in variants]
    assert len(set(folders)) == len(folders)
    assert folders == [kind(tmp_path, **variant).cache_dir for variant in variants]
    assert Path(folders[0]).relative_to(tmp_path).parts[0] == kind.__name__


def test_contents_of_masks_and_palette_have_their_own_cache(tmp_path, own_objects):
    masks, palette = own_objects
    folder = discrimination(tmp_path, "quick-9", masks=masks, palette=palette).cache_dir
    assert (
        discrimination(tmp_path, "quick-9", masks=str(masks), palette=str(palette)).cache_dir
        == folder
    )
    palette.write_text(palette.read_text().replace("200", "190"))
    recolored = discrimination(tmp_path, "quick-9", masks=masks, palette=palette).cache_dir
    (masks / "ood" / "3.png").rename(masks / "0.png")
    redrawn = discrimination(tmp_path, "quick-9", masks=masks, palette=palette).cache_dir
    assert len({folder, recolored, redrawn}) == 3


def test_the_text_of_the_code_decides_the_cache(tmp_path, monkeypatch):
    sources = rows.sources()
    names = {path.name for path in sources}
    assert {
        "geometry.py",
        "objects.py",
        "scenes.py",
        "splits.py",
        "rendering.py",
        "png.py",
    } <= names
    assert {"common.py", "rows.py", "builder.py"} <= names
    copies = [tmp_path / str(i) / path.name for i, path in enumerate(sources)]
    for path, copy in zip(sources, copies):
        copy.parent.mkdir()
        shutil.copy(path, copy)
    before = rmts(tmp_path, "quick-32").cache_dir
    monkeypatch.setattr(rows, "sources", lambda: copies)
    assert rmts(tmp_path, "quick-32").cache_dir == before
    seen = {before}
    for copy in copies:
        copy.write_bytes(copy.read_bytes() + b"\n")
        seen.add(rmts(tmp_path, "quick-32").cache_dir)
    assert len(seen) == len(copies) + 1


def test_a_changed_generator_is_not_read_from_the_cache(tmp_path, monkeypatch):
    first = prepared(discrimination(tmp_path, "quick-256", n_train=4, n_eval=4))["train"]
    monkeypatch.setattr(rows, "encode_png", lambda picture: b"other")
    again = prepared(discrimination(tmp_path, "quick-256", n_train=4, n_eval=4))["train"]
    assert again.data.table.equals(first.data.table)  # same text: the cache is read
    changed = tmp_path / "png.py"
    changed.write_text("# changed")
    sources = [path for path in rows.sources() if path.name != "png.py"]
    monkeypatch.setattr(rows, "sources", lambda: [*sources, changed])
    other = prepared(discrimination(tmp_path, "quick-256", n_train=4, n_eval=4))["train"]
    assert not other.data.table.equals(first.data.table)


def test_own_objects_are_numbered(tmp_path, own_objects):
    masks, palette = own_objects
    builder = discrimination(tmp_path, "quick-9", n_train=8, n_eval=8, masks=masks, palette=palette)
    assert builder.info.features["shape"] == List(Value("int64"))
    splits = prepared(builder)
    assert tuple(splits) == ("train", "validation", "test")
    objects = ObjectSet.from_folder(masks, palette)
    table = sample(
        "discrimination", GEOMETRIES["quick"], "test", 8, combinations=9, objects=objects
    )
    np.testing.assert_array_equal(
        np.stack([np.asarray(image) for image in splits["test"]["image"]]), render(table)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"config_name": "b17-32"}, "unknown geometry 'b17': expected one of b16, b14"),
        ({"config_name": "b16"}, "config 'b16': expected GEOMETRY-COMBINATIONS"),
        ({"config_name": "b16-33"}, "combinations 33: expected a multiple of the 16 colors"),
        (
            {"config_name": "b16-32", "combinations": 64},
            "'b16-32' names the combinations: give it once",
        ),
        ({"n_train": 6}, "6 scenes cannot be balanced for rmts: choose a positive multiple of 4"),
        ({"n_eval": 0}, "0 scenes cannot be balanced"),
        ({"seed": -1}, "seed -1: expected 0"),
        (
            {"palette": "colors.json"},
            "palette colors.json without a folder of masks: name the folder too",
        ),
        ({"masks": "nowhere"}, "mask folder nowhere does not exist"),
    ],
)
def test_bad_input_is_one_line_with_the_cure(tmp_path, arguments, message):
    with pytest.raises(RelViTError, match=re.escape(message)) as caught:
        rmts(tmp_path, **arguments)
    assert "\n" not in str(caught.value)


def test_stimuli_need_neither_torch_nor_datasets():
    code = (
        "import sys, hf_relvit.stimuli.png, hf_relvit.stimuli.preview, hf_relvit.stimuli.rendering\n"
        "print({'torch', 'datasets', 'transformers'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


@pytest.mark.parametrize("kind", [discrimination, rmts, Counterfactuals])
def test_any_range_of_a_huge_set_is_made_in_the_memory_of_a_block(kind, tmp_path):
    name = "rmts-quick-32" if kind is Counterfactuals else "quick-32"
    builder = kind(tmp_path, name, n_train=10**7, n_eval=16)
    assert str(builder.config.version) == str(builder.info.version) == "1.1.0"
    middle = 5 * 10**6
    wanted = [(0, 2), (middle - 2, middle), (middle, middle + 2), (10**7 - 2, 10**7)]
    tracemalloc.start()
    made = list(builder._make("train", 10**7, wanted))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [key for key, _ in made] == [key for start, stop in wanted for key in range(start, stop)]
    assert most < 120 * 2**20
    again = list(builder._make("train", 10**7, wanted[2:3]))
    assert again == made[4:6]


def test_sets_as_large_as_before_keep_their_version(tmp_path):
    assert str(rmts(tmp_path, "quick-32", n_train=BLOCK).config.version) == "1.0.0"
    assert str(rmts(tmp_path, "quick-32", n_eval=BLOCK + 4).config.version) == "1.1.0"
    own = Counterfactuals(tmp_path, "rmts-quick-48", n_train=2 * BLOCK, n_eval=16)
    assert str(own.config.version) == "1.0.0"
