"""Pictures of data sets: whatever the column holds ends as pixels or in one line, and nothing huge is decoded."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from datasets import Dataset, Features, Value
from datasets import Image as ImageFeature
from PIL import Image

from hf_relvit.errors import RelViTError
from hf_relvit.stimuli.pictures import read_pictures

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def encoded(picture, kind="PNG"):
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


def bomb(side):
    """A valid PNG of one color: small as a file, huge when decoded."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((side // 8 + 1) * side), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def column(*stored, decode=True):
    rows = {"image": [{"bytes": content, "path": None} for content in stored]}
    stored_as = {"image": {"bytes": Value("binary"), "path": Value("string")}}
    data = Dataset.from_dict(rows, features=Features(stored_as))
    return data.cast(Features({"image": ImageFeature(decode=decode)}))


@pytest.mark.parametrize("decode", [True, False])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "CMYK", "LA", "I;16"])
def test_every_mode_becomes_rgb(mode, decode):
    picture = Image.fromarray(PIXELS).convert("L" if mode == "I;16" else mode)
    kind = "TIFF" if mode in ("CMYK", "I;16") else "PNG"
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture).astype(np.uint16))
    (pixels,) = read_pictures(column(encoded(picture, kind), decode=decode), "image", 8)
    assert pixels.shape == (8, 8, 3) and pixels.dtype == np.uint8
    if mode in ("RGB", "RGBA"):
        np.testing.assert_array_equal(pixels, PIXELS)


def test_what_is_transparent_shows_white():
    clear = np.concatenate([PIXELS, np.zeros((8, 8, 1), dtype=np.uint8)], 2)
    (pixels,) = read_pictures(column(encoded(Image.fromarray(clear))), "image")
    assert (pixels == 255).all()


def test_arrays_and_lists_are_pictures_too():
    (pixels,) = read_pictures(Dataset.from_dict({"image": [PIXELS.tolist()]}), "image", 8)
    np.testing.assert_array_equal(pixels, PIXELS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "image of row 1 does not open"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image of row 1 does not open"),
        (encoded(Image.fromarray(PIXELS))[:60], "image of row 1 (does not open|is broken)"),
        (
            encoded(Image.fromarray(PIXELS[:4])),
            "image of row 1 is 8 x 4 pixels for a model of 8 x 8",
        ),
        (bomb(5000), "image of row 1 is 5000 x 5000 pixels: expected at most 4096"),
        (bomb(13_000), "image of row 1 is 13000 x 13000 pixels: expected at most 4096"),
        (bomb(20_000), "image of row 1 is huge: expected at most 4096"),
        (None, "image of row 1 does not open"),
    ],
    ids=["empty", "svg", "cut off", "other size", "large", "bomb", "bomb of pillow's", "nothing"],
)
def test_what_is_no_picture_of_the_size_is_one_line_and_never_decoded(content, message):
    data = column(encoded(Image.fromarray(PIXELS)), content)
    tracemalloc.start()
    with pytest.raises(RelViTError, match=message) as caught:
        list(read_pictures(data, "image", 8))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert most < 20 * 2**20


@pytest.mark.parametrize("path", ["/etc/passwd", "nowhere.png", "https://example.org/picture.png"])
def test_a_path_that_is_no_picture_is_one_line(path):
    data = Dataset.from_dict({"image": [{"bytes": None, "path": path}]})
    with pytest.raises(RelViTError, match="image of row 0 does not open"):
        list(read_pictures(data, "image"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Dataset.from_dict({"img": [1]}), "a data set of img: expected a column 'image'"),
        ([1, 2], "a data set of list: expected a column 'image'"),
        (Dataset.from_dict({"image": ["a text"]}), "of type str: expected a picture"),
        (Dataset.from_dict({"image": [[[0.5]]]}), "array float64 .*: expected"),
        (Dataset.from_dict({"image": [[[300]]]}), "array int64 .*: expected"),
    ],
)
def test_other_columns_are_one_line(data, message):
    with pytest.raises(RelViTError, match=message):
        list(read_pictures(data, "image"))
