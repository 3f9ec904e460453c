"""A model with its image processor: opened, saved, and the one way from pictures to the model's input."""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch
import transformers
from accelerate.utils import extract_model_from_parallel
from torch import nn
from transformers import PreTrainedModel
from transformers.utils import CONFIG_NAME, cached_file
from transformers.utils.hub import extract_commit_hash

from ..errors import RelViTError
from ..files import read_json
from ..geometry import PatchGeometry, SceneGeometry, parse_config
from ..owned import check_replaceable, follow_umask, in_cell, partial_folder, replace_folder
from ..progress import library_bars
from ..stimuli.distribution import SceneDistribution
from ..stimuli.objects import ObjectSet
from ..stimuli.styles import open_objects, parse_style
from .adapters import FOLDER, save_adapter
from .blocks import blocks, vision_config
from .checkpoint_errors import as_relvit_error, check_weights, open_config
from .config_values import check_backbone
from .configuration_relvit import CODE_FILES, RelViTConfig
from .families import FAMILIES
from .modeling_relvit import RelViTForImageClassification
from .processing import PixelProcessor, fit_processor, load_processor, processor_fingerprint

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

RANDOM_SEED = 0x7E11
"""Of the random-weights baseline. It differs from every training seed: otherwise the baseline of a model trained from
scratch would be its own initialization."""

_WEIGHTS = (
    "model.safetensors",
    "model-?????-of-?????.safetensors",
    "model.safetensors.index.json",
    f"{FOLDER}/*",
)


