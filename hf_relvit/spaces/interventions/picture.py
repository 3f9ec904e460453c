"""A picture of one's own: checked before a pixel is decoded."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from hf_relvit.errors import RelViTError

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_BYTES = 8_000_000
MAX_SIDE = 4096
_MODES = ("RGB", "RGBA", "L", "LA", "P", "1")


def open_picture(path: str | os.PathLike, side: int) -> np.ndarray:
    """The middle square of a picture on white, at the size that the model sees: uint8 ``(side, side, 3)``.

    Size, format, mode and frames are read from the header; only a picture that passes is decoded.

    Raises:
        RelViTError: a file that is too large, no PNG, JPEG or WEBP, animated, CMYK or another mode, or truncated.
    """
    name = Path(path).name[:60]
    try:
        if (size := os.path.getsize(path)) > MAX_BYTES:
            raise RelViTError(
                f"{name} has {size / 1e6:.0f} MB: expected at most {MAX_BYTES / 1e6:.0f}; save it smaller"
            )
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", Image.DecompressionBombWarning
            )  # our own limit is far lower
            image = Image.open(path, formats=FORMATS)
        with image:
            _check_header(image, name)
            picture = ImageOps.exif_transpose(image).convert("RGBA")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, RelViTError):
            raise
        raise RelViTError(
            f"{name} does not open as a picture: expected a whole PNG, JPEG or WEBP file"
        ) from error
    page = Image.new("RGBA", picture.size, "white")
    page.alpha_composite(picture)
    return np.asarray(ImageOps.fit(page.convert("RGB"), (side, side), Image.Resampling.BICUBIC))


def _check_header(image: Image.Image, name: str) -> None:
    """The size in pixels, the number of frames and the color mode of a picture that is not decoded yet."""
    if max(image.size) > MAX_SIDE:
        raise RelViTError(
            f"{name} is {image.width} x {image.height} pixels: expected at most {MAX_SIDE}; scale it down"
        )
    if getattr(image, "n_frames", 1) > 1:
        raise RelViTError(f"{name} is animated: expected a single picture; save one frame of it")
    if image.mode not in _MODES:
        raise RelViTError(
            f"{name} has the color mode {image.mode}: expected RGB; save it as an RGB picture"
        )
