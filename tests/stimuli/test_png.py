import io
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from hf_relvit.geometry import GEOMETRIES
from hf_relvit.stimuli.png import encode_png, pixel_checksum
from hf_relvit.stimuli.rendering import render
from hf_relvit.stimuli.scenes import sample

IMAGES = st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)).flatmap(
    lambda s: arrays(np.uint8, s)
)


def decode(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        assert image.format == "PNG"
        assert image.mode == "RGB"
        return np.asarray(image)


@given(IMAGES)
def test_pillow_decodes_the_same_pixels(image):
    np.testing.assert_array_equal(decode(encode_png(image)), image)


def test_views_encode_like_copies():
    image = np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8)
    for view in (image[::-1], image[:, ::2], image.transpose(1, 0, 2)):
        np.testing.assert_array_equal(decode(encode_png(view)), view)


def test_file_passes_pillows_own_integrity_check():
    with Image.open(io.BytesIO(encode_png(np.zeros((5, 7, 3), np.uint8)))) as image:
        image.verify()


@pytest.mark.parametrize("task", ["discrimination", "rmts"])
def test_scenes_are_small_and_exact(task):
    for image in render(sample(task, GEOMETRIES["b16"], "train", 8)):
        png = encode_png(image)
        default = io.BytesIO()
        Image.fromarray(image).save(default, "PNG")
        assert len(png) < 1.1 * default.tell()
        np.testing.assert_array_equal(decode(png), image)


@given(IMAGES)
def test_checksum_is_of_the_pixels_alone(image):
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    assert pixel_checksum(encode_png(image)) == zlib.adler32(rows)