@runtime_checkable
class Pictured(Protocol):
    """Scenes that can be shown to a model: ``SceneTable`` and ``PhotoPairs``."""

    @property
    def geometry(self) -> SceneGeometry | PatchGeometry: ...

    def __len__(self) -> int: ...

    def pixels(self) -> UInt8[np.ndarray, "batch height width 3"]: ...


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A same/different model and the image processor that it was trained with, as one value.

    Example::

        checkpoint = Checkpoint.open("runs/quick/seed0/training/model")
        scenes = checkpoint.distribution().sample("test", 64)
        logits = checkpoint.model(pixel_values=checkpoint.pixel_values(scenes)).logits     # (64, 2): different, same

    Attributes:
        model: a classifier of ours, or an ordinary transformers vision model of a supported family; taken out of
            its wrapper, see ``unwrapped``.
        processor: turns uint8 pictures into the model's input; an image processor of the transformers
            library is taken as well.
        any_processor: take a processor that the weights were not trained with. For one purpose: to measure the
            effect of such a mistake (``examples/processor_mismatch.py``).
    """

    model: Any
    processor: PixelProcessor
    any_processor: bool = False

    def __post_init__(self):
        object.__setattr__(self, "model", unwrapped(self.model))
        if not isinstance(self.processor, PixelProcessor):  # one of the transformers library
            object.__setattr__(
                self, "processor", PixelProcessor(self.processor, self.geometry.image_size)
            )

    def __iter__(self) -> Iterator[Any]:
        """``model, processor = checkpoint``."""
        yield self.model
        yield self.processor

    @classmethod
    def open(
        cls,
        path_or_id: str | os.PathLike,
        *,
        revision: str | None = None,
        labels: Sequence[str] | None = None,
        base: str | os.PathLike | None = None,
        device: torch.device | str = "cpu",
    ) -> Checkpoint:
        """A same/different model in float32, in evaluation mode, with its processor.

        Args:
            path_or_id: folder or Hub id of a RelViT checkpoint or of an ordinary transformers classifier of a
                supported family with the labels different and same.
            revision: on the Hub.
            labels: the meaning of the two classes of an ordinary classifier, if it does not say so itself:
                ``("different", "same")`` or the other way round.
            base: folder or Hub id of an adapter's backbone, where it is not where the adapter says.
            device: where to put the model; "auto" is the GPU (CUDA or ROCm) if there is one. There float32 products
                are then TF32: about eight times as fast, right to three digits (our choice).

        Raises:
            RelViTError: missing, truncated or incomplete files, other labels, or a processor other than the one that
                the weights were trained with; a device that is not there.
        """
        _check_device(device)
        model: Any = _open_model(path_or_id, revision, labels, base)
        processor = load_processor(path_or_id, revision=revision)
        expected = model.config.processor_fingerprint
        problem = f"the image processor of {path_or_id} does not work"
        cure = "put back the preprocessor_config.json that was saved with the weights"
        with as_relvit_error(problem, cure, (Exception,)):
            found = processor_fingerprint(processor)
            if expected is None:  # not saved by us: nothing says which processor the training used
                processor = fit_processor(processor, model.config.image_size)
            pixels = PixelProcessor(processor, model.config.image_size)
        if expected not in (None, found):
            raise RelViTError(
                f"the image processor of {path_or_id} has fingerprint {found}, the weights were trained with "
                f"{expected}: put back the preprocessor_config.json that was saved with them",
                page="processor",
            )
        return cls(_placed(model, device), pixels)

    @classmethod
    def of_backbone(
        cls,
        path_or_id: str | os.PathLike,
        *,
        revision: str | None = None,
        image_size: int | None = None,
        device: torch.device | str = "cpu",
    ) -> Checkpoint:
        """A pretrained backbone that was not fine-tuned, in evaluation mode, with its processor.

        Its head is new: its tokens can be measured, its answers say nothing.

        Args:
            path_or_id: as for ``RelViTForImageClassification.from_backbone``.
            revision: on the Hub.
            image_size: side of the images that it is to read, pixels, by interpolated position embeddings; its own by
                default.
            device: as for ``open``.

        Raises:
            RelViTError: a family that is not supported, files that are missing or broken; a device that is not there.
        """
        _check_device(device)
        with library_bars():
            model = RelViTForImageClassification.from_backbone(
                str(path_or_id),
                revision=revision,
                image_size=image_size,
            )
        processor = load_processor(path_or_id, revision=revision)
        size = model.config.image_size
        fitted = PixelProcessor(fit_processor(processor, size), size)
        return cls(_placed(model.eval(), device), fitted)

    def save(self, folder: str | os.PathLike) -> None:
        """Save model and processor so that the folder is either complete or not there.

        The model's configuration receives the processor's fingerprint.

        Args:
            folder: files of an earlier call are replaced; those of others stay.

        Raises:
            RelViTError: the files cannot be written, for instance on a full disk, or one of their names is taken by a
                file that we did not write.
        """
        if hasattr(self.model, "peft_config"):
            raise RelViTError(
                f"the model for {folder} has adapters in its layers: expected one of plain weights; merge them first, "
                "with merge_and_unload()"
            )
        self.model.config.processor_fingerprint = self.processor.fingerprint
        with _whole_folder(Path(folder), self.processor) as partial:
            self.model.save_pretrained(partial)

    def save_adapter(
        self, folder: str | os.PathLike, adapted: Any, base: str, *, name: str | None = None
    ) -> None:
        """Save the adapter of a model, its head and the processor, a few MB, instead of all weights.

        ``Checkpoint.open`` opens the folder as it opens any checkpoint, wherever the base can be had.

        Args:
            folder: as for ``save``.
            adapted: the PeftModel of ``adapters.add_adapters`` that this checkpoint's model is in.
            base: Hub id or folder of the backbone.
            name: the adapter's name for it, where that is not the place that it is opened from now.

        Raises:
            RelViTError: as ``save``.
        """
        config_file = cached_file(base, CONFIG_NAME)
        origin = {
            "id": name or base,
            "revision": extract_commit_hash(config_file, None),  # None for a folder
            "fingerprint": adapted.base_fingerprint,
        }
        self.model.config.processor_fingerprint = self.processor.fingerprint
        with _whole_folder(Path(folder), self.processor) as partial:
            save_adapter(adapted, partial, origin)

    @property
    def config(self) -> Any:
        """Of the model."""
        return self.model.config

    @cached_property
    def geometry(self) -> PatchGeometry:
        """The token layout of the model, ours or one of the transformers library."""
        own = getattr(self.config, "geometry", None)
        return (
            own
            if own is not None
            else RelViTConfig(backbone_config=vision_config(self.model)).geometry
        )

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.model.parameters()).dtype

    @cached_property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks, in order; see ``modeling.blocks``."""
        return blocks(self.model)

    @property
    def depth(self) -> int:
        """How many blocks the model has."""
        return len(self.blocks)

    def check(self, scenes: Pictured | None = None) -> None:
        """Raise RelViTError for a processor that the model was not trained with, or scenes of another geometry."""
        trained_with = getattr(self.config, "processor_fingerprint", None)
        if trained_with not in (None, self.processor.fingerprint) and not self.any_processor:
            raise RelViTError(
                f"an image processor {self.processor.fingerprint} for a model that was trained with {trained_with}: "
                "use the one of its checkpoint, which Checkpoint.open returns"
            )
        if scenes is not None and not len(scenes):
            raise RelViTError("no scenes: expected at least one")
        if scenes is not None and scenes.geometry is not None:
            self.geometry.check(scenes.geometry)

    def pixel_values(
        self, pictures: Pictured | UInt8[np.ndarray, "batch side side 3"]
    ) -> Float[torch.Tensor, "batch 3 side side"]:
        """The model's input, ``(batch, 3, side, side)`` in its dtype on its device.

        Args:
            pictures: scenes; or uint8 ``(batch, side, side, 3)``, numpy or torch.

        Raises:
            RelViTError: a processor that the model was not trained with; scenes of another geometry; pictures of
                another shape or dtype.
        """
        if isinstance(pictures, np.ndarray | torch.Tensor):
            self.check()
        else:
            self.check(pictures)
            pictures = pictures.pixels()
        return self.processor(pictures, self.device).to(self.dtype)

    def randomly_initialized(self, seed: int = RANDOM_SEED) -> Checkpoint:
        """The same architecture with random weights: it shows how much of the task needs no learning."""
        return replace(self, model=randomly_initialized(self.model, seed))

    def distribution(
        self,
        task: str | None = None,
        config: str | None = None,
        *,
        objects: ObjectSet | None = None,
        seed: int = 0,
    ) -> SceneDistribution:
        """The distribution that the model's scenes come from: the given one, else that of its training.

        Args:
            task: such as "discrimination" or "rmts".
            config: [STYLE-]GEOMETRY-COMBINATIONS, such as "b16-32" or "arrows-b16-256".
            objects: shapes and colors; those of the style, or ours, by default.
            seed: of the scenes.

        Raises:
            RelViTError: neither the caller nor the checkpoint says which scenes, or scenes of another geometry; no
                objects for a checkpoint that was trained on its user's own.
        """
        task, config = self.trained_on(task, config)
        style, rest = parse_style(config)
        geometry, combinations = parse_config(rest)
        self.geometry.check(geometry)
        known = getattr(self.config, "scenes", None) or {}
        if objects is None and style is None and "objects" in known:
            raise RelViTError(
                f"the checkpoint was trained on its user's own objects ({known['objects']}), and ours give other "
                "numbers: name their folder with --masks and --palette, or give objects=ObjectSet.from_folder(...)",
                page="unknown-scenes",
            )
        objects = objects or open_objects(style=style)
        return SceneDistribution(task, geometry, combinations, objects, seed)

    def trained_on(
        self,
        task: str | None = None,
        config: str | None = None,
    ) -> tuple[str, str]:
        """Task and config of its scenes: the given ones, else those of its training.

        Raises:
            RelViTError: neither the caller nor the checkpoint says it.
        """
        known = getattr(self.config, "scenes", None) or {}
        task = task or known.get("task")
        if known and config is None:
            config = f"{known['geometry']}-{known['combinations']}"
        if not task or not config:
            raise RelViTError(
                "the checkpoint does not say what it was trained on: name it with --task and --config",
                page="unknown-scenes",
            )
        return task, config


