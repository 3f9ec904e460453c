"""Scenes as training data: drawn on the fly, or read from a published dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from ..errors import RelViTError
from ..geometry import PatchGeometry, SceneGeometry
from ..modeling.processing import PixelProcessor, to_device
from ..stimuli.distribution import SceneDistribution
from ..stimuli.pictures import read_picture, read_pictures, undecoded
from ..stimuli.rendering import render
from ..stimuli.scenes import LABELS, SceneTable, scene_conditions
from .device_rendering import DeviceRenderer

_LABEL_COLUMNS = ("label", "labels")
"""Names of the answers in data sets: ours, and the usual one of those that are made for a Trainer."""
_MODEL_NAMES = {
    **dict.fromkeys(_LABEL_COLUMNS, "labels"),
    **{name: name for name in ("patches", "shape", "color")},
}
"""Column -> keyword of the model."""


class SceneDataset(Dataset):
    """Scenes rendered when they are asked for: nothing on disk, nothing stale, any index at once.

    With ``length`` above ``n`` the scenes are fresh: block ``b`` of ``n`` scenes is drawn anew for the indices from
    ``b * n`` on. Memory does not grow with the length, and item ``i`` is the same whoever asks for it and when, so
    resuming and sharding over processes need no care. Read fresh scenes in order: a jump costs a block.

    Args:
        distribution: where the scenes come from.
        split, n: as in ``SceneDistribution.sample``.
        length: number of items; ``n`` by default.
        device: an accelerator to render on, the same pixels; by default they are numpy arrays of the host.
    """

    def __init__(
        self,
        distribution: SceneDistribution,
        split: str,
        n: int,
        *,
        length: int | None = None,
        device: torch.device | None = None,
    ):
        self.distribution = distribution
        self.split = split
        self.n = n
        self.length = n if length is None else length
        self._block = 0
        self._table = distribution.sample(split, n)
        self._kept: dict[str, torch.Tensor] = {}
        self._render: Callable[[SceneTable], Any] = render
        if device is not None:
            self._render = DeviceRenderer(distribution.objects, self._table.geometry, device)

    @property
    def pixel_bytes(self) -> int:
        """Of the images of a block."""
        return self.n * self._table.geometry.image_size**2 * 3

    def keep(self, device: torch.device) -> None:
        """Render the scenes of a fixed set now and keep them there; batches are then tensors on that device."""
        batch = self.__getitems__(list(range(self.length)))
        for key, value in batch.items():
            tensor = value if torch.is_tensor(value) else torch.from_numpy(np.array(value))
            self._kept[key] = tensor.to(device)

    def __len__(self) -> int:
        return self.length

    def table(self, block: int = 0) -> SceneTable:
        """The scenes of a block of ``n``."""
        if block != self._block:
            self._block = block
            self._table = self.distribution.sample(self.split, self.n, block)
        return self._table

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {key: value[0] for key, value in self.__getitems__([index]).items()}

    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        """A batch at once, as ``DataLoader`` asks for it.

        Returns:
            ``image`` uint8 ``(batch, height, width, 3)``, ``label`` int8 ``(batch,)``, ``patches`` int64 ``(batch,
            objects, patches per object)``, ``shape`` and ``color`` int16 ``(batch, objects)``, ``difference`` and
            ``relation`` int8 ``(batch, pairs)``. Arrays, or tensors after ``keep``.
        """
        wanted = np.asarray(indices)
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < self.length:
            raise IndexError(f"indices {wanted.min()} to {wanted.max()} of {self.length} scenes")
        if self._kept:
            rows = to_device(wanted, self._kept["image"].device)
            return {key: value[rows] for key, value in self._kept.items()}
        blocks = wanted // self.n
        parts = []
        for block in np.unique(blocks):
            rows = wanted[blocks == block] % self.n
            parts.append(self._to_batch(self.table(block)[rows]))
        batch = _concatenate(parts)
        if len(parts) == 1:
            return batch
        by_block = np.argsort(blocks, kind="stable")
        order = np.argsort(by_block, kind="stable")
        return {key: value[order] for key, value in batch.items()}

    def _to_batch(self, table: SceneTable) -> dict[str, Any]:
        return {
            "image": self._render(table),
            "label": table.label,
            "patches": table.patches(),
            "shape": table.shape,
            "color": table.color,
            "difference": table.difference,
            "relation": table.relation,
        }


def _concatenate(parts: list[dict[str, Any]]) -> dict[str, Any]:
    joined = {}
    for key, first in parts[0].items():
        join = torch.cat if torch.is_tensor(first) else np.concatenate
        joined[key] = join([part[key] for part in parts])
    return joined


class PublishedScenes:
    """Rows of a published dataset as scenes to evaluate on, with the columns of ``SceneTable`` that they have.

    Args:
        data: a ``datasets.Dataset`` with the columns ``image`` and ``label`` (or ``labels``); kinds of scenes need
            ``difference`` and ``relation``.
        side: of the pictures, pixels; others are refused before they are decoded. By default any.
        first: number of the first row, as messages count them.

    Raises:
        RelViTError: no dataset, or one without pictures.
    """

    task = "published"
    geometry = None

    def __init__(self, data: Any, side: int | None = None, first: int = 0):
        if not hasattr(data, "column_names") or not hasattr(data, "select"):
            raise RelViTError(
                f"scenes in a {type(data).__name__}: expected scenes of this package, or a datasets.Dataset"
            )
        self.data = data
        self._name("image")
        self.data = undecoded(data, "image")
        self.side = side
        self.first = first

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, rows: slice) -> PublishedScenes:
        wanted = range(*rows.indices(len(self)))
        return PublishedScenes(self.data.select(wanted), self.side, self.first + wanted.start)

    def _name(self, *names: str) -> str:
        """The first of these columns that is there."""
        there = self.data.column_names
        column = next((name for name in names if name in there), None)
        if column is None:
            raise RelViTError(
                f"a dataset with the columns {', '.join(there)}: expected one called {' or '.join(names)}; rename "
                "yours"
            )
        return column

    def _column(self, name: str) -> np.ndarray | None:
        if name not in self.data.column_names:
            return None
        values = np.asarray(self.data.with_format("numpy")[name])
        if values.ndim != 2 or values.dtype.kind not in "iu":
            raise RelViTError(
                f"column {name} of a dataset: expected a list of integers in each row, one for each pair of objects"
            )
        return values

    @property
    def label(self) -> np.ndarray:
        """``(n,)``, 0 different, 1 same: by the names of the classes where the column has them, in whichever order.

        Raises:
            RelViTError: no column of labels, or classes of other names.
        """
        column = self._name(*_LABEL_COLUMNS)
        values = np.asarray(self.data.with_format("numpy")[column])
        names = _classes(self.data, column)
        if names is None:
            return values
        meaning = np.array([LABELS.index(name) for name in names])
        return meaning[values]

    @property
    def clusters(self) -> np.ndarray:
        return np.arange(len(self))

    def pixels(self) -> np.ndarray:
        """The pictures, uint8 ``(n, height, width, 3)``; errors as ``pictures.read_pictures``."""
        return np.stack(list(read_pictures(self.data, "image", self.side, self.first)))

    def conditions(self) -> dict[str, np.ndarray]:
        """Kinds of scenes, see ``scenes.scene_conditions``."""
        kinds = ("difference", "relation")
        return scene_conditions(*[self._column(kind) for kind in kinds])


def _classes(data: Any, column: str) -> list[str] | None:
    """The names of a column's classes in their order; None where numbers stand for themselves."""
    features = getattr(data, "features", None) or {}
    names = getattr(features.get(column), "names", None)
    if names is not None and sorted(names) != sorted(LABELS):
        raise RelViTError(
            f"labels {', '.join(names)} in column {column!r}: expected the classes different and same"
        )
    return names


