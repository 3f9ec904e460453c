"""The photorealistic cells of a run: zero-shot accuracy, attention, and whether the set can be solved at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..analysis.attention import measure_attention
from ..analysis.similarity import measure_similarity
from ..errors import RelViTError
from ..geometry import PatchGeometry
from ..modeling.checkpoints import Checkpoint
from ..provenance import dataset_checksum
from ..report.run_folder import PHOTOREALISTIC as CELL
from ..report.run_folder import TRAINING, RunFolder, write_accuracy
from ..schemas import DataManifest, read_as
from ..stimuli.own_pictures import OwnPictures
from ..stimuli.own_rows import is_own_folder
from ..stimuli.photorealistic.pairs import PhotoPairs
from ..training.config import TrainConfig
from ..training.evaluation import PHOTOREALISTIC, evaluate
from ..training.precision import training_autocast
from ..training.run import build_model
from .cell import Cell

SCENES = 500
"""For the attention stages, twins together: as many as of flat scenes (the paper's number)."""


@dataclass(frozen=True)
class PhotoSet:
    """A set that ``relvit data build photorealistic`` made.

    Attributes:
        folder: ``--out`` of the build, with a folder for each config.
        config: name, such as "default".
        checksum: of rows and pixels, on which results depend, wherever the set lies.
    """

    folder: Path
    config: str
    checksum: str

    def pairs(self, geometry: PatchGeometry) -> PhotoPairs:
        """The scenes for a model of this geometry.

        Raises:
            RelViTError: a file is missing or damaged.
        """
        from ..building.dataset_folder import open_folder

        splits = open_folder(self.folder, self.config)
        return PhotoPairs.from_dataset(splits["test"], geometry)


def photo_configs(folder: Path) -> dict[str, dict]:
    """Name -> manifest of the photorealistic configs in a folder; empty if it holds something else."""
    configs = {}
    for path in sorted(Path(folder).glob("*/manifest.json")):
        manifest = read_as(path, DataManifest)
        if manifest.get("task") == PHOTOREALISTIC:
            configs[path.parent.name] = manifest
    return configs


@dataclass(frozen=True)
class OwnSet:
    """A folder of your own pictures, see ``stimuli.own_pictures``."""

    folder: Path

    def pairs(self, geometry: PatchGeometry) -> OwnPictures:
        """The pictures for a model of this geometry, checked and repaired.

        Raises:
            RelViTError: as ``OwnPictures.open``.
        """
        return OwnPictures.open(self.folder, geometry)


def open_test_set(folder: Path, config: str | None = None) -> PhotoSet | OwnSet:
    """Your own pictures where a folder describes some, else the photorealistic set in it; errors as ``open_set``."""
    if is_own_folder(folder):
        return OwnSet(folder)
    return open_set(folder, config)


def open_set(folder: str | Path, config: str | None = None) -> PhotoSet:
    """A built set; its files are checked when its scenes are read.

    Args:
        folder: ``--out`` of the build.
        config: name; without it the first in the folder, "default" before "tiny".

    Raises:
        RelViTError: the folder holds no photorealistic scenes, or none of this config.
    """
    built = photo_configs(Path(folder))
    name = config or next(iter(built), None)
    if name not in built:
        wanted = f" {config!r}" if config else ""
        cure = (
            "make them with `relvit data build photorealistic`, or describe your own pictures in metadata.csv "
            "beside them (docs/how_to/own_pictures.md)"
        )
        if built:
            cure = f"expected one of {', '.join(built)}"
        raise RelViTError(f"no photorealistic scenes{wanted} in {folder}: {cure}")
    checksum = dataset_checksum(built[name])
    return PhotoSet(Path(folder).resolve(), name, checksum)


def photorealistic_cells(config: TrainConfig, photos: PhotoSet, run: Path) -> list[Cell]:
    """The cells of a discrimination run; no other task has any (``ONE_PAIR``). ``run`` is its folder."""
    if config.task != "discrimination":
        return []
    settings = {**config.to_dict(), "photorealistic": photos.checksum}
    needs = (TRAINING,)
    test = _Test(config, photos, RunFolder(run))
    works = {
        "accuracy": test.accuracy,
        "frozen": test.frozen,
        "attention": test.attention,
    }
    return [Cell(CELL.format(name), work, needs, settings) for name, work in works.items()]


@dataclass(frozen=True)
class _Test:
    """A run that is tested on a set; each cell opens both anew."""

    config: TrainConfig
    photos: PhotoSet
    run: RunFolder

    def _opened(self) -> tuple[Checkpoint, PhotoPairs]:
        checkpoint = self.run.checkpoint()
        pairs = self.photos.pairs(checkpoint.geometry)
        return checkpoint, pairs

    def accuracy(self, folder: Path) -> None:
        checkpoint, pairs = self._opened()
        with training_autocast(self.config):
            table = evaluate(checkpoint, {PHOTOREALISTIC: pairs}, progress=True)
        write_accuracy(
            folder,
            table,
            seed=pairs.seed,
            processor=checkpoint.processor.fingerprint,
            data={"config": self.photos.config, "checksum": self.photos.checksum},
        )

    def frozen(self, folder: Path) -> None:
        """Of the checkpoint, of a pretrained backbone as it was before training, and of random weights."""
        checkpoint, pairs = self._opened()
        models = {"checkpoint": checkpoint}
        if isinstance(self.config.backbone, str):
            base = build_model(self.config)
            model = base.model.to(checkpoint.device)
            models["base"] = Checkpoint(model, base.processor)
        models["random weights"] = checkpoint.randomly_initialized()
        with training_autocast(self.config):
            similarity = measure_similarity(models, pairs, progress=True)
        similarity.save(folder)

    def attention(self, folder: Path) -> None:
        checkpoint, pairs = self._opened()
        with training_autocast(self.config):
            stages = measure_attention(checkpoint, pairs[:SCENES], progress=True)
        stages.save(folder)
