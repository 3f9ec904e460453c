import io
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hf_relvit.building import farm
from hf_relvit.building.build import build
from hf_relvit.building.dataset_folder import check_folder, open_folder
from hf_relvit.building.montage import montage, outlined
from hf_relvit.building.photorealistic_rows import PATCH, rows
from hf_relvit.building.settings import BuildConfig
from hf_relvit.building.shards import Shard
from hf_relvit.cli import main
from hf_relvit.dataset_builders import photorealistic
from hf_relvit.dataset_builders.photorealistic.builder import Photorealistic
from hf_relvit.errors import RelViTError
from hf_relvit.files import read_json
from hf_relvit.stimuli.photorealistic.masks import mask_patches
from hf_relvit.stimuli.photorealistic.scenes import PhotoScene, SceneOptions

SHIPPED = Path(photorealistic.__path__[0])
SIZE = 32


@pytest.fixture(scope="module")
def tiny():
    """The 32 images that come with the package, opened without the renderer."""
    return open_folder(SHIPPED, "tiny")["test"]


@pytest.fixture
def quick_renderer(monkeypatch):
    """Draws noise instead of tracing paths, and counts."""
    drawn = []

    def make_pair(job, number):
        drawn.append(number)
        tiny = open_folder(SHIPPED, "tiny")["test"]
        scenes = tuple(
            PhotoScene.from_row(json.loads(tiny[2 * (number % 16) + i]["scene"])) for i in range(2)
        )
        scenes = tuple(
            PhotoScene(**{**scene.__dict__, "index": 2 * number + i})
            for i, scene in enumerate(scenes)
        )
        rng = np.random.default_rng(number)
        masks = np.zeros((2, SIZE, SIZE), dtype=np.uint8)
        masks[:, :8, :8], masks[:, 20:, 20:] = 1, 2
        return farm.Pair(scenes, rng.integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8), masks)

    monkeypatch.setattr(farm, "make_pair", make_pair)
    monkeypatch.setattr(
        "hf_relvit.dataset_builders.photorealistic.builder.choose_variant", lambda wanted: wanted
    )
    return drawn


def test_the_shipped_set_is_small_sound_balanced_and_of_twins(tiny):
    manifest = check_folder(SHIPPED, "tiny")
    assert sum(facts["bytes"] for facts in manifest["files"].values()) < 600_000
    assert len(tiny) == 32
    columns = tiny.with_format("numpy")
    assert np.mean(columns["label"]) == 0.5
    assert np.bincount(columns["level"]).tolist() == [0, 16, 16]
    by_index = {row["index"]: row for row in tiny}
    for row in tiny:
        twin = by_index[row["twin"]]
        assert row["label"] != twin["label"]
        one, other = np.asarray(row["image"], dtype=int), np.asarray(twin["image"], dtype=int)
        elsewhere = (np.asarray(row["mask"]) == 0) & (np.asarray(twin["mask"]) == 0)
        assert np.median(np.abs(one - other)[elsewhere]) <= 2  # but for shadows, and JPEG
        same = (row["object"][0], row["tint"][0]) == (row["object"][1], row["tint"][1])
        assert same == bool(row["label"])


def test_the_shipped_images_are_lit_like_a_room(tiny):
    means = [np.asarray(row["image"].convert("L")).mean() for row in tiny]
    assert np.mean([60 < mean < 190 for mean in means]) >= 0.95


