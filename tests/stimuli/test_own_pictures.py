"""Your own pictures: the same numbers as for drawn scenes, disjoint parts, and one line for each fault."""

from __future__ import annotations

import json

import numpy as np
import pytest
from datasets import ClassLabel, Dataset
from own_folder import QUICK, SCENES, boxes_of, image_folder, rows_of
from PIL import Image
from tiny_checkpoints import saved_checkpoints
from walk import run_quietly

from hf_relvit.analysis.attention import measure_attention
from hf_relvit.analysis.similarity import object_similarity
from hf_relvit.errors import RelViTError
from hf_relvit.geometry import PatchGeometry
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.stimuli.own_pictures import OwnPictures
from hf_relvit.stimuli.own_rows import own_rows

MODEL = PatchGeometry(QUICK.image_size, QUICK.patch_size)


def mask_of(boxes, shape=(64, 64)):
    mask = np.zeros(shape, np.uint8)
    for number, (x, y, width, height) in enumerate(boxes, 1):
        mask[y : y + height, x : x + width] = number
    return mask


def row(**changes):
    return {**rows_of(SCENES[:1])[0], **changes}


def read(*rows, geometry=MODEL):
    """Rows beside one of each answer."""
    both = [row(label="same"), row(label="different")]
    return OwnPictures.of([*rows, *both], geometry)


def test_scenes_come_back_as_they_were():
    """Boxes, masks and ids of classes say the same, and drawn scenes own the same patches."""
    from_boxes = OwnPictures.of(rows_of(SCENES), MODEL)
    masked = [
        {"image": each["image"], "label": int(label), "mask": mask_of(each["objects"]["bbox"])}
        for each, label in zip(rows_of(SCENES), SCENES.label)
    ]
    from_masks = OwnPictures.of(masked, MODEL)
    for own in (from_boxes, from_masks):
        assert (own.covered == SCENES.patches()).all()
        assert (own.pixels() == SCENES.pixels()).all()
        assert (own.label == SCENES.label).all()
        assert own.repairs == ()
    assert from_boxes.fingerprint() == from_masks.fingerprint()
    assert from_boxes[:3].fingerprint() != from_boxes.fingerprint()


def test_analyses_give_the_numbers_of_drawn_scenes(tmp_path):
    checkpoint = Checkpoint.open(saved_checkpoints(tmp_path) / "ours")
    own = OwnPictures.of(rows_of(SCENES), checkpoint.geometry)
    measured = measure_attention(checkpoint, own).frame
    expected = measure_attention(checkpoint, SCENES).frame
    np.testing.assert_allclose(measured["mean"], expected["mean"], atol=1e-6)
    means = object_similarity(checkpoint, own)
    again = object_similarity(checkpoint, own[::-1])[::-1]
    np.testing.assert_allclose(means, again, atol=1e-5)


def test_pictures_of_another_shape_are_padded_and_brought_to_size():
    wide = Image.new("RGB", (300, 120), "gray")
    mask = mask_of([[0, 0, 60, 60], [240, 60, 60, 60]], (120, 300))
    own = read(row(image=wide, mask=mask))
    assert own.pictures.shape[1:] == (64, 64, 3)
    assert (own.pictures[0, 0] == 255).all()  # above it is white
    assert own.repairs == ("1 picture: padded with white to a square",)
    rows, columns = np.divmod(own.covered[0], MODEL.grid)
    first, second = own.covered[0] >= 0
    assert columns[0][first].max() <= 1 and columns[1][second].min() >= 6
    assert rows[0][first].min() >= 2 and rows[1][second].max() <= 5


def test_what_is_repaired_is_said():
    small = Image.new("RGB", (32, 32))
    own = read(
        row(image=small, objects={"bbox": [[-4, 0, 12, 8], [16, 16, 8, 8]]}),
        row(image=small, objects={"bbox": [[0, 0, 8, 8], [16, 16, 8, 8]]}),
    )
    assert set(own.repairs) == {
        "1 picture: a box was cut at the edge",
        "2 pictures: enlarged to 64 pixels",
    }


