"""Every sentence about what does not change the rows, pixels or checksums, and the test that holds it as it stands."""

from __future__ import annotations

import re
import shlex
import zlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from hf_relvit import BuildConfig, build, cli
from hf_relvit.building import farm
from hf_relvit.building.card import rebuild_command
from hf_relvit.building.checksum import rows_checksum
from hf_relvit.building.dataset_folder import check_folder, open_folder
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.stimuli import png
from hf_relvit.stimuli.photorealistic.masks import patch_cover
from hf_relvit.stimuli.photorealistic.scenes import SceneOptions
from hf_relvit.stimuli.scenes import sample

ROOT = Path(__file__).parents[1]
BUILT = {
    "rmts": BuildConfig("rmts", "quick-32", n_train=20, n_eval=8, seed=3),
    "discrimination": BuildConfig("discrimination", "quick-256", n_train=20, n_eval=8),
    "counterfactuals": BuildConfig("counterfactuals", "rmts-quick-32", n_train=32, n_eval=16),
    "photorealistic": BuildConfig("photorealistic", "tiny"),
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """One file of rows that has every type of column."""
    out = tmp_path_factory.mktemp("rows")
    folder = build(BUILT["photorealistic"], out, say=print)
    return folder / "test-00000-of-00001.parquet"


STORED = {
    "a codec": {"compression": "gzip"},
    "no codec": {"compression": "none"},
    "small row groups": {"row_group_size": 5},
    "an older format": {"version": "1.0", "use_dictionary": False},
}


@pytest.mark.parametrize("options", STORED)
def test_checksum_is_the_same_however_parquet_stores_the_rows(rows, options, tmp_path):
    pq.write_table(pq.read_table(rows), tmp_path / "other.parquet", **STORED[options])
    assert rows_checksum([tmp_path / "other.parquet"]) == rows_checksum([rows])


@pytest.mark.parametrize("pieces", [1, 2, 5, 32])
def test_checksum_is_the_same_for_any_number_of_files(rows, pieces, tmp_path):
    table = pq.read_table(rows)
    files = []
    for number in range(pieces):
        start = number * len(table) // pieces
        stop = (number + 1) * len(table) // pieces
        files.append(tmp_path / f"{number}.parquet")
        pq.write_table(table.slice(start, stop - start), files[-1])
    assert rows_checksum(files) == rows_checksum([rows])


@pytest.mark.parametrize("strategy", [zlib.Z_RLE, zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY])
def test_checksum_is_the_same_for_any_zlib(strategy, tmp_path, monkeypatch):
    settings = BuildConfig("rmts", "quick-32", n_train=4, n_eval=4)
    usual = check_folder(build(settings, tmp_path / "usual", say=print).parent, "quick-32")
    compressed = zlib.compressobj
    monkeypatch.setattr(
        png.zlib, "compressobj", lambda **options: compressed(level=9, strategy=strategy)
    )
    other = check_folder(build(settings, tmp_path / "other", say=print).parent, "quick-32")
    assert [s["checksum"] for s in other["splits"]] == [s["checksum"] for s in usual["splits"]]


@pytest.mark.parametrize("task", BUILT)
def test_the_command_of_a_card_makes_the_same_bytes(task, tmp_path):
    settings = BUILT[task]
    folder = build(settings, tmp_path / "first", say=print)
    command = rebuild_command(check_folder(folder.parent, settings.config), tmp_path / "again")
    assert command in _card(folder).replace("--out DIR", f"--out {tmp_path / 'again'}")
    with pytest.raises(SystemExit) as end:
        cli.main([*shlex.split(command)[1:], "--processes", "1"])
    assert end.value.code == 0
    again = tmp_path / "again" / settings.config
    for path in folder.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


def _card(folder):
    return (folder.parent / "README.md").read_text(encoding="utf-8")


@pytest.mark.long
@pytest.mark.parametrize("task", ["rmts", "counterfactuals", "photorealistic"])
@pytest.mark.parametrize("processes", [2, 3])
def test_rows_are_the_same_for_any_number_of_processes(task, processes, tmp_path):
    settings = BUILT[task]
    build(settings, tmp_path / "one", say=print)
    build(settings, tmp_path / "many", processes=processes, say=print)
    one = open_folder(tmp_path / "one", settings.config)
    many = open_folder(tmp_path / "many", settings.config)
    for split, data in one.items():
        assert data.data.table.combine_chunks().equals(many[split].data.table.combine_chunks())


@pytest.mark.parametrize("task", ["rmts", "discrimination"])
def test_pixels_are_the_same_in_any_batch_and_order(task):
    scenes = sample(task, GEOMETRIES["quick"], "test", 200, combinations=32)
    pictures = scenes.pixels()
    order = np.random.default_rng(0).permutation(200)
    np.testing.assert_array_equal(scenes[order].pixels(), pictures[order])
    for start in range(0, 200, 37):
        rows = slice(start, start + 37)
        np.testing.assert_array_equal(scenes[rows].pixels(), pictures[rows])


@pytest.mark.parametrize("size", [7, 16, 50, 97, 224])
@pytest.mark.parametrize("grid", [1, 4, 7])
def test_cover_of_patches_is_exact_for_any_number_of_pixels(size, grid):
    mask = np.random.default_rng(size).integers(0, 3, (size, size), dtype=np.uint8)
    cover = patch_cover(mask, grid)
    edges = np.arange(grid + 1) * size
    low = np.arange(size) * grid  # in units of 1 / (size * grid) of the side
    overlap = np.minimum(edges[1:, None], low + grid) - np.maximum(edges[:-1, None], low)
    overlap = overlap.clip(0)
    for number in (1, 2):
        exact = overlap @ (mask == number) @ overlap.T / size**2
        np.testing.assert_allclose(cover[number - 1], exact, atol=2e-6)


@pytest.mark.render
def test_rendered_pairs_are_the_same_for_any_number_of_processes(tmp_path):
    job = farm.Job(SceneOptions(n=4), size=32)
    stashes = [tmp_path / "one", tmp_path / "two"]
    for processes, stash in enumerate(stashes, 1):
        farm.Farm(job, stash).run(processes, range(2), "objects", "generator")
    for number in range(2):
        one, two = (farm.Farm(job, stash).pair(number) for stash in stashes)
        alone = farm.make_pair(job, number)
        for pair in (two, alone):
            assert pair.scenes == one.scenes
            np.testing.assert_array_equal(pair.images, one.images)
            np.testing.assert_array_equal(pair.masks, one.masks)


HERE = "test_determinism"
SENTENCES = [
    ("hf_relvit/building/checksum.py", "the same for any number of files, zlib and pyarrow", [
        f"{HERE}::test_checksum_is_the_same_however_parquet_stores_the_rows",
        f"{HERE}::test_checksum_is_the_same_for_any_number_of_files",
        f"{HERE}::test_checksum_is_the_same_for_any_zlib",
    ]),
    ("hf_relvit/building/build.py", "the rows do not depend on it, only how many files hold them", [
        f"{HERE}::test_rows_are_the_same_for_any_number_of_processes",
        "dataset_builders/test_build::test_processes_change_the_files_but_not_the_rows",
    ]),
    ("hf_relvit/building/build.py", "joins them into the folder of a single machine, file by file", [
        "dataset_builders/test_shards::test_shards_in_any_order_join_to_what_one_machine_writes",
        "dataset_builders/test_photorealistic::"
        "test_shards_go_on_where_they_were_and_join_to_what_one_machine_renders",
    ]),
    ("hf_relvit/building/common.py", "makes the same rows", [
        "dataset_builders/test_common::test_number_of_processes_does_not_change_the_rows",
        "dataset_builders/test_counterfactuals::test_any_number_of_processes_makes_the_same_rows",
    ]),
    ("hf_relvit/building/shards.py", "for any number of processes or machines", [
        f"{HERE}::test_rows_are_the_same_for_any_number_of_processes",
        "dataset_builders/test_shards::test_shards_in_any_order_join_to_what_one_machine_writes",
    ]),
    ("hf_relvit/building/card.py", "makes a config once more, bit for bit", [
        f"{HERE}::test_the_command_of_a_card_makes_the_same_bytes",
    ]),
    ("hf_relvit/dataset_builders/scenes/README.md", "does not depend on the number of processes or files", [
        f"{HERE}::test_checksum_is_the_same_for_any_number_of_files",
        f"{HERE}::test_rows_are_the_same_for_any_number_of_processes",
    ]),
    ("hf_relvit/dataset_builders/counterfactuals/README.md",
     "does not depend on the number of processes or files", [
        f"{HERE}::test_checksum_is_the_same_for_any_number_of_files",
        f"{HERE}::test_rows_are_the_same_for_any_number_of_processes",
    ]),
    ("hf_relvit/dataset_builders/photorealistic/README.md",
     "gives the same pixels for the same renderer", [
        "stimuli/photorealistic/test_rendering::"
        "test_the_same_row_gives_the_same_pixels_alone_and_in_sequence",
        "stimuli/photorealistic/test_rendering::"
        "test_the_same_row_gives_the_same_pixels_however_often",
        f"{HERE}::test_rendered_pairs_are_the_same_for_any_number_of_processes",
    ]),
    ("hf_relvit/dataset_builders/photorealistic/README.md",
     "alone or in sequence, with any number of processes", [
        "stimuli/photorealistic/test_rendering::"
        "test_the_same_row_gives_the_same_pixels_alone_and_in_sequence",
        f"{HERE}::test_rendered_pairs_are_the_same_for_any_number_of_processes",
    ]),
    ("docs/photorealistic.md", "gives the same pixels for one variant of the renderer", [
        "stimuli/photorealistic/test_rendering::"
        "test_the_same_row_gives_the_same_pixels_however_often",
        "dataset_builders/test_photorealistic::test_the_shipped_rows_are_what_is_drawn_today",
    ]),
    ("hf_relvit/stimuli/photorealistic/rendering.py", "Equal rows give equal bytes", [
        "stimuli/photorealistic/test_rendering::"
        "test_the_same_row_gives_the_same_pixels_alone_and_in_sequence",
        "stimuli/photorealistic/test_rendering::"
        "test_the_same_row_gives_the_same_pixels_however_often",
    ]),
    ("hf_relvit/stimuli/photorealistic/masks.py", "exact for any number of pixels", [
        f"{HERE}::test_cover_of_patches_is_exact_for_any_number_of_pixels",
    ]),
    ("hf_relvit/stimuli/rendering.py", "the same bits in any batch, order or process", [
        f"{HERE}::test_pixels_are_the_same_in_any_batch_and_order",
        "stimuli/test_scenes::test_one_scene_alone_in_a_fresh_process_is_the_same_bit_for_bit",
    ]),
    ("hf_relvit/stimuli/splits.py", "does not change the picture", [
        "stimuli/test_splits::"
        "test_every_scene_belongs_to_exactly_one_split_whatever_the_order_in_a_pair",
    ]),
    ("hf_relvit/stimuli/photorealistic/placement.py", "whatever else is drawn before", [
        "stimuli/photorealistic/test_placement::test_a_scene_does_not_depend_on_the_others",
    ]),
    ("hf_relvit/analysis/knockout.py", "Does not change the result beyond rounding", [
        "analysis/test_knockout::test_numbers_of_a_real_model_in_any_batch_and_from_a_file",
    ]),
    ("docs/how_to/stimuli.md", "The same settings give the same bits, with any number of processes", [
        f"{HERE}::test_rows_are_the_same_for_any_number_of_processes",
    ]),
    ("docs/how_to/own_model.md", "the ordinary class of the family, the same logits", [
        "modeling/test_plain::test_plain_model_has_the_same_logits_and_comes_back",
    ]),
    ("docs/how_to/cluster.md", "into the data set of one machine, byte for byte", [
        "dataset_builders/test_shards::test_shards_in_any_order_join_to_what_one_machine_writes",
    ]),
    ("docs/hub.md", "All of them give the same logits", [
        "hub/test_reopen::test_the_logits_are_the_same_everywhere",
    ]),
    ("docs/extending.md", "transformers class with the same logits", [
        "modeling/test_plain::test_plain_model_has_the_same_logits_and_comes_back",
    ]),
    ("hf_relvit/modeling/families.py", "transformers class with the same logits", [
        "modeling/test_plain::test_plain_model_has_the_same_logits_and_comes_back",
    ]),
    ("hf_relvit/modeling/modeling_relvit.py", "transformers classifier with the same logits", [
        "modeling/test_plain::test_plain_model_has_the_same_logits_and_comes_back",
    ]),
    ("hf_relvit/modeling/plain.py", "transformers classifier with the same logits", [
        "modeling/test_plain::test_plain_model_has_the_same_logits_and_comes_back",
    ]),
    ("hf_relvit/modeling/plain.py", "with the same logits as an ordinary same/different classifier", [
        "modeling/test_plain::test_plain_model_has_the_same_logits_and_comes_back",
    ]),
    ("hf_relvit/modeling/processing.py", "so results are the same bit for bit", [
        "modeling/test_processing::test_pixels_equal_those_of_the_processor_bit_for_bit",
    ]),
    ("hf_relvit/model_cards/relvit.md", "the same again, bit for bit", [
        f"{HERE}::test_the_command_of_a_card_makes_the_same_bytes",
    ]),
    ("hf_relvit/stimuli/objects.py", "stimuli must be the same bit for bit", [
        "stimuli/test_objects::test_silhouettes_never_change",
    ]),
    ("hf_relvit/training/data.py", "item ``i`` is the same whoever asks for it and when", [
        "training/test_data::test_a_batch_equals_its_items_in_any_order",
        "training/test_data::test_fresh_scenes_never_repeat_and_are_the_same_for_everyone",
        "training/test_spawned_workers::test_scenes_are_the_same_in_workers_that_are_not_forked",
    ]),
    ("hf_relvit/training/data.py", "an accelerator to render on, the same pixels", [
        "training/test_device_rendering::test_a_dataset_of_either_kind_is_the_same",
    ]),
    ("hf_relvit/training/device_rendering.py", "bit for bit as ``stimuli.rendering`` makes them", [
        "training/test_device_rendering::test_the_same_pixels_to_the_bit",
    ]),
    ("hf_relvit/training/run.py", "others that do not change the trained weights", [
        "training/test_surroundings::test_settings_that_change_no_weights_may_change_in_the_folder",
        "training/test_trainer::test_gradient_checkpointing_changes_nothing",
    ]),
    ("hf_relvit/training/trainer.py", "is that of an uninterrupted one", [
        "training/test_special_arguments::test_a_resumed_log_is_that_of_an_uninterrupted_training",
    ]),
    ("hf_relvit/training/evaluation.py", "oes not change the result beyond rounding", [
        "training/test_evaluation::test_batch_1_equals_batch_64",
    ]),
    ("hf_relvit/study/cells.py", "does not change the rows", [
        f"{HERE}::test_rows_are_the_same_for_any_number_of_processes",
    ]),
    ("hf_relvit/recipes/recipe.py", "goes to disk. Does not change the result.", [
        "analysis/test_das::test_activations_on_disk_give_the_same_bits",
    ]),
    ("hf_relvit/analysis/probes.py", "is on disk. Does not change the result.", [
        "analysis/test_activations::test_residuals_are_the_same_in_memory_on_disk_and_in_parts",
    ]),
    ("hf_relvit/analysis/alignment_methods.py", "Deterministic by seed on the CPU, to the bit", [
        "analysis/test_das::test_a_seed_gives_the_same_bits_and_another_one_does_not",
    ]),
    ("hf_relvit/analysis/activations.py", "does not change the result beyond rounding", [
        "analysis/test_activations::test_batches_of_one_and_of_many_agree",
    ]),
    ("hf_relvit/analysis/attention.py", "Does not change the result beyond rounding", [
        "analysis/test_attention::test_the_batch_size_changes_nothing",
    ]),
    ("hf_relvit/analysis/novel.py", "Does not change the result beyond rounding", [
        "analysis/test_novel::test_real_model_save_load_plot_and_batch_size",
    ]),
    ("hf_relvit/analysis/scores.py", "does not change the result beyond rounding", [
        "analysis/test_alignment::test_the_batch_size_changes_nothing",
    ]),
    ("hf_relvit/analysis/similarity.py", "oes not change the result beyond rounding", [
        "analysis/test_similarity::test_likeness_by_hand_and_in_any_batch",
    ]),
    ("hf_relvit/analysis/steering.py", "Does not change the result beyond rounding", [
        "analysis/test_steering::test_the_batch_size_changes_nothing",
    ]),
]  # fmt: skip
PHRASES = re.compile(
    r"bit for bit\b|\bto the bit|byte for byte|equal bytes|same bits in|any number of (processes|files|pixels)"
    r"|makes the same rows|rows do not depend|same pixels\b(?! again)|same logits|does not depend on the number"
    r"|oes not change the (picture|result|rows|trained)|is the same whoever|that of an uninterrupted"
)
PLACES = ["hf_relvit", "docs", "README.md", "SECURITY.md"]
MADE = ROOT / "docs" / "reference"  # by `make docs`, from the code


@pytest.mark.parametrize(("file", "sentence", "tests"), SENTENCES)
def test_every_sentence_stands_there_and_has_its_tests(file, sentence, tests):
    assert sentence in _prose(ROOT / file)
    for test in tests:
        path, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / "tests" / f"{path}.py").read_text(encoding="utf-8"), test


def test_no_sentence_is_left_out():
    for place in PLACES:
        path = ROOT / place
        files = [path] if path.is_file() else [*path.rglob("*.py"), *path.rglob("*.md")]
        for file in files:
            if MADE in file.parents:
                continue
            prose = _prose(file)
            listed = [text for name, text, _ in SENTENCES if ROOT / name == file]
            for text in listed:
                prose = prose.replace(text, "")
            left = PHRASES.search(prose)
            assert left is None, f"{file} says {left and left[0]!r} without a test in SENTENCES"


def _prose(file):
    return " ".join(file.read_text(encoding="utf-8").split())
