import dataclasses

import numpy as np
import pytest

from hf_relvit.geometry import GEOMETRIES
from hf_relvit.stimuli import preview
from hf_relvit.stimuli.objects import ObjectSet
from hf_relvit.stimuli.preview import contact_sheet
from hf_relvit.stimuli.rendering import render
from hf_relvit.stimuli.scenes import sample


@pytest.fixture
def texts(monkeypatch):
    """Everything that is written on a sheet."""
    written = []
    original = preview.ImageDraw.ImageDraw.text

    def text(self, xy, text, *rest, **options):
        left, top, right, bottom = self.textbbox(xy, text, font=rest[1])
        assert left >= 0
        assert top >= 0
        assert right <= self.im.size[0]
        assert bottom <= self.im.size[1]
        written.append(text)
        return original(self, xy, text, *rest, **options)

    monkeypatch.setattr(preview.ImageDraw.ImageDraw, "text", text)
    return written


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("task", ["discrimination", "rmts"])
def test_every_object_is_on_the_sheet_and_named(task, name, texts):
    table = sample(task, GEOMETRIES[name], "test", 8, combinations=32)
    sheet = np.asarray(contact_sheet(table).convert("RGB"))
    assert f"{task}: test" in texts
    assert {"same", "different"} <= set(texts)
    assert (
        sum("in shape" in text or "in color" in text for text in texts)
        == (table.relation == 0).sum()
    )
    for shape, color in set(zip(table.shape.ravel().tolist(), table.color.ravel().tolist())):
        shown = ((table.shape == shape) & (table.color == color)).sum()
        assert texts.count(f"{preview.COLOR_NAMES[color]} {preview.SHAPE_NAMES[shape]}") == shown
    packed = np.array([1 << 16, 1 << 8, 1])
    assert set(np.unique(render(table) @ packed)) <= set(np.unique(sheet @ packed))


def test_names_and_kinds_are_the_tables_own(texts):
    table = sample("discrimination", GEOMETRIES["quick"], "train", 2)
    contact_sheet(table[table.label == 0])
    assert texts[2:4] == ["different", "in shape and color"]
    assert len(texts) == 6
    different = table[table.label == 0]
    expected = [
        f"{preview.COLOR_NAMES[color]} {preview.SHAPE_NAMES[shape]}"
        for shape, color in zip(different.shape[0], different.color[0])
    ]
    assert texts[4:] == expected


def test_own_objects_are_numbered(texts):
    masks, palette = ObjectSet.default().masks, ObjectSet.default().palette
    own = ObjectSet(masks[:4], palette[:3], 4, 3)
    table = sample("rmts", GEOMETRIES["quick"], "train", 4, combinations=12, objects=own)
    contact_sheet(dataclasses.replace(table[:1], objects=own))
    assert f"shape {table.shape[0, 0]}, color {table.color[0, 0]}" in texts


def test_pixels_are_enlarged_and_not_altered():
    table = sample("discrimination", GEOMETRIES["quick"], "train", 2)
    sheet = np.asarray(contact_sheet(table))
    picture = render(table)[0]
    top, left = (table.corner[0, 0] * 8).tolist()
    inner = np.kron(picture[top + 2 : top + 14, left + 2 : left + 14], np.ones((4, 4, 1), np.uint8))
    windows = np.lib.stride_tricks.sliding_window_view(sheet, inner.shape)[:, :, 0]
    first = np.argwhere((windows[..., 24, 24, :] == inner[24, 24]).all(-1))
    assert any((windows[tuple(place)] == inner).all() for place in first)
