import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from huggingface_hub import DatasetCard
from PIL import Image

from hf_relvit.building import build as module
from hf_relvit.building.build import build
from hf_relvit.building.checksum import rows_checksum
from hf_relvit.building.dataset_folder import check_folder, open_folder
from hf_relvit.building.settings import BuildConfig
from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.stimuli.rendering import render
from hf_relvit.stimuli.scenes import sample
from hf_relvit.stimuli.splits import SPLITS

SMALL = {"n_train": 16, "n_eval": 8}


def silent(text):
    raise AssertionError(f"nothing should be said, but: {text}")


def small(out, task="rmts", config="quick-32", say=silent, num_proc=1, **options):
    return build(
        BuildConfig(task, config, **{**SMALL, **options}), out, processes=num_proc, say=say
    )


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """Two configs in one folder."""
    datasets.disable_progress_bars()
    out = tmp_path_factory.mktemp("pristine") / "rmts"
    small(out)
    small(out, config="b16-256")
    return out


@pytest.fixture
def built(pristine, tmp_path):
    """A copy that a test may damage."""
    out = tmp_path / "rmts"
    subprocess.run(["cp", "-r", pristine, out], check=True)
    return out


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("streaming", [False, True])
def test_plain_load_dataset_opens_the_folder(pristine, tmp_path, streaming):
    for config, split in (
        ("quick-32", "test_compositional"),
        ("b16-256", "test"),
        ("quick-32", "train"),
    ):
        data = load_dataset(
            str(pristine), config, split=split, streaming=streaming, cache_dir=str(tmp_path)
        )
        geometry, combinations = config.split("-")
        n = 16 if split == "train" else 8
        table = sample("rmts", GEOMETRIES[geometry], split, n, combinations=int(combinations))
        rows = list(data)
        assert len(rows) == n
        np.testing.assert_array_equal(
            np.stack([np.asarray(row["image"]) for row in rows]), render(table)
        )
        assert [row["label"] for row in rows] == table.label.tolist()
        assert data.features["label"].names == ["different", "same"]
    assert datasets.get_dataset_config_names(str(pristine)) == ["b16-256", "quick-32"]
    assert set(datasets.get_dataset_split_names(str(pristine), "quick-32")) == set(SPLITS)


def test_open_folder_gives_the_same_rows_without_any_cache(pristine, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    opened = open_folder(pristine, "quick-32")
    assert tuple(opened) == SPLITS
    plain = load_dataset(str(pristine), "quick-32", cache_dir=str(tmp_path / "plain"))
    for split, data in opened.items():
        assert data.features == plain[split].features
        assert data.with_format("arrow")[:].equals(plain[split].with_format("arrow")[:])
    assert not (tmp_path / "cache").exists()


def test_building_leaves_nothing_but_the_dataset(tmp_path, monkeypatch):
    cache, scratch = tmp_path / "cache", tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    monkeypatch.setattr(module.tempfile, "tempdir", str(scratch))
    out = tmp_path / "out"
    assert small(out) == out / "quick-32"
    assert not cache.exists() or not any(cache.iterdir())
    assert not any(scratch.iterdir())
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "columns.png", "quick-32"]
    shards = [f"{split}-00000-of-00001.parquet" for split in SPLITS]
    assert sorted(os.listdir(out / "quick-32")) == sorted(
        [*shards, "dataset_info.json", "manifest.json"]
    )
    for name, text in contents(out).items():
        assert str(tmp_path).encode() not in text, name


def test_processes_change_the_files_but_not_the_rows(pristine, tmp_path):
    small(tmp_path / "two", num_proc=2)
    two, one = check_folder(tmp_path / "two", "quick-32"), check_folder(pristine, "quick-32")
    assert [s["checksum"] for s in one["splits"]] == [s["checksum"] for s in two["splits"]]
    assert len(two["files"]) == 2 * len(one["files"])
    for split, data in open_folder(tmp_path / "two", "quick-32").items():
        assert data.to_list() == open_folder(pristine, "quick-32")[split].to_list()


def test_checksum_sees_every_column_and_pixel(pristine):
    path = pristine / "quick-32" / "test-00000-of-00001.parquet"
    table = pq.read_table(path)
    changed = path.with_name("changed.parquet")
    seen = {rows_checksum([path])}
    for name in table.column_names:
        values = table[name].to_pylist()
        order = [values[1], values[0], *values[2:]]
        if order == values:  # constant columns
            order = [np.add(value, 1).tolist() for value in values]
        column = pa.array(order, table.schema.field(name).type)
        pq.write_table(
            table.set_column(table.column_names.index(name), table.schema.field(name), column),
            changed,
        )
        seen.add(rows_checksum([changed]))
    changed.unlink()
    assert len(seen) == len(table.column_names) + 1


def test_a_finished_build_is_left_alone(built):
    before, said = contents(built), []
    times = {path: path.stat().st_mtime_ns for path in (built / "quick-32").iterdir()}
    assert small(built, say=said.append, num_proc=2) == built / "quick-32"
    assert said == [f"{built / 'quick-32'} is finished and sound: nothing to do"]
    assert contents(built) == before
    assert times == {path: path.stat().st_mtime_ns for path in (built / "quick-32").iterdir()}


