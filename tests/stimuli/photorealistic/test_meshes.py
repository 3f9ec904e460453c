import numpy as np
import pytest

from hf_relvit.errors import RelViTError
from hf_relvit.stimuli.photorealistic import meshes

pytest.importorskip("trimesh", reason="needs the extra: pip install 'hf_relvit[render]'")


@pytest.fixture
def box(box_files):
    return meshes.load_model("box", box_files)


def color_at(model, corner):
    height, width, _ = model.color.shape
    u, v = model.uv[corner]
    return model.color[min(int(v * height), height - 1), min(int(u * width), width - 1)]


def test_a_model_is_centered_upright_and_of_unit_size(box):
    points = box.corners.reshape(-1, 3)
    np.testing.assert_allclose(points.min(0), -points.max(0), atol=1e-6)
    assert np.linalg.norm(points, axis=1).max() == pytest.approx(1)
    np.testing.assert_allclose(
        np.ptp(points, axis=0), np.array([2, 1, 1]) / np.sqrt(1.5), rtol=1e-5
    )
    assert len(box.corners) == 12
    assert len(box.hull) == 8


def test_the_corners_of_a_box_stay_sharp(box):
    flat = np.cross(box.corners[:, 1] - box.corners[:, 0], box.corners[:, 2] - box.corners[:, 0])
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    np.testing.assert_allclose(box.normals, np.repeat(flat[:, None], 3, 1), atol=1e-5)


def test_plain_colors_and_pictures_are_where_the_file_says(box):
    places = np.argwhere(np.abs(np.abs(box.normals[:, 0, 0]) - 1) < 1e-5)[
        :, 0
    ]  # the two sides with the picture
    plain = next(i for i in range(12) if i not in places)
    np.testing.assert_array_equal(color_at(box, (plain, 0)), [255, 0, 0])
    seen = {tuple(color_at(box, (i, j))) for i in places for j in range(3)}
    assert seen == {(255, 255, 255), (0, 0, 255)}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "0 OBJ files"),
        ({"a.obj": b"", "b.obj": b""}, "2 OBJ files"),
        ({"a.obj": b"v 1 2 3\n"}, "a.obj"),
        ({"a.obj": b"\xff\xfe\x00garbage"}, "a.obj"),
        ({"a.obj": b"v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"}, "not finite"),
        ({"a.obj": b"v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n"}, "a point or a line"),
    ],
)
def test_a_broken_obj_is_told_in_one_line(files, words):
    with pytest.raises(RelViTError, match=words) as caught:
        meshes.load_model("thing", files)
    assert "\n" not in str(caught.value)


def test_a_huge_obj_is_refused_before_it_is_read(monkeypatch, box_files):
    monkeypatch.setattr(meshes, "MAX_BYTES", 100)
    with pytest.raises(RelViTError, match="MB: expected at most"):
        meshes.load_model("box", box_files)
    monkeypatch.setattr(meshes, "MAX_BYTES", 10**6)
    monkeypatch.setattr(meshes, "MAX_TRIANGLES", 11)
    with pytest.raises(RelViTError, match="12 triangles: expected at most 11"):
        meshes.load_model("box", box_files)


def test_a_missing_texture_leaves_the_plain_color(box_files):
    del box_files["half.png"]
    colors = {tuple(color) for color in meshes.load_model("box", box_files).color.reshape(-1, 3)}
    assert colors == {(255, 0, 0), (204, 204, 204)}
