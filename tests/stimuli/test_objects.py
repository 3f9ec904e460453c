import json
import pickle
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from hf_relvit.errors import RelViTError
from hf_relvit.stimuli.objects import COLOR_NAMES, PALETTE, SHAPE_NAMES, ObjectSet

SIZES = (12, 16, 21, 24)  # every sprite size of the presets
MAX_IOU = 0.705  # what the design reaches: the worst pairs are cross/heart and cross/arrow


def overlaps(sprites):
    """IoU (n, n) of every pair under the best of all small shifts: an upper bound on centroid alignment."""
    n, size, _ = sprites.shape
    reach = size // 4 + 1
    padded = np.pad(sprites, ((0, 0), (reach, reach), (reach, reach))).astype(np.float64)
    area = sprites.sum((1, 2))
    best = np.zeros((n, n))
    for shift in np.ndindex(2 * reach + 1, 2 * reach + 1):
        moved = np.roll(padded, (shift[0] - reach, shift[1] - reach), (1, 2))
        both = padded.reshape(n, -1) @ moved.reshape(n, -1).T
        best = np.maximum(best, both / (area[:, None] + area[None] - both))
    np.fill_diagonal(best, 0)
    return best


@pytest.mark.parametrize("size", SIZES)
def test_shapes_stay_distinct(size):
    overlap = overlaps(ObjectSet.default().sprites(size))
    i, j = np.unravel_index(overlap.argmax(), overlap.shape)
    assert overlap.max() <= MAX_IOU, (SHAPE_NAMES[i], SHAPE_NAMES[j])
    nearest = overlap.max(axis=1)
    # out-of-distribution shapes are neither copies of the others nor outliers
    assert (
        nearest[:16].min() - 0.05 < nearest[16:].min()
        and nearest[16:].max() <= nearest[:16].max() + 0.01
    )


@pytest.mark.parametrize("size", SIZES)
def test_areas_are_comparable_and_kept_by_resizing(size):
    objects = ObjectSet.default()
    full, small = objects.masks.mean((1, 2)), objects.sprites(size).mean((1, 2))
    assert full.min() > 0.35 and full.max() < 0.75 and full.max() / full.min() <= 2
    np.testing.assert_allclose(small, full, atol=0.07)


@pytest.mark.parametrize("size", SIZES)
def test_no_specks(size):
    """Every pixel of a sprite has a neighbor above, below or beside it."""
    for sprite in ObjectSet.default().sprites(size):
        padded = np.pad(sprite, 1)
        neighbors = padded[:-2, 1:-1] + 0 + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
        assert neighbors[sprite].min() >= 1


def test_default_palette_is_the_papers():
    objects = ObjectSet.default()
    assert objects.masks.shape == (20, 192, 192) and objects.palette.shape == (20, 3)
    assert len(set(SHAPE_NAMES)) == len(set(COLOR_NAMES)) == 20
    assert (objects.n_shapes, objects.n_colors, objects.noise_sd) == (16, 16, 10.0)
    hues = "e91e63 9c27b0 673ab7 3f51b5 03a9f4 00bcd4 009688 4caf50 8bc34a cddc39 ffeb3b ff9800 ff5722 795548 9e9e9e"
    material = [list(bytes.fromhex(hue)) for hue in hues.split()]  # the "500" hues, as published
    assert PALETTE[:15].tolist() == material and PALETTE[15].tolist() == [120, 144, 156]
    assert PALETTE[16:].tolist() == [[103, 110, 0], [255, 155, 238], [145, 0, 0], [194, 188, 255]]


def test_silhouettes_never_change():
    """Stimuli are promised bit for bit: a changed drawing changes every published dataset."""
    assert ObjectSet.default().fingerprint() == "b91704064403f499"


def test_arrays_are_read_only_and_cached():
    objects = ObjectSet.default()
    assert objects.sprites(16) is objects.sprites(16) and ObjectSet.default() is objects
    for array in (objects.masks, objects.palette, objects.sprites(16), PALETTE):
        with pytest.raises(ValueError):
            array[0] = 0


def test_fingerprint_follows_every_field():
    a = ObjectSet.default()
    flipped = a.masks.copy()
    flipped[0, 96, 96] ^= True
    others = [
        ObjectSet(flipped, a.palette, 16, 16),
        ObjectSet(a.masks, a.palette[::-1], 16, 16),
        ObjectSet(a.masks, a.palette, 15, 16),
        ObjectSet(a.masks, a.palette, 16, 15),
        ObjectSet(a.masks, a.palette, 16, 16, 5.0),
    ]
    assert len({o.fingerprint() for o in [a, *others]}) == 6
    assert pickle.loads(pickle.dumps(a)).fingerprint() == a.fingerprint()