def check_label_order(data: Any) -> None:
    """Raise RelViTError for a data set whose classes stand in another order than the model's.

    Training sees numbers only: on such a set it would learn the opposite, without a sign.
    """
    for column in _LABEL_COLUMNS:
        names = _classes(data, column)
        if names is not None and tuple(names) != LABELS:
            mapping = {name: number for number, name in enumerate(LABELS)}
            raise RelViTError(
                f"classes {', '.join(names)} in column {column!r}: expected {', '.join(LABELS)}, as the model counts "
                f"them; use data.align_labels_with_mapping({mapping}, {column!r})"
            )


class RelViTCollator:
    """Batches for a model: from ``SceneDataset`` or from rows of a published dataset.

    Args:
        processor: turns uint8 pixels into the model's input.
        geometry: of the model.
        scene_geometry: of the scenes; checked against the model's.
        device: where batches go; pixels travel as bytes and become floats there.

    Raises:
        RelViTError: the scenes' image or patch size is not the model's.
    """

    def __init__(
        self,
        processor: PixelProcessor,
        geometry: PatchGeometry,
        scene_geometry: SceneGeometry | None = None,
        device: torch.device | str = "cpu",
    ):
        if scene_geometry is not None:
            geometry.check(scene_geometry)
        self.processor = processor
        self.geometry = geometry
        self.device = torch.device(device)

    def __call__(self, rows) -> dict[str, torch.Tensor]:
        """Rows, or a batch that is already stacked, to tensors.

        Returns:
            ``pixel_values`` float32 ``(batch, 3, height, width)``, ``labels`` int64 ``(batch,)``, and, where the data
            has them, ``patches`` int64 ``(batch, objects, patches)``, ``shape`` and ``color`` int64 ``(batch,
            objects)``.
        """
        if not isinstance(rows, Mapping):
            first = rows[0]
            if not isinstance(first, Mapping) or "image" not in first:
                given = ", ".join(first) if isinstance(first, Mapping) else type(first).__name__
                raise RelViTError(
                    f"rows without an image ({given}): expected the columns image and label; Trainer "
                    "removes them unless it has remove_unused_columns=False"
                )
            rows = _stack(rows, self.geometry.image_size)
        image = rows["image"]
        if image.shape[1:3] != (self.geometry.image_size,) * 2:
            raise RelViTError(
                f"images of {image.shape[2]} x {image.shape[1]} pixels for a model of {self.geometry.image_size}: "
                "use the dataset config of the model's geometry"
            )
        batch = {"pixel_values": self.processor(image, self.device)}
        for key, name in _MODEL_NAMES.items():
            if key in rows:
                value = rows[key]
                value = value.long() if torch.is_tensor(value) else value.astype(np.int64)
                batch[name] = to_device(value, self.device)
        return batch


def _stack(rows: list[dict], side: int) -> dict[str, np.ndarray]:
    """Rows of a published dataset (``image`` a picture) or of ``SceneDataset`` to one batch."""
    images = []
    for number, row in enumerate(rows):
        image = row["image"]
        rendered = isinstance(image, np.ndarray | torch.Tensor)
        images.append(
            np.asarray(image)
            if rendered
            else read_picture(image, f"image of row {number} of a batch", side)
        )
    batch = {"image": np.stack(images)}
    for key in (*_LABEL_COLUMNS, "patches", "shape", "color", "difference", "relation"):
        if key in rows[0]:
            batch[key] = np.stack([np.asarray(row[key]) for row in rows])
    return batch


def with_stored_pictures(data: Any) -> Any:
    """A dataset whose pictures the collator decodes, after their checks; anything else as it is.

    Args:
        data: of a Trainer. A ``datasets.Dataset`` with a format or a transformation of its own stays: they
            may want decoded pictures.
    """
    form = getattr(data, "format", None) or {}
    own_form = form.get("type") is not None
    return data if own_form or not hasattr(data, "cast_column") else undecoded(data, "image")
