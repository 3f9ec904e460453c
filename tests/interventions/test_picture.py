"""Pictures from outside: what is no plain PNG, JPEG or WEBP of a sane size is refused before it is decoded."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from hf_relvit.errors import RelViTError
from hf_relvit.spaces.interventions import picture
from hf_relvit.spaces.interventions.picture import open_picture


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_a_picture_becomes_the_models_size(tmp_path, name):
    Image.new("RGB", (300, 200), (200, 10, 10)).save(tmp_path / name)
    pixels = open_picture(tmp_path / name, 64)
    assert pixels.shape == (64, 64, 3)
    assert pixels.dtype == np.uint8
    assert abs(int(pixels[32, 32, 0]) - 200) < 5


def test_transparent_is_white_and_the_middle_is_kept(tmp_path):
    image = Image.new("RGBA", (300, 100), (0, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 100, 100))
    image.save(tmp_path / "a.png")
    assert (
        open_picture(tmp_path / "a.png", 64)[:, 8:-8] == 255
    ).all()  # resampling bleeds a little


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1"])
def test_plain_modes_open(tmp_path, mode):
    Image.new(mode, (80, 80)).save(tmp_path / "a.png")
    assert open_picture(tmp_path / "a.png", 64).shape == (64, 64, 3)


def refused(path, match):
    with pytest.raises(RelViTError, match=match) as caught:
        open_picture(path, 64)
    assert "\n" not in str(caught.value)
    assert str(path.parent) not in str(caught.value)


def test_not_a_picture(tmp_path):
    (tmp_path / "a.png").write_bytes(b"GIF89a is what I say I am" * 10)
    refused(tmp_path / "a.png", "does not open as a picture")
    (tmp_path / "b.png").write_bytes(b"")
    refused(tmp_path / "b.png", "does not open as a picture")
    refused(tmp_path / "missing.png", "does not open as a picture")


def test_other_formats_are_not_even_tried(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.tiff")
    (tmp_path / "a.tiff").rename(tmp_path / "a.png")
    refused(tmp_path / "a.png", "expected a whole PNG, JPEG or WEBP")


def test_truncated(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    for name in ("a.png", "a.jpg"):
        Image.fromarray(noise).save(tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        refused(tmp_path / name, "does not open as a picture")


def test_animated(tmp_path):
    frames = [Image.new("RGB", (32, 32), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:])
    refused(tmp_path / "a.webp", "animated")
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    refused(tmp_path / "a.png", "animated")


def test_cmyk(tmp_path):
    Image.new("CMYK", (32, 32)).save(tmp_path / "a.jpg")
    refused(tmp_path / "a.jpg", "color mode CMYK")


def test_huge_by_its_header_alone(tmp_path):
    """A bomb: the header promises 50,000 x 50,000 pixels; nothing of that is allocated."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    for side in (5_000, 50_000):
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        body = chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
        (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + body)
        refused(tmp_path / "a.png", "pixels|does not open")


def test_large_file(tmp_path, monkeypatch):
    monkeypatch.setattr(picture, "MAX_BYTES", 100)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(
        tmp_path / "a.png"
    )
    refused(tmp_path / "a.png", "MB")
