"""The photorealistic cells of a run: zero-shot accuracy, attention, and whether the set can be solved at all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from ..analysis.attention import AttentionStages, attention_stages
from ..analysis.frozen import FrozenFeatures, frozen_features
from ..errors import RelViTError
from ..geometry import PatchGeometry
from ..provenance import dataset_checksum, provenance, read_json, whole_file, write_json
from ..stimuli.photorealistic.pairs import PhotoPairs
from ..training.config import TrainConfig
from ..training.evaluation import random_twin
from ..training.photorealistic import evaluate_photorealistic
from ..training.run import as_trained, build_model
from .cells import MANIFEST, Cell
from .run import open_model

SCENES = 500
"""For the attention stages, twins together: as many as of flat scenes (the paper's number)."""

ONE_PAIR = (
    "Photorealistic scenes show one pair of objects and ask whether these are the same: they test models of that "
    "task. This one compares two pairs, so it was not tested on them."
)


@dataclass(frozen=True)
class PhotoSet:
    """A set that ``relvit data build photorealistic`` made.

    Attributes:
        folder: ``--out`` of the build, with a folder for each config.
        config: name, such as "default".
        checksum: of rows and pixels: what results depend on, wherever the set lies.
    """

    folder: Path
    config: str
    checksum: str

    def pairs(self, geometry: PatchGeometry) -> PhotoPairs:
        """The scenes for a model of this geometry.

        Raises:
            RelViTError: a file is missing or damaged.
        """
        from ..dataset_builders.build import open_folder  # pyright: ignore[reportMissingImports]

        return PhotoPairs.from_dataset(open_folder(self.folder, self.config)["test"], geometry)


@dataclass(frozen=True)
class PhotoResults:
    """What the photorealistic cells of a run found.

    Attributes:
        accuracy: of ``evaluate_photorealistic``.
        frozen: of ``frozen_features``.
        stages: of the attention.
        data: ``config, checksum`` of the set.
    """

    accuracy: pd.DataFrame
    frozen: pd.DataFrame
    stages: AttentionStages
    data: dict[str, str]

    @classmethod
    def load(cls, run: Path) -> PhotoResults | None:
        """The results of a run, from its folder; None unless all of its photorealistic cells are finished."""
        folder = run / "photorealistic"
        if not all((folder / name / MANIFEST).exists() for name in _WORKS):
            return None
        return cls(
            pd.read_parquet(folder / "accuracy" / "accuracy.parquet"),
            FrozenFeatures.load(folder / "frozen").frame,
            AttentionStages.load(folder / "attention"),
            read_json(folder / "accuracy" / "provenance.json")["data"],
        )


def photo_configs(folder: Path) -> dict[str, dict]:
    """Name -> manifest of the photorealistic configs in a folder; empty if it holds something else."""
    found = {path.parent.name: read_json(path) for path in sorted(Path(folder).glob("*/manifest.json"))}
    return {name: manifest for name, manifest in found.items() if manifest.get("task") == "photorealistic"}


def open_set(folder: str | Path, config: str | None = None) -> PhotoSet:
    """A built set; its files are checked when its scenes are read.

    Args:
        folder: ``--out`` of the build.
        config: name; without it the first in the folder, "default" before "tiny".

    Raises:
        RelViTError: the folder holds no photorealistic scenes, or none of this config.
    """
    there = photo_configs(Path(folder))
    name = config or next(iter(there), None)
    if name not in there:
        cure = f"expected one of {', '.join(there)}" if there else "make them with `relvit data build photorealistic`"
        raise RelViTError(f"no photorealistic scenes{f' {config!r}' if config else ''} in {folder}: {cure}")
    return PhotoSet(Path(folder).resolve(), name, dataset_checksum(there[name]))


def photorealistic_cells(config: TrainConfig, photos: PhotoSet, run: Path) -> list[Cell]:
    """The cells of a discrimination run; no other task has any (``ONE_PAIR``). ``run`` is its folder."""
    if config.task != "discrimination":
        return []
    settings = config.to_dict() | {"photorealistic": photos.checksum}
    return [
        Cell(f"photorealistic/{name}", partial(work, config, photos, run), ("training",), settings)
        for name, work in _WORKS.items()
    ]


def _opened(photos: PhotoSet, run: Path):
    model, processor = open_model(run)
    return model, processor, photos.pairs(model.config.geometry)


def _accuracy(config: TrainConfig, photos: PhotoSet, run: Path, folder: Path) -> None:
    model, processor, pairs = _opened(photos, run)
    with as_trained(config):
        table = evaluate_photorealistic(model, processor, pairs, progress=True)
    with whole_file(folder / "accuracy.parquet") as temporary:
        table.to_parquet(temporary)
    data = {"config": photos.config, "checksum": photos.checksum}
    write_json(folder / "provenance.json", provenance(seed=pairs.seed, processor=processor.fingerprint, data=data))


def _frozen(config: TrainConfig, photos: PhotoSet, run: Path, folder: Path) -> None:
    """Of the checkpoint, of a pretrained backbone as it was before training, and of random weights."""
    model, processor, pairs = _opened(photos, run)
    models = {"checkpoint": (model, processor)}
    if isinstance(config.backbone, str):
        base, own = build_model(config)
        models["base"] = base.to(model.device), own
    models["random weights"] = (random_twin(model), processor)
    with as_trained(config):
        frozen_features(models, pairs, progress=True).save(folder)


def _attention(config: TrainConfig, photos: PhotoSet, run: Path, folder: Path) -> None:
    model, processor, pairs = _opened(photos, run)
    with as_trained(config):
        attention_stages(model, processor, pairs[:SCENES], progress=True).save(folder)


_WORKS = {"accuracy": _accuracy, "frozen": _frozen, "attention": _attention}