def test_an_object_of_less_than_half_a_patch_owns_the_patch_that_it_covers_most():
    own = read(row(objects={"bbox": [[1, 1, 3, 3], [40, 40, 3, 3]]}))
    assert [ids[ids >= 0].tolist() for ids in own.covered[0]] == [[0], [45]]


def test_parts_are_disjoint_and_keep_groups_together():
    rows = [{**each, "group": f"film {i // 2}"} for i, each in enumerate(rows_of(SCENES))]
    rows += [{**each, "group": f"more {i}"} for i, each in enumerate(rows_of(SCENES))]
    own = OwnPictures.of(rows, MODEL)
    parts = own.parts()
    groups = [set(part.clusters.tolist()) for part in parts.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 60
    assert sum(map(len, parts.values())) == 80
    assert list(parts) == [part.split for part in parts.values()]
    for part in parts.values():
        assert set(part.label) == {0, 1}
    same = own.parts(seed=0)["test"]
    assert (same.clusters == parts["test"].clusters).all()
    assert set(own.parts(seed=1)["test"].clusters) != groups[2]


BAD = {
    "no pictures": lambda: OwnPictures.of([], MODEL),
    "all 1 pictures are same": lambda: OwnPictures.of([row(label=1)], MODEL),
    "expected a column image": lambda: read({"label": 1}),
    "label of row 0 is 'alike'": lambda: read(row(label="alike")),
    "label of row 0 is None": lambda: read(row(label=None)),
    "has no mask and 0 boxes": lambda: read(row(objects=None)),
    "has no mask and 1 boxes": lambda: read(row(objects={"bbox": [[0, 0, 8, 8]]})),
    "the boxes of row 0 overlap": lambda: read(
        row(objects={"bbox": [[0, 0, 16, 16], [8, 8, 16, 16]]})
    ),
    "box 2 of row 0 is": lambda: read(row(objects={"bbox": [[0, 0, 16, 16], [99, 8, 16, 16]]})),
    "mask of row 0 is 32 x 32 pixels, its image 64 x 64": lambda: read(
        row(mask=mask_of([[0, 0, 8, 8], [8, 8, 8, 8]], (32, 32)))
    ),
    "mask of row 0 holds the values 0, 1:": lambda: read(row(mask=mask_of([[0, 0, 8, 8]]))),
    "smaller|larger pictures": lambda: read(row(image=Image.new("RGB", (7, 70)))),
    "image of row 0 is of type int": lambda: read(row(image=3)),
    "annotations of row 0 are for 10 x 10 pixels": lambda: read(row(size=(10, 10))),
    "object 2 of row 0 covers no patch of its own": lambda: read(
        row(mask=mask_of([[0, 0, 8, 8], [0, 0, 1, 1]]) | mask_of([[1, 0, 7, 8]]))
    ),
    "40 independent|at least 20": lambda: OwnPictures.of(rows_of(SCENES[:10]), MODEL).parts(),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_rows_are_one_line(message):
    with pytest.raises(RelViTError, match=message) as error:
        BAD[message]()
    assert "\n" not in str(error.value)


@pytest.fixture
def folder(tmp_path):
    return image_folder(tmp_path / "pictures")


def by_picture(own):
    """Label and patches by the bytes of a picture: folders are read in the order of their names."""
    rows = zip(own.pictures, own.label, own.covered)
    return {pixels.tobytes(): (label, covered.tolist()) for pixels, label, covered in rows}


def test_an_image_folder_with_boxes(folder):
    own = OwnPictures.open(folder, MODEL)
    assert by_picture(own) == by_picture(OwnPictures.of(rows_of(SCENES), MODEL))


def test_an_image_folder_with_masks(folder):
    (folder / "metadata.jsonl").unlink()
    (folder / "masks").mkdir()
    lines = ["file_name,label,mask_file_name"]
    for i, each in enumerate(rows_of(SCENES)):
        Image.fromarray(mask_of(each["objects"]["bbox"])).save(folder / "masks" / f"{i}.png")
        lines.append(f"{i}.png,{each['label']},masks/{i}.png")
    (folder / "metadata.csv").write_text("\n".join(lines))
    own = OwnPictures.open(folder, MODEL)
    assert by_picture(own) == by_picture(OwnPictures.of(rows_of(SCENES), MODEL))


@pytest.mark.parametrize("polygons", [False, True])
def test_coco_annotations(folder, polygons):
    (folder / "metadata.jsonl").unlink()
    images, annotations = [], []
    for i in range(len(SCENES)):
        images.append({"id": i, "file_name": f"{i}.png", "width": 64, "height": 64})
        for number, (x, y, width, height) in enumerate(boxes_of(SCENES, i)):
            right, below = x + width - 1, y + height - 1
            corners = [x, y, right, y, right, below, x, below]
            category = 1 if number == 0 or SCENES.label[i] else 2
            one = {"image_id": i, "category_id": category, "bbox": [x, y, width, height]}
            annotations.append({**one, "segmentation": [corners]} if polygons else one)
    found = {"images": images, "annotations": annotations}
    (folder / "instances.json").write_text(json.dumps(found))
    own = OwnPictures.open(folder, MODEL)
    assert by_picture(own) == by_picture(OwnPictures.of(rows_of(SCENES), MODEL))
    found["annotations"].pop()
    (folder / "instances.json").write_text(json.dumps(found))
    with pytest.raises(RelViTError, match=r"39\.png has 1 annotations in instances\.json"):
        own_rows(folder)
    (folder / "instances.json").write_text("{}")
    with pytest.raises(RelViTError, match="holds no COCO annotations"):
        own_rows(folder)


def test_folders_that_describe_nothing(tmp_path, folder):
    with pytest.raises(RelViTError, match="describes no pictures"):
        own_rows(tmp_path)
    (folder / "metadata.jsonl").write_text('{"name": "0.png"}')
    with pytest.raises(RelViTError, match="has the columns name: expected file_name"):
        own_rows(folder)
    (folder / "metadata.jsonl").write_text("{")
    with pytest.raises(RelViTError, match="does not open"):
        own_rows(folder)
    (folder / "metadata.jsonl").write_text('{"file_name": "gone.png", "label": 1}')
    with pytest.raises(RelViTError, match=r"image of gone\.png does not open"):
        OwnPictures.open(folder, MODEL)


def test_a_data_set_with_the_columns():
    data = Dataset.from_list(rows_of(SCENES))
    assert by_picture(OwnPictures.of(data, MODEL)) == by_picture(
        OwnPictures.of(rows_of(SCENES), MODEL)
    )


@pytest.mark.parametrize("names", [["different", "same"], ["same", "different"]])
def test_classes_go_by_their_names_in_either_order(names):
    data = Dataset.from_list(rows_of(SCENES)).cast_column("label", ClassLabel(names=names))
    assert (OwnPictures.of(data, MODEL).label == SCENES.label).all()


def test_classes_of_other_names_are_refused():
    data = Dataset.from_list([row(label="alike")]).cast_column("label", ClassLabel(names=["alike"]))
    with pytest.raises(RelViTError, match="label of row 0 is 'alike'"):
        OwnPictures.of(data, MODEL)


def test_commands_take_the_folder(folder, tmp_path, capsys):
    check = f"data check {folder} --image-size 64 --patch-size 8 --out {tmp_path / 'check.png'}"
    assert run_quietly(check.split()) == 0
    assert (tmp_path / "check.png").stat().st_size > 5_000
    assert "40 pictures, 20 same and 20 different" in capsys.readouterr().out
