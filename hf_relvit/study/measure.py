"""A backbone without fine-tuning: the battery on every task, beside random weights; a record and a page of it.

A cell per task and set of weights, so that an interrupted measurement goes on where it was.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from ..analysis.alignment import fingerprint
from ..analysis.battery import (
    Battery,
    BatteryConfig,
    Subject,
    subject_of_pictures,
    subject_of_task,
)
from ..analysis.frozen_edits import VERSION, FrozenEdits, measure_edits
from ..analysis.result import Result
from ..doors import check_choice
from ..errors import RelViTError
from ..figures.battery import battery_figure, edits_figure
from ..geometry import Placement, matching_geometry, nearest_geometry
from ..modeling.blocks import vision_config
from ..modeling.checkpoint_errors import open_backbone_config
from ..modeling.checkpoints import Checkpoint
from ..modeling.config_values import square_side
from ..provenance import provenance
from ..report.board import write_board
from ..report.pages import save_figures
from ..report.records import PROTOCOL, record_values, sealed, write_records
from ..schemas import NAME, BackboneRecord
from ..stimuli.own_pictures import OwnPictures
from ..stimuli.styles import open_objects
from ..stimuli.tasks import task_of
from .cell import run_cell
from .run import claim_reports

TASKS = ("discrimination", "rmts")
"""Measured where no task is named."""
RECORD = "record.jsonl"
PAGE = "board.html"


@dataclass(frozen=True)
class Backbone:
    """A backbone to be measured.

    Attributes:
        path_or_id: folder or Hub id of a backbone, or of a fine-tuned checkpoint of ours.
        name: in records; by default the id, or the last part of the path.
        revision: on the Hub.
        base: of an adapter, where its backbone is not where it says.
        device: as for ``Checkpoint.open``.

    Raises:
        RelViTError: a name that is no name.
    """

    path_or_id: str
    name: str | None = None
    revision: str | None = None
    base: str | None = None
    device: str = "auto"

    def __post_init__(self):
        if re.match(NAME, self.called) is None:
            raise RelViTError(
                f"name {self.called!r}: expected letters, digits, and . / _ - in between, but no --; name it by "
                "--name, such as owner/name"
            )

    @property
    def called(self) -> str:
        """Its name in records: never a whole path, which tells about the machine."""
        if self.name is not None:
            return self.name
        here = Path(self.path_or_id)
        return here.resolve().name if here.exists() else self.path_or_id

    def open(self, *, for_scenes: bool = False) -> Checkpoint:
        """Its tokens are measured, so a head of its own does not matter.

        Args:
            for_scenes: where there are no scenes of its image size, read those of its patches that there are, such as
                224 px for a DINOv2 of 518 px.

        Raises:
            RelViTError: as ``Checkpoint.of_backbone`` and ``Checkpoint.open``.
        """
        where: dict[str, Any] = {"revision": self.revision, "device": self.device}
        config = open_backbone_config(self.path_or_id, self.revision)
        if config.model_type == "relvit":
            return Checkpoint.open(self.path_or_id, base=self.base, **where)
        size = scene_size(config) if for_scenes else None
        return Checkpoint.of_backbone(self.path_or_id, image_size=size, **where)


def scene_size(config: Any) -> int | None:
    """The image size at which a backbone reads scenes, pixels; None for its own.

    Args:
        config: of the backbone, or of a model around it.
    """
    tower = getattr(config, "vision_config", config)
    side, patch = (
        square_side(name, getattr(tower, name, None)) for name in ("image_size", "patch_size")
    )
    if side is None or patch is None or side < patch:
        return None  # refused when it is opened
    preset = nearest_geometry(side, patch)
    return None if preset is None else preset.image_size


def measure_backbone(
    backbone: Backbone,
    out: Path,
    config: BatteryConfig | None = None,
    *,
    tasks: Sequence[str] = TASKS,
    style: str | None = None,
    placement: Placement = "grid",
    say: Callable[[str], object] = print,
) -> BackboneRecord:
    """Do the measurements that are missing, then write the record, the figure by layer and the page.

    Args:
        backbone: see Backbone.
        out: folder; a cell of each task and set of weights, ``record.jsonl`` and ``board.html``.
        config: see BatteryConfig.
        tasks: of ``stimuli.tasks``, each once.
        style: of the objects (``stimuli.styles``), one per folder; ours by default.
        placement: of the objects, one per folder; see ``measure_battery``.
        say: is told what happens.

    Returns:
        The record, see ``schemas.BackboneRecord``.

    Raises:
        RelViTError: as ``Backbone.open``; an unknown task or style; no scenes for its image and patch size; files of
            somebody else in ``out``.
    """
    config = config or BatteryConfig()
    check_choice("placement", placement, Placement)
    tasks = [task_of(task).name for task in dict.fromkeys(tasks)]
    objects = open_objects(style=style)  # refuses an unknown one before any work
    checkpoint = backbone.open(for_scenes=True)
    name = matching_geometry(checkpoint.geometry).with_placement(placement).name
    if checkpoint.config.resized:
        side = checkpoint.geometry.image_size
        say(f"no scenes of its image size: reads those of {side} px, its positions interpolated")
    measured = _Measured(
        name if style is None else f"{style}-{name}",
        objects.fingerprint(),
        {
            task: partial(subject_of_task, task=task, style=style, placement=placement)
            for task in tasks
        },
        _pictured(style, placement),
    )
    return _measure(backbone, checkpoint, out, config, measured, say)


def _pictured(style: str | None, placement: Placement) -> dict[str, str]:
    """Settings of cells that older folders do not name."""
    settings = {} if style is None else {"style": style}
    return settings if placement == "grid" else {**settings, "placement": placement}


def measure_folder(
    backbone: Backbone,
    out: Path,
    folder: Path,
    config: BatteryConfig | None = None,
    *,
    say: Callable[[str], object] = print,
) -> BackboneRecord:
    """The same on your own pictures: attention, whether "same" can be read, and likeness.

    Args:
        backbone, out, config, say: as for ``measure_backbone``; the pictures decide how many train, choose and test.
        folder: of pictures that are described, see ``stimuli.own_pictures``.

    Raises:
        RelViTError: as ``Backbone.open`` and ``OwnPictures.open``; too few pictures; files of somebody
            else in ``out``.
    """
    config = config or BatteryConfig()
    checkpoint = backbone.open()
    pictures = OwnPictures.open(folder, checkpoint.geometry)
    parts = pictures.parts(config.seed)
    for repair in pictures.repairs:
        say(f"repaired: {repair}")
    fingerprint = pictures.fingerprint()
    measured = _Measured(
        pictures.name,
        fingerprint,
        {pictures.task: partial(subject_of_pictures, pictures=pictures)},
        {"pictures": fingerprint},
    )
    used = replace(
        config,
        train_scenes=len(parts["train"]),
        validation_scenes=len(parts["validation"]),
        scenes=len(parts["test"]),
        attention_scenes=min(config.attention_scenes, len(parts["test"])),
    )
    return _measure(backbone, checkpoint, out, used, measured, say)


@dataclass(frozen=True)
class _Measured:
    """The pictures that a backbone is measured on.

    Attributes:
        geometry: in the record.
        objects: fingerprint of shapes and colors, or of pictures.
        subjects: task -> function from a checkpoint and settings to a subject of measurements.
        settings: of cells, beside those of the battery.
    """

    geometry: str
    objects: str
    subjects: Mapping[str, Callable[..., Subject]]
    settings: Mapping[str, str]


def _measure(
    backbone: Backbone,
    checkpoint: Checkpoint,
    out: Path,
    config: BatteryConfig,
    measured: _Measured,
    say: Callable[[str], object],
) -> BackboneRecord:
    """Two cells per task and set of weights, then the record and its page."""
    claim_reports(out, [out / PAGE, out / RECORD])
    weights = {"trained": checkpoint, "random": checkpoint.randomly_initialized()}
    frames = []
    for task, subject_of in measured.subjects.items():
        for name, model in weights.items():
            settings = {**_settings(model, config, task), **measured.settings}
            subject = subject_of(model, config=config, progress=True)
            parts = _cells(subject, out / task, name, settings, say)
            frames += [part.assign(task=task, weights=name) for part in parts]
    frame = pd.concat(frames, ignore_index=True)
    record = _record(backbone, checkpoint, config, measured, frame)
    write_records(out / RECORD, [record])
    curves = save_figures(battery_figure(frame), out / "battery")
    edits = None
    if "replacement" in frame and frame.replacement.notna().any():
        edits = save_figures(edits_figure(frame), out / "edits")
    title = f"{record['model']}, without fine-tuning"
    write_board([record], out, title, curves, edits)
    return record


def _cells(
    subject: Subject,
    out: Path,
    name: str,
    settings: dict[str, Any],
    say: Callable[[str], object],
) -> list[pd.DataFrame]:
    """The tables of the battery and of the edits, which are no cell of your own pictures: these are not labeled."""
    battery = _finished(subject.battery, out / name, settings, say)
    tables = [Battery.load(battery).frame]
    if subject.distribution is not None:
        work = partial(measure_edits, subject, tables[0])
        versioned = {**settings, "edits": VERSION}
        edits = _finished(work, out / f"{name}_edits", versioned, say)
        frame = FrozenEdits.load(edits).frame
        tables += [frame] if len(frame) else []  # none where nothing can be edited
    return tables


def _finished(
    work: Callable[[], Result],
    folder: Path,
    settings: dict[str, Any],
    say: Callable[[str], object],
) -> Path:
    """The folder of a cell, once it is done."""
    cell = f"{folder.parent.name}, {folder.name.replace('_', ', ')}"
    say(f"[{cell}] ...")
    if not run_cell(folder, settings, lambda where: work().save(where)):
        say(f"[{cell}]: finished before")
    return folder


def _settings(
    subject: Checkpoint,
    config: BatteryConfig,
    task: str,
) -> dict[str, Any]:
    """All that the results depend on, but for the pictures."""
    return {
        **asdict(replace(config, bf16=config.in_bf16)),
        "task": task,
        "protocol": PROTOCOL,
        "weights": fingerprint(subject.model.backbone),
        "processor": subject.processor.fingerprint,
    }


def _record(
    backbone: Backbone,
    checkpoint: Checkpoint,
    config: BatteryConfig,
    measured: _Measured,
    frame: pd.DataFrame,
) -> BackboneRecord:
    settings = asdict(config)
    del settings["bf16"]
    vision: Mapping[str, Any] = vision_config(checkpoint.model.backbone).to_dict()
    sizes = [parameter.numel() for parameter in checkpoint.model.backbone.parameters()]
    record = {
        "protocol": PROTOCOL,
        "model": backbone.called,
        "revision": backbone.revision,
        "family": vision["model_type"],
        "layers": checkpoint.depth,
        "hidden": vision["hidden_size"],
        "parameters": sum(sizes),
        "image_size": checkpoint.geometry.image_size,
        "patch_size": checkpoint.geometry.patch_size,
        "weights": fingerprint(checkpoint.model.backbone),
        "processor": checkpoint.processor.fingerprint,
        "geometry": measured.geometry,
        "objects": measured.objects,
        "settings": settings,
        "precision": "bf16" if config.in_bf16 else "float32",
        "values": record_values(frame),
        "provenance": provenance(seed=config.seed),
    }
    return sealed(record)
