"""The folder of a training on disk: the one place that knows the names of its files."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RelViTError
from ..modeling.checkpoints import Checkpoint
from ..schemas import History, SavedModel, read_as
from .arguments import unknown_key
from .config import TrainConfig, upgrade


@dataclass(frozen=True)
class TrainingFolder:
    """A folder that ``train`` wrote, or is writing.

    Attributes:
        path: of the folder.
    """

    path: Path

    @property
    def config_file(self) -> Path:
        """The settings, as they were resolved."""
        return self.path / "config.json"

    @property
    def history_file(self) -> Path:
        """The log of the training, with provenance; written last."""
        return self.path / "history.json"

    @property
    def model(self) -> Path:
        """The checkpoint: weights, configuration, image processor and card."""
        return self.path / "model"

    @property
    def weights(self) -> Path:
        """Of the checkpoint, if they are in one file."""
        return self.model / "model.safetensors"

    @property
    def card(self) -> Path:
        """The card of the checkpoint."""
        return self.model / "README.md"

    @property
    def processor_fingerprint(self) -> str:
        """Of the image processor; RelViTError if the model's configuration does not say."""
        file = self.model / "config.json"
        fingerprint = read_as(file, SavedModel).get("processor_fingerprint")
        if fingerprint is None:
            raise RelViTError(f"{file} names no image processor: expected a model of relvit train")
        return fingerprint

    @property
    def checkpoints(self) -> Path:
        """Checkpoints for an interrupted training to go on from; gone when it is finished."""
        return self.path / "checkpoints"

    @property
    def config(self) -> dict[str, Any]:
        """RelViTError if there are none."""
        return read_as(self.config_file)

    def settings(self) -> TrainConfig:
        """The settings of the run, by today's names whichever version wrote them.

        Raises:
            RelViTError: no settings, or unknown ones.
        """
        values = self.config
        if not isinstance(values, dict):
            raise RelViTError(
                f"{self.config_file} holds {type(values).__name__}: expected settings"
            )
        values = upgrade(values)
        known = [field.name for field in dataclasses.fields(TrainConfig)]
        for key in values:
            if key not in known:
                raise RelViTError(f"{self.config_file}: {unknown_key(key, known)}")
        try:
            return TrainConfig(**values)
        except RelViTError as error:
            raise RelViTError(f"{self.config_file}: {error}") from error

    @property
    def history(self) -> dict[str, Any]:
        """``log`` and ``provenance``; RelViTError if there is none."""
        return read_as(self.history_file, History)

    def finished(self) -> bool:
        """Whether the training came to its end."""
        return self.history_file.is_file() and (self.model / "config.json").is_file()

    def checkpoint(self) -> Checkpoint:
        """The trained model and its processor, on the GPU if there is one."""
        return Checkpoint.open(self.model, device="auto")