def test_columns_follow_from_the_mask_and_the_scene(tiny):
    for row in tiny:
        mask, scene = np.asarray(row["mask"]), PhotoScene.from_row(json.loads(row["scene"]))
        assert row["patches"] == [ids.tolist() for ids in mask_patches(mask, 224 // PATCH)]
        assert row["visible"] == list(scene.visible)
        assert row["occlusion"] == 1 - min(scene.visible) <= 0.5
        assert (row["index"], row["label"], row["object"]) == (
            scene.index,
            scene.label,
            list(scene.objects),
        )
        assert row["distance"] == scene.distance
        assert not any(edge.any() for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))


def test_a_build_opens_resumes_and_knows_when_it_is_done(tmp_path, quick_renderer):
    said = []
    settings = BuildConfig("photorealistic", "default", n_eval=8)
    stash = tmp_path / ".default.rendered"
    Photorealistic(str(tmp_path / "lock"), "default", n_eval=8).render(str(stash), 1)
    assert quick_renderer == [0, 1, 2, 3]
    farm.pair_file(stash, 2).unlink()  # as if killed
    build(settings, tmp_path, say=said.append)
    assert quick_renderer == [0, 1, 2, 3, 2]
    assert not stash.exists()
    data = open_folder(tmp_path, "default")["test"]
    assert data["index"][:] == list(range(8))
    assert np.asarray(data[5]["image"]).shape == (SIZE, SIZE, 3)
    build(settings, tmp_path, say=said.append)
    assert said == [f"{tmp_path / 'default'} is finished and sound: nothing to do"]
    card = (tmp_path / "README.md").read_text()
    assert (
        "relvit data build photorealistic --config default --n-train 0 --n-eval 8 --seed 0 --out DIR"
        in card
    )
    assert (tmp_path / "columns.png").exists()


def test_options_of_the_scenes_reach_the_renderer_the_manifest_and_the_card(
    tmp_path, monkeypatch, quick_renderer
):
    jobs = []
    rendered = farm.make_pair
    monkeypatch.setattr(
        farm, "make_pair", lambda job, number: jobs.append(job) or rendered(job, number)
    )
    command = [
        "data",
        "build",
        "photorealistic",
        "--config",
        "default",
        "--n-eval",
        "8",
        "--processes",
        "1",
    ]
    options = ["--full-rotation", "--color-share", "1.0", "--size", "64"]
    with pytest.raises(SystemExit) as end:
        main([*command, *options, "--out", str(tmp_path)])
    assert end.value.code == 0
    assert {(job.options.full_rotation, job.options.color_share, job.size) for job in jobs} == {
        (True, 1.0, 64)
    }
    manifest = check_folder(tmp_path, "default")
    assert manifest["options"] == {"full_rotation": True, "color_share": 1.0, "size": 64}
    card = (tmp_path / "README.md").read_text()
    assert "--color-share 1.0 --full-rotation --size 64 --out DIR" in card
    assert (
        "`default` was made with other settings: color_share = 1.0, full_rotation = True, size = 64."
        in card
    )
    with pytest.raises(
        RelViTError, match=r"was built with options \{.*full_rotation.*, not \{\}: delete it"
    ):
        build(BuildConfig("photorealistic", "default", n_eval=8), tmp_path)


def test_a_set_made_before_there_were_options_is_kept(tmp_path, quick_renderer):
    build(BuildConfig("photorealistic", "default", n_eval=4), tmp_path)
    path = tmp_path / "default" / "manifest.json"
    older = {key: value for key, value in read_json(path).items() if key != "options"}
    path.write_text(json.dumps(older))
    said = []
    build(BuildConfig("photorealistic", "default", n_eval=4), tmp_path, say=said.append)
    assert said == [f"{tmp_path / 'default'} is finished and sound: nothing to do"]


def test_options_of_these_scenes_are_refused_for_others(tmp_path, capsys):
    command = [
        "data",
        "build",
        "rmts",
        "--config",
        "quick-32",
        "--full-rotation",
        "--out",
        str(tmp_path / "out"),
    ]
    with pytest.raises(SystemExit) as end:
        main(command)
    assert end.value.code == 2
    assert "full_rotation for rmts: expected none" in capsys.readouterr().err
    with pytest.raises(RelViTError, match="variant, size for discrimination: expected none"):
        build(BuildConfig("discrimination", "quick-32", variant="llvm", size=32), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_shards_go_on_where_they_were_and_join_to_what_one_machine_renders(
    tmp_path, quick_renderer
):
    settings = BuildConfig("photorealistic", "default", n_eval=14)
    build(settings, tmp_path / "one")
    quick_renderer.clear()
    build(settings, tmp_path / "shards", shard="3/3")
    stash = tmp_path / "shards" / "default.shards" / ".2-of-3.rendered"
    builder = Photorealistic(str(tmp_path / "lock"), "default", n_eval=14)
    builder.shard = Shard(2, 3)
    builder.render(str(stash), 1)
    farm.pair_file(stash, 3).unlink()  # as if killed
    build(settings, tmp_path / "shards", shard="2/3")
    with pytest.raises(RelViTError, match="lacks the shards 1/3 "):
        build(settings, tmp_path / "shards")
    build(settings, tmp_path / "shards", shard="1/3")
    assert quick_renderer == [4, 5, 6, 2, 3, 3, 0, 1]
    build(settings, tmp_path / "shards")
    assert len(quick_renderer) == 8  # the join renders nothing
    one, joined = (
        {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()}
        for out in (tmp_path / "one", tmp_path / "shards")
    )
    assert one == joined


def test_pictures_of_another_request_are_not_taken_over(tmp_path, quick_renderer):
    Photorealistic(str(tmp_path / "a"), "default", n_eval=4).render(str(tmp_path / "stash"), 1)
    Photorealistic(str(tmp_path / "b"), "default", n_eval=4, seed=1).render(
        str(tmp_path / "stash"), 1
    )
    assert quick_renderer == [0, 1, 0, 1]


def test_a_half_written_pair_is_never_there(tmp_path, monkeypatch, quick_renderer):
    monkeypatch.setattr(np, "savez_compressed", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        farm.store_pair(farm.Job(SceneOptions(n=4)), tmp_path, 0)
    assert list(tmp_path.iterdir()) == []


class Poison:
    """Options that end the process which receives them."""

    n = 8

    def __reduce__(self):
        return os._exit, (9,)


def test_a_killed_worker_is_told_in_one_line(tmp_path):
    job = farm.Job(Poison())
    with pytest.raises(
        RelViTError, match=r"a rendering process was killed.*0 of 8 images are kept: run the same"
    ):
        farm.Farm(job, tmp_path / "stash").run(2, range(4), "objects", "generator")


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"config_name": "b16-256"}, "config 'b16-256': expected one of default, tiny"),
        ({"n_eval": 5}, "5 photorealistic scenes: expected an even number"),
        ({"color_share": 2.0}, "color_share 2.0"),
        ({"n_train": 10}, "no training split"),
        ({"palette": "colors.json"}, "objects bring their own colors"),
    ],
)
def test_bad_requests_are_refused_before_a_renderer_is_looked_for(
    tmp_path, no_renderer, keywords, words
):
    with pytest.raises(RelViTError, match=words):
        Photorealistic(str(tmp_path), **keywords)


