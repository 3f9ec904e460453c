"""Image processors: the one that a checkpoint was made with, applied to stimuli at full speed and checked on load."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers
from transformers import AutoImageProcessor

from ..errors import RelViTError
from ..schemas import ProcessorSettings, check_shape
from .checkpoint_errors import as_relvit_error, without_messages

if TYPE_CHECKING:
    from jaxtyping import Float32, Shaped, UInt8


class PixelProcessor:
    """A Hugging Face image processor for images of the model's own size, where it is a function of each pixel.

    The function is read off the processor once, as a table of 256 values per channel, so results are the same bit for
    bit, and faster.

    Args:
        processor: a Hugging Face image processor.
        image_size: side of the images, pixels.

    Raises:
        RelViTError: the processor resizes or crops images of this size.
    """

    def __init__(self, processor: Any, image_size: int):
        self.image_processor = processor
        self.image_size = image_size
        self.fingerprint = processor_fingerprint(processor)
        table = _pixel_table(processor, image_size)
        if table is None:
            raise RelViTError(
                f"the image processor {_settings(processor)} changes images of {image_size} pixels: expected one that "
                f"only normalizes them; use fit_processor(processor, {image_size})"
            )
        self._table = table
        self._tables: dict[torch.device, torch.Tensor] = {}

    def __call__(
        self,
        images: UInt8[np.ndarray, "batch side side 3"] | UInt8[torch.Tensor, "batch side side 3"],
        device: torch.device | str | None = None,
    ) -> Float32[torch.Tensor, "batch 3 side side"]:
        """Normalize uint8 ``(batch, side, side, 3)`` to float32 ``(batch, 3, side, side)``.

        Args:
            images: numpy, or torch on any device.
            device: where to normalize and leave them, by default where they are. They travel as bytes.

        Raises:
            RelViTError: another shape or dtype.
        """
        side = self.image_size
        if images.dtype not in (np.uint8, torch.uint8) or tuple(images.shape[1:]) != (
            side,
            side,
            3,
        ):
            raise RelViTError(
                f"images of shape {tuple(images.shape)}, {images.dtype}: expected uint8 (batch, {side}, {side}, 3); "
                "render the stimuli with the model's geometry"
            )
        if device is not None and torch.device(device).type != "cpu":
            images = to_device(images, torch.device(device))
        if isinstance(images, torch.Tensor) and images.device.type != "cpu":
            if images.device not in self._tables:
                self._tables[images.device] = torch.from_numpy(self._table).to(images.device)
            table = self._tables[images.device]
            return torch.stack(
                [table[channel][images[..., channel].int()] for channel in range(3)], 1
            )
        pixels, out = np.asarray(images), np.empty((len(images), 3, side, side), dtype=np.float32)
        for channel in range(3):
            np.take(self._table[channel], pixels[..., channel], out=out[:, channel], mode="clip")
        return torch.from_numpy(out)

    def save_pretrained(self, folder: str | os.PathLike, **kwargs: Any) -> None:
        """Save the Hugging Face processor; lets a Trainer save this object as its ``processing_class``."""
        self.image_processor.save_pretrained(folder, **kwargs)


def to_device(
    values: Shaped[np.ndarray, "*shape"] | Shaped[torch.Tensor, "*shape"], device: torch.device
) -> Shaped[torch.Tensor, "*shape"]:
    """A tensor on the device. To a GPU it goes from pinned memory, so that the host does not wait for the device."""
    tensor = torch.as_tensor(values)
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def default_processor(
    image_size: int,
    mean: tuple[float, ...] = (0.5, 0.5, 0.5),
    std: tuple[float, ...] = (0.5, 0.5, 0.5),
) -> Any:
    """A ``ViTImageProcessor`` that brings any image to a size and normalizes it.

    Args:
        image_size: side, pixels.
        mean: of the channels of pixels in 0..1; 0.5 in the paper, for models from scratch.
        std: likewise.
    """
    with _quiet_fallback():
        return transformers.ViTImageProcessor(
            size={"height": image_size, "width": image_size},
            image_mean=list(mean),
            image_std=list(std),
        )


def load_processor(path_or_id: str | os.PathLike, *, revision: str | None = None) -> Any:
    """The Hugging Face image processor of a checkpoint.

    Raises:
        RelViTError: there is none, or its settings are of other types or beyond any sense.
    """
    problem = f"no image processor in {path_or_id}"
    cure = "save the one of the training with it"
    with _quiet_fallback(), as_relvit_error(problem, cure, (Exception,)):
        _check_settings(path_or_id, revision)
        try:
            return AutoImageProcessor.from_pretrained(
                path_or_id, revision=revision, trust_remote_code=False
            )
        except ImportError:
            # DINOv3's class exists for torchvision only; its settings fit the ordinary one.
            ordinary = transformers.ViTImageProcessor
            settings, _ = ordinary.get_image_processor_dict(path_or_id, revision=revision)
            return ordinary(**settings)


def _check_settings(path_or_id: str | os.PathLike, revision: str | None) -> None:
    """Raise RelViTError for settings of an image processor that nobody could apply, before a processor takes them."""
    processor_class = transformers.ViTImageProcessor
    settings, _ = processor_class.get_image_processor_dict(path_or_id, revision=revision)
    problem = f"the preprocessor_config.json of {path_or_id} does not fit"
    check_shape(settings, ProcessorSettings, problem, "put back the one of the training")
    for name in settings:
        if callable(getattr(processor_class, name, None)):
            raise RelViTError(
                f"key {name!r} in the preprocessor_config.json of {path_or_id}: it is the name of a method; "
                "remove the entry"
            )


def fit_processor(processor: Any, image_size: int) -> Any:
    """The processor itself if it leaves the size of ``image_size`` pixels alone, else one that does.

    The replacement has the same normalization. It matters for DINOv2, whose processor enlarges images of 224 pixels to
    256 and crops them, which would move every object off its patches.

    Raises:
        RelViTError: a processor that fails on images of this size.
    """
    problem = f"the image processor {type(processor).__name__} does not work"
    cure = "put back the preprocessor_config.json that belongs to the model"
    with as_relvit_error(problem, cure, (Exception,)):
        if _pixel_table(processor, image_size) is not None:
            return processor
        mean, deviation = tuple(processor.image_mean), tuple(processor.image_std)
        return default_processor(image_size, mean, deviation)


def processor_fingerprint(processor: Any) -> str:
    """16 hexadecimal digits (of a SHA-256) of the settings that determine pixels; inactive ones do not count."""
    return hashlib.sha256(json.dumps(_settings(processor), sort_keys=True).encode()).hexdigest()[
        :16
    ]


SWITCHES = {
    "do_resize": ["size"],
    "do_center_crop": ["crop_size"],
    "do_rescale": ["rescale_factor"],
    "do_normalize": ["image_mean", "image_std"],
}
"""Setting of an image processor -> those that it makes count."""


def _settings(processor: Any) -> dict[str, Any]:
    settings = {}
    for switch, names in SWITCHES.items():
        if getattr(processor, switch, None):
            for name in names:
                settings[name] = _as_json(getattr(processor, name))
    return settings


def _as_json(value: Any) -> Any:
    """A setting as a number, a list or a dictionary without empty entries."""
    if isinstance(value, int | float | list):
        return value
    if isinstance(value, tuple):
        return list(value)
    return {key: entry for key, entry in dict(value).items() if entry is not None}


def _pixel_table(processor: Any, image_size: int) -> np.ndarray | None:
    """The processor's output for each value, float32 ``(3, 256)``; None unless it treats every pixel alone."""
    if _enlarges(processor, image_size):
        return None
    values = np.arange(image_size**2 * 3) * 97 % 256
    image = values.astype(np.uint8).reshape(image_size, image_size, 3)
    processed = processor(images=[image], return_tensors="np")["pixel_values"][0]
    out = np.asarray(processed, dtype=np.float32)
    if out.shape != (3, image_size, image_size):
        return None
    table = np.zeros((3, 256), dtype=np.float32)
    for channel in range(3):
        table[channel, image[..., channel]] = out[channel]
        if not np.array_equal(table[channel, image[..., channel]], out[channel]):
            return None
    return table


def _enlarges(processor: Any, image_size: int) -> bool:
    """Whether images would become so large that the processor cannot be tried out on one."""
    settings = _settings(processor)
    sizes = [settings.get(name) or {} for name in ("size", "crop_size")]
    return any(side > 16 * image_size for size in sizes for side in size.values())


def _quiet_fallback() -> AbstractContextManager[None]:
    """Silence one message: that an image processor uses Pillow because torchvision, which is not needed, is absent."""
    return without_messages("transformers.utils.import_utils", "requires torchvision")