def test_callers_array_stays_theirs():
    masks = ObjectSet.default().masks.copy()
    objects = ObjectSet(masks, PALETTE, 16, 16)
    masks[:] = False
    assert objects.masks.any()


def folder_of(path, count, ood=0, size=(64, 64)):
    """Stripes of growing width behind a thin white edge: i.png is black in about i + 1 sixteenths."""
    for folder, number, first in ((path, count, 0), (path / "ood", ood, count)):
        if number:
            folder.mkdir(parents=True, exist_ok=True)
        for i in range(number):
            image = Image.new("L", size, 255)
            image.paste(0, (1, 0, 1 + size[0] * (first + i + 1) // 16, size[1]))
            image.save(folder / f"{i}.png")
    return path


def test_own_folder(tmp_path):
    palette = tmp_path / "palette.json"
    palette.write_text(
        json.dumps({"colors": [[10, 20, 30], [200, 0, 0]], "ood_colors": [[0, 0, 200]]})
    )
    objects = ObjectSet.from_folder(folder_of(tmp_path / "masks", 11, ood=2), palette, noise_sd=3)
    assert (len(objects.masks), objects.n_shapes, len(objects.palette), objects.n_colors) == (
        13,
        11,
        3,
        2,
    )
    # natural order: 10.png is the widest of the eleven, not the second
    np.testing.assert_allclose(objects.masks.mean((1, 2)), np.arange(1, 14) / 16, atol=0.01)
    assert objects.masks[0, :, 4].all() and not objects.masks[0, :, -1].any()
    assert len(ObjectSet.from_folder(tmp_path / "masks").palette) == 20


def test_own_folder_oblong_transparent_and_palette_list(tmp_path):
    Image.new("RGBA", (40, 80), (0, 0, 0, 255)).save(tmp_path / "tall.png")
    clear = Image.new("RGBA", (50, 50), (0, 0, 0, 0))  # transparent black is background
    clear.paste((0, 0, 0, 255), (10, 10, 40, 40))
    clear.save(tmp_path / "clear.PNG")
    objects = ObjectSet.from_folder(tmp_path, [(0, 0, 0), (9, 9, 9)])
    np.testing.assert_allclose(objects.masks.mean((1, 2)), [0.36, 0.5], atol=0.01)
    assert objects.masks[1, :, 96].all() and not objects.masks[1, :, 20].any()


def huge_png(path):
    """A valid header of 60000 x 60000 pixels and nothing behind it: decoding it would fail or fill the memory."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )


def large_png(path):
    Image.new("1", (5000, 10)).save(path)


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda p: p.write_text("not an image"), "0.png does not open as an image"),
        (lambda p: p.write_bytes(p.read_bytes()[:60]), "0.png does not open as an image"),
        (huge_png, "0.png is too large: scale it to 4096 pixels"),
        (large_png, "0.png is 5000 x 10 pixels"),
        (lambda p: Image.new("L", (20, 20), 255).save(p), "0.png is blank"),
        (lambda p: Image.new("RGBA", (20, 20), (255, 255, 255, 99)).save(p), "0.png is blank"),
        (lambda p: Image.new("LA", (20, 20), (0, 0)).save(p), "0.png is blank"),
        (lambda p: Image.new("I;16", (20, 20), 65535).save(p), "0.png is blank"),
        (lambda p: Image.new("L", (20, 20), 0).save(p), "0.png is all black"),
        (lambda p: p.write_bytes((p.parent / "1.png").read_bytes()), "masks 0 and 1 are the same"),
        (lambda p: p.unlink(), "holds 1 PNG files"),
    ],
)
def test_bad_masks(tmp_path, spoil, message):
    spoil(folder_of(tmp_path, 2) / "0.png")
    with pytest.raises(RelViTError, match=message) as error:
        ObjectSet.from_folder(tmp_path)
    assert "\n" not in str(error.value)


WAYS_ROUND = {  # background, object
    "gray": ("L", 255, 0),
    "one bit": ("1", 1, 0),
    "sixteen bits": ("I;16", 65535, 0),
    "color": ("RGB", (255, 255, 255), (40, 0, 90)),
    "opaque": ("RGBA", (255, 255, 255, 255), (0, 0, 0, 255)),
    "transparent": ("RGBA", (0, 0, 0, 0), (0, 0, 0, 255)),
    "gray and transparent": ("LA", (0, 0), (0, 255)),
}


@pytest.mark.parametrize("margin", [0, 4])
@pytest.mark.parametrize("way", WAYS_ROUND)
def test_masks_drawn_the_other_way_round_are_refused_however_they_are_stored(tmp_path, way, margin):
    mode, background, ink = WAYS_ROUND[way]
    right, inverted = tmp_path / "right", tmp_path / "inverted"
    for folder, (back, front) in {right: (background, ink), inverted: (ink, background)}.items():
        folder.mkdir()
        for number, name in enumerate(("heart", "bird", "whale")):
            silhouette = ObjectSet.default().masks[SHAPE_NAMES.index(name)]
            silhouette = np.pad(silhouette, margin)
            if mode == "I;16":  # whose paste with a mask draws half of it
                values = np.where(silhouette, front, back).astype(np.uint16)
                drawn = Image.fromarray(values)
            else:
                drawn = Image.new(mode, silhouette.shape, back)
                drawn.paste(front, None, Image.fromarray(silhouette))
            drawn.save(folder / f"{number}.png")
    assert len(ObjectSet.from_folder(right).masks) == 3
    with pytest.raises(
        RelViTError, match=r"0.png is black on \d+% of its border: .*; invert it, or"
    ):
        ObjectSet.from_folder(inverted)


def test_none_of_our_shapes_is_taken_for_its_background(tmp_path):
    for number, silhouette in enumerate(ObjectSet.default().masks):
        Image.fromarray(np.where(silhouette, 0, 255).astype(np.uint8)).save(
            tmp_path / f"{number}.png"
        )
    np.testing.assert_array_equal(ObjectSet.from_folder(tmp_path).masks, ObjectSet.default().masks)


def test_missing_and_empty_folder(tmp_path):
    with pytest.raises(RelViTError, match="does not exist"):
        ObjectSet.from_folder(tmp_path / "nowhere")
    with pytest.raises(RelViTError, match="holds 0 PNG files"):
        ObjectSet.from_folder(tmp_path)


@pytest.mark.parametrize(
    "palette, message",
    [
        ([(1, 2, 3)], "1 of 1 colors"),
        ([], "expected \\(colors, 3\\)"),
        ([(1, 2), (3, 4)], "expected \\(colors, 3\\)"),
        ([(1, 2, 3), (4, 5)], "unequal length"),
        ([(1, 2, 3), (4, 5, 256)], "reaches from 1 to 256"),
        ([(1, 2, 3), (4, 5, -1)], "reaches from -1 to 5"),
        ([(0.5, 0.2, 0.1), (1, 0, 0)], "not integers"),
        ([("red", "a", "b"), ("x", "y", "z")], "not integers"),
        ([(1, 2, 3), (1, 2, 3)], "colors 0 and 1 are both"),
        ([(1, 2, 3), (240, 250, 245)], "too close to the white background"),
    ],
)
def test_bad_palettes(tmp_path, palette, message):
    folder_of(tmp_path, 2)
    path = tmp_path / "palette.json"
    path.write_text(json.dumps({"colors": palette}))
    for given in (palette, path):
        with pytest.raises(RelViTError, match=message):
            ObjectSet.from_folder(tmp_path, given)


@pytest.mark.parametrize(
    "text",
    ["{", "[" * 100_000, "[1, 2]", '{"colours": []}', '{"colors": 3}', '{"colors": [], "odd": 1}'],
)
def test_bad_palette_files(tmp_path, text):
    folder_of(tmp_path, 2)
    (tmp_path / "palette.json").write_text(text)
    with pytest.raises(RelViTError, match=r"palette\.json"):
        ObjectSet.from_folder(tmp_path, tmp_path / "palette.json")
    with pytest.raises(RelViTError, match=r"none\.json cannot be read"):
        ObjectSet.from_folder(tmp_path, tmp_path / "none.json")


def test_bad_construction():
    good = ObjectSet.default()
    for masks, n_shapes, noise, message in [
        (good.masks[:, :50], 16, 10, "expected bool"),
        (good.masks.astype(float), 16, 10, "expected bool"),
        (good.masks, 21, 10, "21 of 20 shapes"),
        (good.masks, 1, 10, "1 of 20 shapes"),
        (good.masks, 16, -1, "noise_sd"),
        (good.masks, 16, float("nan"), "noise_sd"),
        (good.masks & False, 16, 10, "nowhere object"),
        (good.masks | True, 16, 10, "all object"),
    ]:
        with pytest.raises(RelViTError, match=message):
            ObjectSet(masks, PALETTE, n_shapes, 16, noise)


def test_sprites_refuse_what_cannot_be_seen():
    masks = np.zeros((2, 192, 192), bool)
    masks[0, :96], masks[1, 3:5] = True, True
    with pytest.raises(RelViTError, match="shape 1 vanishes at 12 pixels"):
        ObjectSet(masks, PALETTE, 2, 16).sprites(12)
    masks[1] = masks[0]
    masks[1, 96] = True
    with pytest.raises(RelViTError, match="shapes 0 and 1 look the same at 12 pixels"):
        ObjectSet(masks, PALETTE, 2, 16).sprites(12)
    with pytest.raises(RelViTError, match="sprite size 0"):
        ObjectSet.default().sprites(0)
