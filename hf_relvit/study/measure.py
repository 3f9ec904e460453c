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
from ..analysis.battery import Battery, BatteryConfig, measure_battery
from ..errors import RelViTError
from ..figures.battery import battery_figure
from ..geometry import SceneGeometry, matching_geometry
from ..modeling.blocks import vision_config
from ..modeling.checkpoint_errors import open_backbone_config
from ..modeling.checkpoints import Checkpoint
from ..provenance import provenance
from ..report.board import write_board
from ..report.pages import save_figures
from ..report.records import PROTOCOL, record_values, sealed, write_records
from ..schemas import NAME, BackboneRecord
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
                f"name {self.called!r}: expected letters, digits, and . / _ - in between, such as owner/name"
            )

    @property
    def called(self) -> str:
        """Its name in records: never a whole path, which tells about the machine."""
        if self.name is None and Path(self.path_or_id).exists():
            return Path(self.path_or_id).resolve().name
        return self.name or self.path_or_id

    def open(self) -> Checkpoint:
        """Its tokens are measured, so a head of its own does not matter.

        Raises:
            RelViTError: as ``Checkpoint.of_backbone`` and ``Checkpoint.open``.
        """
        where: dict[str, Any] = {"revision": self.revision, "device": self.device}
        config = open_backbone_config(self.path_or_id, self.revision)
        if config.model_type == "relvit":
            return Checkpoint.open(self.path_or_id, base=self.base, **where)
        return Checkpoint.of_backbone(self.path_or_id, **where)


def measure_backbone(
    backbone: Backbone,
    out: Path,
    config: BatteryConfig | None = None,
    *,
    tasks: Sequence[str] = TASKS,
    style: str | None = None,
    say: Callable[[str], object] = print,
) -> BackboneRecord:
    """Do the measurements that are missing, then write the record, the figure by layer and the page.

    Args:
        backbone: see Backbone.
        out: folder; a cell of each task and set of weights, ``record.jsonl`` and ``board.html``.
        config: see BatteryConfig.
        tasks: of ``stimuli.tasks``, each once.
        style: of the objects (``stimuli.styles``), one per folder; ours by default.
        say: is told what happens.

    Returns:
        The record, see ``schemas.BackboneRecord``.

    Raises:
        RelViTError: as ``Backbone.open``; an unknown task or style; no scenes for its image and patch size; files of
            somebody else in ``out``.
    """
    config = config or BatteryConfig()
    tasks = [task_of(task).name for task in dict.fromkeys(tasks)]
    open_objects(style=style)  # refuses an unknown one before any work
    checkpoint = backbone.open()
    geometry = matching_geometry(checkpoint.geometry)
    claim_reports(out, [out / PAGE, out / RECORD])
    weights = {"trained": checkpoint, "random": checkpoint.randomly_initialized()}
    frames = []
    for task in tasks:
        for name, subject in weights.items():
            folder = out / task / name
            settings = _settings(subject, config, task, style)
            work = partial(_measure, subject, task, config, style)
            say(f"[{task}, {name} weights] ...")
            if not run_cell(folder, settings, work):
                say(f"[{task}, {name} weights]: finished before")
            frames.append(Battery.load(folder).frame.assign(task=task, weights=name))
    frame = pd.concat(frames, ignore_index=True)
    record = _record(backbone, checkpoint, geometry, config, style, frame)
    write_records(out / RECORD, [record])
    curves = save_figures(battery_figure(frame), out / "battery")
    write_board([record], out, f"{record['model']}, without fine-tuning", curves)
    return record


def _measure(
    subject: Checkpoint,
    task: str,
    config: BatteryConfig,
    style: str | None,
    folder: Path,
) -> None:
    measure_battery(subject, task, config, style=style, progress=True).save(folder)


def _settings(
    subject: Checkpoint,
    config: BatteryConfig,
    task: str,
    style: str | None = None,
) -> dict[str, Any]:
    """All that the results depend on; the style only where there is one, as in older folders."""
    styled = {} if style is None else {"style": style}
    return {
        **asdict(replace(config, bf16=config.in_bf16)),
        **styled,
        "task": task,
        "protocol": PROTOCOL,
        "weights": fingerprint(subject.model.backbone),
        "processor": subject.processor.fingerprint,
    }


def _record(
    backbone: Backbone,
    checkpoint: Checkpoint,
    geometry: SceneGeometry,
    config: BatteryConfig,
    style: str | None,
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
        "image_size": geometry.image_size,
        "patch_size": geometry.patch_size,
        "weights": fingerprint(checkpoint.model.backbone),
        "processor": checkpoint.processor.fingerprint,
        "geometry": geometry.name if style is None else f"{style}-{geometry.name}",
        "objects": open_objects(style=style).fingerprint(),
        "settings": settings,
        "precision": "bf16" if config.in_bf16 else "float32",
        "values": record_values(frame),
        "provenance": provenance(seed=config.seed),
    }
    return sealed(record)