def test_card(pristine):
    card = DatasetCard.load(pristine / "README.md")
    assert card.data.license == "apache-2.0"
    assert [c["config_name"] for c in card.data["configs"]] == ["b16-256", "quick-32"]
    for config, info in zip(card.data["configs"], card.data["dataset_info"]):
        assert info["config_name"] == config["config_name"]
        assert [s["name"] for s in info["splits"]] == [f["split"] for f in config["data_files"]]
        for entry in config["data_files"]:
            assert all((pristine / path).exists() for path in entry["path"])
        manifest = check_folder(pristine, config["config_name"])
        assert (
            f"relvit data build rmts --config {manifest['config']} --n-train 16 --n-eval 8 --seed 0"
            in card.text
        )
        assert f"| `{manifest['config']}` | train 16, validation 8, test 8" in card.text
    for needed in (
        "2406.15955",
        "Lepori",
        "Apache-2.0",
        "by a hash of objects and places",
        "With 16 combinations",
        "manifest.json",
    ):
        assert needed in card.text
    assert "{{" not in card.text
    assert "{%" not in card.text


def test_card_shows_its_columns_and_sizes(pristine):
    card = DatasetCard.load(pristine / "README.md")
    assert "](columns.png)" in card.text
    with Image.open(pristine / "columns.png") as sheet:
        assert sheet.width > 4 * 256 and sheet.height > 256
        assert len(sheet.getcolors(1 << 20)) > 100  # scenes are noisy: it shows them
    assert card.data["size_categories"] == ["n<1K"]
    assert [c["config_name"] for c in card.data["configs"] if c.get("default")] == ["b16-256"]
    assert '"b16-256", split="test")' in card.text
    for config in ("b16-256", "quick-32"):
        size = sum(f["bytes"] for f in check_folder(pristine, config)["files"].values())
        assert f"test_ood_shape_color 8 | {size / 1e6:.1f} | 0 |" in card.text


def test_card_names_every_column(pristine):
    text = DatasetCard.load(pristine / "README.md").text
    for column in open_folder(pristine, "quick-32")["test"].column_names:
        assert f"`{column}`" in text


def test_card_says_whose_objects_they_are(tmp_path, own_objects):
    masks, palette = own_objects
    out = tmp_path / "own"
    small(out, "discrimination", "quick-9", masks=masks, palette=palette)
    text = (out / "README.md").read_text()
    assert "(not ours)" in text
    assert "--masks YOUR_MASKS" in text
    assert "does not cover those" in text
    assert set(open_folder(out, "quick-9")) == {"train", "validation", "test"}
    for name, data in contents(out).items():
        assert str(tmp_path).encode() not in data, name


@pytest.mark.parametrize("harm", ["missing", "truncated", "flipped bit", "empty"])
def test_a_harmed_shard_is_named_and_mended(built, harm):
    shard = built / "quick-32" / "test-00000-of-00001.parquet"
    sound = shard.read_bytes()
    if harm == "missing":
        shard.unlink()
    elif harm == "flipped bit":
        shard.write_bytes(sound[:500] + bytes([sound[500] ^ 1]) + sound[501:])
    else:
        shard.write_bytes(sound[: len(sound) // 2] if harm == "truncated" else b"")
    state = "is missing" if harm == "missing" else "is damaged"
    for function in (check_folder, open_folder):
        with pytest.raises(RelViTError) as caught:
            function(built, "quick-32")
        assert (
            f"{shard} {state}: make it again with `relvit data build rmts --config quick-32"
            in str(caught.value)
        )
    check_folder(built, "b16-256")  # the other config is sound
    said = []
    small(built, say=said.append)
    assert said == [f"{shard} {state}: making all of {built / 'quick-32'} again"]
    assert shard.read_bytes() == sound
    check_folder(built, "quick-32")


def test_another_version_of_the_generator_is_replaced(built):
    path = built / "quick-32" / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "generator": "0123456789abcdef"}))
    said = []
    small(built, say=said.append)
    assert said == [
        f"{built / 'quick-32'} was drawn by another version of the generator: making it again"
    ]
    assert json.loads(path.read_text()) == manifest


@pytest.mark.parametrize("change", [{"seed": 1}, {"n_train": 20}, {"n_eval": 4}])
def test_another_request_never_overwrites(built, change):
    before = contents(built)
    ((key, value),) = change.items()
    with pytest.raises(
        RelViTError, match=rf"was built with {key} \d+, not {value}: delete it, or choose"
    ):
        small(built, **change)
    assert contents(built) == before


def test_a_missing_card_is_written_again(built):
    card = (built / "README.md").read_bytes()
    (built / "README.md").unlink()
    small(built, say=lambda text: None)
    assert (built / "README.md").read_bytes() == card