@contextlib.contextmanager
def _whole_folder(folder: Path, processor: PixelProcessor) -> Iterator[Path]:
    """A folder for the files of a checkpoint, which takes the place of ``folder`` when all of them are written."""
    with (
        as_relvit_error(
            f"cannot save the checkpoint {folder}", "free some space or choose another folder"
        ),
        partial_folder(folder) as partial,
        library_bars(),
    ):
        yield partial
        processor.save_pretrained(partial)
        follow_umask(partial)
        names = [path.name for path in partial.iterdir()]
        ours = (*names, *_WEIGHTS) if _is_checkpoint_of_ours(folder) else ()
        replace_folder(partial, folder, last="config.json", ours=ours)


def check_saves(folder: Path) -> None:
    """Raise RelViTError if ``Checkpoint.save`` would meet a model of somebody else in a folder, before any work."""
    if not _is_checkpoint_of_ours(folder):
        names = ["config.json", "preprocessor_config.json", *_WEIGHTS, *CODE_FILES]
        check_replaceable(folder, names)


def _is_checkpoint_of_ours(folder: Path) -> bool:
    """Whether ``Checkpoint.save`` wrote a folder: it alone notes the processor's fingerprint."""
    config = folder / "config.json"
    if not config.is_file():
        return in_cell(folder)
    try:
        values = read_json(config)
    except RelViTError:  # somebody else's, whatever it is
        return False
    return isinstance(values, dict) and values.get("processor_fingerprint") is not None