def test_a_missing_renderer_is_told_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mitsuba", None)
    with pytest.raises(
        RelViTError, match=r"mitsuba is not installed.*pip install 'hf_relvit\[render\]'"
    ):
        build(BuildConfig("photorealistic", "default"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def no_renderer(monkeypatch):
    for package in ("mitsuba", "drjit", "trimesh", "embreex"):
        monkeypatch.setitem(sys.modules, package, None)


def test_the_shipped_rows_are_served_without_the_renderer(tmp_path, no_renderer):
    shipped = check_folder(SHIPPED, "tiny")
    build(BuildConfig("photorealistic", "tiny"), tmp_path / "one")
    served = check_folder(tmp_path / "one", "tiny")
    # the bytes of a Parquet file name the version of its writer
    assert {**served, "files": ()} == {**shipped, "files": ()}
    for number in (1, 2, 3):
        build(BuildConfig("photorealistic", "tiny"), tmp_path / "three", shard=f"{number}/3")
    build(BuildConfig("photorealistic", "tiny"), tmp_path / "three")
    assert check_folder(tmp_path / "three", "tiny") == served
    said = []
    build(BuildConfig("photorealistic", "tiny"), tmp_path / "three", say=said.append)
    assert said == [f"{tmp_path / 'three' / 'tiny'} is finished and sound: nothing to do"]


@pytest.mark.parametrize(
    "other",
    [
        {"n_eval": 30},
        {"seed": 1},
        {"variant": "llvm"},
        {"size": 112},
        {"color_share": 0.25},
        {"full_rotation": True},
    ],
)
def test_what_is_not_shipped_is_rendered(tmp_path, no_renderer, other):
    with pytest.raises(RelViTError, match="mitsuba is not installed"):
        build(BuildConfig("photorealistic", "tiny", **other), tmp_path / "out")


def test_shipped_rows_of_another_version_are_not_served(tmp_path, no_renderer, monkeypatch):
    """A version names its content: whoever raises it renders the shipped pictures again."""
    monkeypatch.setattr(photorealistic.builder, "VERSION", "9.0.0")
    with pytest.raises(RelViTError, match="mitsuba is not installed"):
        build(BuildConfig("photorealistic", "tiny"), tmp_path / "out")


def test_a_set_of_an_older_version_opens(tmp_path):
    shutil.copytree(SHIPPED / "tiny", tmp_path / "tiny")
    path = tmp_path / "tiny" / "manifest.json"
    older = read_json(path) | {"version": "1.0.0", "generator": "5923450603a51079"}
    path.write_text(json.dumps(older))
    assert len(open_folder(tmp_path, "tiny")["test"]) == 32


@pytest.mark.render
def test_the_shipped_rows_are_what_is_drawn_today(tiny):
    config = Photorealistic.builder_configs["tiny"]
    options = SceneOptions(config.n_eval, config.seed, config.color_share)
    made = farm.Farm(farm.Job(options), None)
    for number in range(16):
        for index, row in rows(made.pair(number), config.seed, config.lossy):
            shipped = tiny[index]
            for column in ("image", "mask"):
                drawn = Image.open(io.BytesIO(row.pop(column)["bytes"]))
                np.testing.assert_array_equal(np.asarray(drawn), np.asarray(shipped.pop(column)))
            assert row == shipped


def test_every_number_of_a_row_is_rounded(tiny):
    def numbers(value):
        if isinstance(value, dict):
            value = list(value.values())
        return [n for v in value for n in numbers(v)] if isinstance(value, list) else [value]

    for row in tiny.select_columns(["scene", "distance", "rotation_difference"]):
        scene = json.loads(row.pop("scene"))
        del scene["visible"]  # of whole numbers of pixels: one division, equal everywhere
        for value in [*numbers(scene), *row.values()]:
            assert value == round(value, 6)


def test_outlines_follow_the_mask_and_the_montage_has_every_scene(tiny):
    image, mask = np.full((6, 6, 3), 100, dtype=np.uint8), np.zeros((6, 6), dtype=np.uint8)
    mask[2:4, 2:4] = 1
    out = outlined(image, mask)
    assert (out[2:4, 2:4] == 255).all()
    assert (out[1, 2:4] == 0).all()
    assert (out[0, 0] == 100).all()
    assert montage(tiny.select(range(4)), columns=4).width > 4 * 224