@pytest.mark.parametrize("num_proc", [1, 2])
def test_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, num_proc):
    # Spawned workers are told by a file that Python runs at its start.
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import errno, os\n"
        "import pyarrow.parquet as pq\n"
        "def full(*arguments, **options):\n"
        "    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))\n"
        "pq.ParquetWriter.write_table = full\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setattr(pq.ParquetWriter, "write_table", pq.ParquetWriter.write_table)
    exec((tmp_path / "site" / "sitecustomize.py").read_text(), {})
    with pytest.raises(
        RelViTError, match=r"disk is full while writing .*quick-32, .*: free some"
    ) as caught:
        small(tmp_path / "out", num_proc=num_proc)
    assert "\n" not in str(caught.value)
    assert not any((tmp_path / "out").iterdir())


def test_full_disk_while_the_card_is_written(built, monkeypatch):
    before = contents(built)
    (built / "quick-32" / "train-00000-of-00001.parquet").unlink()

    def full(self, *args, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(module.Path, "write_text", full)
        with pytest.raises(RelViTError, match="the disk is full"):
            small(built, say=lambda text: None)
    small(built, say=lambda text: None)
    assert contents(built) == before


@pytest.mark.long
@pytest.mark.parametrize(
    ("signum", "num_proc"), [(signal.SIGKILL, 1), (signal.SIGINT, 1), (signal.SIGINT, 2)]
)
def test_an_interrupted_build_never_looks_finished(tmp_path, signum, num_proc):
    out = tmp_path / "out"
    code = (  # a process started in the background by a shell ignores Ctrl-C
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from hf_relvit import BuildConfig, build\n"
        "settings = BuildConfig('discrimination', 'b16-256', n_train=60000, n_eval=8)\n"
        f"build(settings, {str(out)!r}, processes={num_proc})"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 60
        while not list(out.glob(".*.partial-*/*/*.parquet")) and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.02)
        time.sleep(0.2)
        os.killpg(process.pid, signum)  # as a terminal does
        said = process.communicate(timeout=30)[1]
        assert process.returncode == -signum
    finally:
        process.kill()
    left = [path.name for path in out.iterdir()]
    assert all(name.startswith(".") for name in left)
    if signum == signal.SIGINT:
        assert not left
        assert said.count("Traceback") == 1  # python's own, none of the workers'
    with pytest.raises(RelViTError, match=r"no dataset 'b16-256' in .*: make one with"):
        open_folder(out, "b16-256")
    small(out, "discrimination", "b16-256")
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "b16-256", "columns.png"]


def test_building_works_in_any_thread(tmp_path):
    with ThreadPoolExecutor() as threads:
        threads.submit(small, tmp_path / "out").result()
    check_folder(tmp_path / "out", "quick-32")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "rmtz"}, "unknown task 'rmtz': expected one of discrimination, rmts"),
        ({"config": "b16-33"}, "combinations 33: expected a multiple"),
        ({"config": "quik-32"}, "unknown geometry 'quik'"),
        ({"n_train": 7}, "7 scenes cannot be balanced for rmts"),
        ({"masks": "nowhere"}, "mask folder nowhere does not exist"),
    ],
)
def test_bad_input_writes_nothing(tmp_path, arguments, message):
    with pytest.raises(RelViTError, match=message):
        small(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_folders_of_others_are_left_alone(built, tmp_path):
    with pytest.raises(
        RelViTError, match="holds rmts scenes, not discrimination: choose another --out"
    ):
        small(built, "discrimination", "b14-32")
    other = tmp_path / "other"
    (other / "quick-32").mkdir(parents=True)
    with pytest.raises(
        RelViTError, match="quick-32 exists and is no finished dataset: delete it, or choose"
    ):
        small(other)
    (other / "README.md").write_text("# My thesis")
    with pytest.raises(
        RelViTError, match=r"holds another project's README.md: choose another --out"
    ):
        small(other, config="b14-32")
    (tmp_path / "file").write_text("")
    with pytest.raises(RelViTError, match="cannot be written"):
        small(tmp_path / "file")


def test_unknown_configs_name_the_ones_there_are(pristine, tmp_path):
    with pytest.raises(
        RelViTError, match=r"no dataset 'b16-32' in .*: expected one of b16-256, quick-32"
    ):
        open_folder(pristine, "b16-32")
    with pytest.raises(
        RelViTError, match=r"no dataset 'b16-32' in .*: make one with `relvit data build`"
    ):
        open_folder(tmp_path, "b16-32")


def test_what_the_disk_cannot_hold_is_refused_before_any_work(tmp_path, monkeypatch):
    disk = shutil.disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr("hf_relvit.limits.shutil.disk_usage", lambda folder: disk)
    with pytest.raises(
        RelViTError, match=r"on the disk of .*: choose at most 20, or another --out"
    ):
        build(BuildConfig("rmts", "quick-32", n_train=400, n_eval=40), tmp_path / "rmts")
    assert not (tmp_path / "rmts").exists() or not list((tmp_path / "rmts").iterdir())