def unwrapped(model: Any) -> Any:
    """The model inside ``torch.compile``, data-parallel wrappers and peft's adapters, with its own blocks and hooks.

    Adapters stay at work, as peft puts them into the layers of the model. Compilation does not: analyses hook blocks.
    """
    if isinstance(model, PreTrainedModel) and not hasattr(model, "_orig_mod"):
        return model
    if adapted := getattr(model, "get_base_model", None):
        return unwrapped(adapted())
    inner = extract_model_from_parallel(model, keep_torch_compile=False)
    return model if inner is model else unwrapped(inner)


def randomly_initialized(model: Any, seed: int = RANDOM_SEED) -> Any:
    """A model of the same class and configuration with random weights, on the same device."""
    device = next(model.parameters()).device
    devices = [] if device.type == "cpu" else None
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        fresh = type(model)(copy.deepcopy(model.config))
    return fresh.to(device)


def _check_device(device: torch.device | str) -> None:
    """Raise RelViTError for a device that this torch cannot compute on; opening weights takes longer."""
    if device == "auto":
        return
    try:
        torch.zeros(1, device=device).item()
    except Exception as error:  # each backend raises its own
        raise RelViTError(
            f"device {str(device)!r} cannot be used here: expected auto, cpu or a GPU that is there, such as cuda:0"
        ) from error


def _placed(model: Any, device: torch.device | str) -> Any:
    """The model on a device; see ``Checkpoint.open`` for "auto"."""
    if device == "auto":
        device = "cpu"  # Apple's accelerator lacks the float64 of the analyses
        if torch.cuda.is_available():
            device = "cuda"
            torch.set_float32_matmul_precision("high")
    return model.to(device)


def _open_model(
    path_or_id: str | os.PathLike,
    revision: str | None,
    labels: Sequence[str] | None,
    base: str | os.PathLike | None = None,
) -> RelViTForImageClassification:
    """The model of a checkpoint, in float32 and in evaluation mode; see ``Checkpoint.open``."""
    problem = f"cannot open the checkpoint {path_or_id}"
    cure = "check the path, or download or save it again"
    with as_relvit_error(problem, cure, (Exception,)), library_bars():
        config = open_config(path_or_id, revision)
        ours = config.model_type == "relvit"
        name = (
            "RelViTForImageClassification" if ours else next(iter(config.architectures or []), "")
        )
        plain_names = {plain for family in FAMILIES.values() for plain in family.plain.values()}
        if not ours and name not in plain_names:
            raise RelViTError(
                f"{path_or_id} holds a {name or config.model_type}: expected a same/different classifier; "
                "fine-tune it first with relvit train",
                page="no-classifier",
            )
        if ours and labels is not None:
            raise RelViTError(
                f"{path_or_id} names the meaning of its classes itself: leave out the labels"
            )
        if not ours:
            check_backbone(getattr(config, "vision_config", config))
        adapted = bool(getattr(config, "adapter", None))
        if not adapted:
            check_weights(path_or_id, revision)
        if base is not None and not adapted:
            raise RelViTError(f"{path_or_id} is no adapter, so it needs no base: leave out {base}")
        options = {"base": base} if ours else {}
        model_class: Any = RelViTForImageClassification if ours else getattr(transformers, name)
        model, info = model_class.from_pretrained(
            path_or_id,
            revision=revision,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # reported below, in one line
            output_loading_info=True,
            **options,
        )
        check_loaded(path_or_id, info, ours=ours)
        if not ours:
            model = RelViTForImageClassification.from_plain(model, labels)
    return model.eval()


def check_loaded(path_or_id: str | os.PathLike, info: dict[str, Any], *, ours: bool = True) -> None:
    """Raise RelViTError unless the weights are those of the configuration.

    Args:
        path_or_id: of the checkpoint.
        info: the report of ``from_pretrained`` about loading it.
        ours: a model of ours, which has no other weights; ordinary ones may have.
    """
    unknown = [
        key for key in info["unexpected_keys"] if ours and not key.startswith("disentanglement.")
    ]
    faults = {
        "lack": info["missing_keys"],
        "have misshapen": [key for key, *_ in info["mismatched_keys"]],
        "have unknown": unknown,
    }
    for fault, keys in faults.items():
        if keys:
            raise RelViTError(
                f"the weights of {path_or_id} {fault} tensors, {len(keys)} in all, first {min(keys)}: "
                "expected those of its config.json; download or save it again"
            )
