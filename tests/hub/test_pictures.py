"""A data set of pictures on the Hub becomes a folder that every analysis takes."""

import shutil

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Image, Value
from huggingface_hub import HfApi
from own_folder import QUICK, SCENES, image_folder, rows_of

from hf_relvit import cli
from hf_relvit.errors import RelViTError
from hf_relvit.geometry import PatchGeometry
from hf_relvit.hub.pictures import import_pictures
from hf_relvit.stimuli.own_pictures import OwnPictures

MODEL = PatchGeometry(QUICK.image_size, QUICK.patch_size)


def quiet(*words):
    pass


def foreign(**columns) -> Dataset:
    """``SCENES`` with columns and classes of somebody else, and a column that we do not read."""
    rows = rows_of(SCENES)
    patches = SCENES.patches()
    masks = []
    for scene in range(len(rows)):
        mask = np.zeros((SCENES.geometry.grid,) * 2, dtype=np.uint8)
        for number in (0, 1):
            mask.ravel()[patches[scene, number]] = number + 1
        masks.append(
            mask.repeat(SCENES.geometry.patch_size, 0).repeat(SCENES.geometry.patch_size, 1)
        )
    data = Dataset.from_dict(
        {
            "photo": [row["image"] for row in rows],
            "answer": [1 - (row["label"] == "same") for row in rows],
            "where": masks,
            "note": ["x"] * len(rows),
        },
        features=Features(
            photo=Image(),
            answer=ClassLabel(names=["same", "different"]),
            where=Image(),
            note=Value("string"),
        ),
    )
    return data.rename_columns(columns)


NAMED = {"image": "photo", "label": "answer", "mask": "where"}


def pushed(hub, tmp_path, data=None) -> str:
    """The id of a repository with a split "pairs"."""
    folder = tmp_path / "parquet"
    folder.mkdir()
    (data or foreign()).to_parquet(folder / "pairs-00000-of-00001.parquet")
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: pets\n  data_files:\n  - split: pairs\n    path: pairs-*.parquet\n---\n"
    )
    api = HfApi()
    api.create_repo("relvit/pets", repo_type="dataset")
    api.upload_folder(repo_id="relvit/pets", folder_path=folder, repo_type="dataset")
    return "relvit/pets"


def by_picture(own: OwnPictures) -> dict:
    return {
        picture.tobytes(): (label, [row[row >= 0].tolist() for row in patches])
        for picture, label, patches in zip(own.pictures, own.label, own.covered)
    }


def test_a_data_set_of_the_hub_is_a_folder_of_pictures(hub, tmp_path):
    """In a process of its own, as ``datasets`` reads the address of the Hub once."""
    repo = pushed(hub, tmp_path)
    columns = [f"--column={ours}={theirs}" for ours, theirs in NAMED.items()]
    command = ["relvit", "data", "import", repo, "--split", "pairs", *columns]
    out = tmp_path / "mine"
    done = hub.run([*command, "--out", str(out)])
    assert done.returncode == 0, done.stderr
    assert f"{len(SCENES)} pictures; look at them with `relvit data check" in done.stdout
    own = OwnPictures.open(out, MODEL)
    assert by_picture(own) == by_picture(OwnPictures.of(rows_of(SCENES), MODEL))
    assert own.repairs == ()

    again = hub.run([*command, "--out", str(out)])
    assert again.returncode == 2
    assert "is there already" in again.stderr
    for words, told in (
        (["--split", "train"], 'does not open (Unknown split "train"'),
        (["--subset", "cats"], "does not open (BuilderConfig 'cats' not found"),
        (
            ["--column", "group=film"],
            "relvit/pets has no column 'film': expected one of photo, answer",
        ),
    ):
        failed = hub.run([*command, *words, "--out", str(tmp_path / "other")])
        assert failed.returncode == 2
        assert told in failed.stderr
        assert len(failed.stderr.strip().splitlines()) == 1
    missing = hub.run(["relvit", "data", "import", "relvit/none", "--out", str(tmp_path / "other")])
    assert missing.returncode == 2
    assert "relvit/none" in missing.stderr
    assert len(missing.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "other").exists()


def test_boxes_and_groups_come_along(tmp_path):
    """A folder that ``load_dataset`` opens, with boxes as lists of objects."""
    folder = image_folder(tmp_path / "images")
    import_pictures(str(folder), tmp_path / "mine", split="train", say=quiet)
    own = OwnPictures.open(tmp_path / "mine", MODEL)
    assert by_picture(own) == by_picture(OwnPictures.of(rows_of(SCENES), MODEL))


BAD = {
    "column 'colour': expected one of image, label": {"columns": {"colour": "hue"}},
    "has no column 'answer'": {"columns": {"label": "answer"}},
    "Unknown split": {"split": "dev"},
}


@pytest.mark.parametrize("told", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(told, tmp_path):
    folder = image_folder(tmp_path / "images")
    with pytest.raises(RelViTError, match=told) as error:
        import_pictures(
            str(folder), tmp_path / "mine", **{"split": "train", **BAD[told]}, say=quiet
        )
    assert "\n" not in str(error.value)
    assert not (tmp_path / "mine").exists()


def test_a_data_set_without_places_is_refused(tmp_path):
    folder = image_folder(tmp_path / "images")
    lines = [f'{{"file_name": "{i}.png", "label": "same"}}\n' for i in range(len(SCENES))]
    (folder / "metadata.jsonl").write_text("".join(lines))
    with pytest.raises(RelViTError, match="expected image, label, and mask or objects"):
        import_pictures(str(folder), tmp_path / "mine", split="train", say=quiet)


def test_a_broken_picture_ends_the_import(tmp_path, capsys):
    folder = image_folder(tmp_path / "images")
    whole = (folder / "3.png").read_bytes()
    (folder / "3.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SystemExit) as end:
        cli.main(
            ["data", "import", str(folder), "--split", "train", "--out", str(tmp_path / "mine")]
        )
    assert end.value.code == 2
    assert "image of row 3" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
    shutil.rmtree(folder)
