"""The folders of a run and of a study on disk: the one place that knows the names of their files.

    run = RunFolder(Path("runs/quick/seed0"))
    run.table("accuracy")                        # one row per split and kind of pair
    run.alignment("color", 2)                    # opened, ready to be attached to a model
    run.finished(probe_cell("judgement"))        # whether that cell is finished

``docs/run_folder.md`` is made of ``LAYOUT`` by ``layout_page``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from ..analysis.alignment import Alignment
from ..analysis.attention import AttentionStages
from ..analysis.probes import Probes
from ..errors import RelViTError
from ..files import write_json, write_table
from ..manifest import MANIFEST, is_finished
from ..modeling.checkpoints import Checkpoint
from ..provenance import provenance
from ..recipes.alignment import FOLDERS, alignment_cell
from ..recipes.probes import probe_cell
from ..recipes.recipes import SECTIONS
from ..schemas import read_as
from ..tables import read_table
from ..training.training_folder import TrainingFolder

DATA = "data"
TRAINING = "training"
EVALUATION = "evaluation"
ATTENTION = "attention"
PHOTOREALISTIC = "photorealistic/{}"
"""Cells, by their folders in the run's; those of the recipes stand with these."""

_ACCURACY = "accuracy.parquet"
_TABLES = {
    "accuracy": f"{EVALUATION}/{_ACCURACY}",
    "attention": f"{ATTENTION}/attention.parquet",
    "photorealistic": f"photorealistic/accuracy/{_ACCURACY}",
    **{name: section.tables for name, section in SECTIONS.items()},
}
_COLUMNS = {
    "accuracy": ("split", "condition", "base_accuracy"),
    "photorealistic": ("split", "condition", "base_accuracy"),
    **{name: section.keys for name, section in SECTIONS.items()},
}
_PROVENANCE = "provenance.json"
VIEWER = f"{ATTENTION}/viewer.png"
"""The attention of single heads on one scene, by its path in the run."""
_FIGURES = "figures"
_REPORT = "report.html"
_FINISH = "let relvit study run finish it"


@dataclass(frozen=True)
class Entry:
    """One line of the layout.

    Attributes:
        path: in the folder of a run; names in <> vary.
        words: its description.
    """

    path: str
    words: str


LAYOUT = (
    Entry(f"{DATA}/<config>/", "the scenes of every split, as `relvit data build` writes them"),
    Entry(f"{TRAINING}/config.json", "the settings of the training, resolved"),
    Entry(f"{TRAINING}/history.json", "the log of the training, with provenance; written last"),
    Entry(f"{TRAINING}/model/", "the checkpoint: weights, configuration, image processor, card"),
    Entry(
        f"{TRAINING}/checkpoints/",
        "checkpoints for an interrupted training to go on from; gone at its end",
    ),
    Entry(_TABLES["accuracy"], "accuracy per split and kind of pair"),
    Entry(_TABLES["attention"], "attention per layer and head, with `attention.json`"),
    Entry(VIEWER, "the attention of single heads on one scene"),
    *[Entry(*line) for section in SECTIONS.values() for line in section.layout.items()],
    Entry(_TABLES["photorealistic"], "zero-shot accuracy on photorealistic pairs"),
    Entry("photorealistic/frozen/", "whether similarity of tokens solves the photorealistic set"),
    Entry("photorealistic/attention/", "attention stages on photorealistic pairs"),
    Entry(f"{_FIGURES}/<figure>.png", "figures of the report, each as .svg as well"),
    Entry(
        _REPORT, "the report of the run; that of a study with one run lies in the study's folder"
    ),
    Entry(
        f"<cell>/{MANIFEST}", "says that a cell is finished: its settings, checksums of its files"
    ),
)
"""All that a run may have on disk."""


def figure_path(name: str) -> str:
    """A figure of the report as PNG, by its path in the run."""
    return f"{_FIGURES}/{name}.png"


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run: of a study, or of a training alone.

    A missing file, or one of an older version, is one line of RelViTError.

    Attributes:
        path: of the folder.
        training_alone: the folder is that of ``relvit train``, so the training is the whole of it.
    """

    path: Path
    training_alone: bool = False

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """A run that has been trained: of a study, a study with one run, or the folder of ``relvit train``.

        Raises:
            RelViTError: several runs, or no finished training.
        """
        path = Path(path)
        if not (path / TRAINING).is_dir():
            runs = StudyFolder(path).runs()
            if len(runs) > 1:
                raise RelViTError(
                    f"{path} holds {len(runs)} runs: name one of them, such as {runs[0].path}"
                )
            path = runs[0].path if runs else path
        run = cls(path, training_alone=not (path / TRAINING).is_dir())
        training = run.training
        needed = (training.model / "config.json", training.config_file, training.history_file)
        for file in needed:
            if not file.is_file():
                raise RelViTError(
                    f"{path} holds no finished run ({file.name} is missing): expected a run of a study, such as "
                    "runs/quick/seed0, or the --out of relvit train; finish it with the command that began it"
                )
        return run

    @property
    def name(self) -> str:
        return self.path.name

    @cached_property
    def training(self) -> TrainingFolder:
        return TrainingFolder(self.path if self.training_alone else self.path / TRAINING)

    @property
    def config(self) -> dict[str, Any]:
        """The settings of the training."""
        return self.training.config

    @property
    def history(self) -> dict[str, Any]:
        """``log`` and ``provenance`` of the training."""
        return self.training.history

    def checkpoint(self) -> Checkpoint:
        """The trained model and its processor, on the GPU if there is one."""
        return self.training.checkpoint()

    def cell(self, name: str) -> Path:
        """The folder of a cell."""
        return self.path / name

    def finished(self, cell: str) -> bool:
        """Whether a cell is finished."""
        return is_finished(self.cell(cell))

    def finished_cells(self) -> list[Path]:
        """The folders of all finished cells."""
        return sorted(file.parent for file in self.path.rglob(f"*/{MANIFEST}"))

    def table_files(self, name: str, *, finished: bool = False) -> list[Path]:
        """The files of a table, by its name in ``table``; none if the run does not have it."""
        files = sorted(self.path.glob(_TABLES[name]))
        return [file for file in files if is_finished(file.parent)] if finished else files

    def table(self, name: str, *, finished: bool = False) -> pd.DataFrame:
        """A table of the run.

        Args:
            name: "accuracy", "attention", "photorealistic" or of an analysis (``recipes.SECTIONS``).
            finished: leave out cells that are not finished.

        Raises:
            RelViTError: no such table, one that cannot be read, or one of an older version.
        """
        files = self.table_files(name, finished=finished)
        if not files:
            raise RelViTError(f"{self.path} has no {_TABLES[name]}: {_FINISH}")
        return pd.concat(
            [read_table(file, _COLUMNS.get(name, ())) for file in files], ignore_index=True
        )

    def causal_tables(self) -> dict[str, pd.DataFrame]:
        """The tables of the recipes' sections, in their order; those that the run has, with its ``task``."""
        measured = [name for name in SECTIONS if self.table_files(name)]
        return {name: self.table(name).assign(task=self.config["task"]) for name in measured}

    @property
    def stages(self) -> AttentionStages:
        """Its attention on the scenes of its own task."""
        return AttentionStages.load(self.cell(ATTENTION))

    @property
    def attention_scores(self) -> dict[str, float]:
        """Scores of the attention stages, and ``n``, their scenes; empty unless that cell is finished."""
        if not self.finished(ATTENTION):
            return {}
        file = self.cell(ATTENTION) / "attention.json"
        values = read_as(file)
        try:
            return {**values["scores"], "n": values["facts"]["n"]}
        except (KeyError, TypeError) as error:
            raise RelViTError(
                f"{file} is of an older version (no {error}): make it again"
            ) from error

    @property
    def evaluation_provenance(self) -> dict[str, Any]:
        """Where the accuracies come from."""
        return read_as(self.cell(EVALUATION) / _PROVENANCE)

    @property
    def photorealistic_provenance(self) -> dict[str, Any]:
        """Which photorealistic set was used."""
        return read_as(self.cell(PHOTOREALISTIC.format("accuracy")) / _PROVENANCE)

    def alignment_folders(self) -> list[Path]:
        """The folders of all alignments of the trained model."""
        return sorted(
            file.parent for file in self.path.glob(f"{FOLDERS['trained']}/*/alignment.json")
        )

    def alignment(self, prop: str, layer: int) -> Alignment:
        """An alignment of the trained model."""
        return Alignment.from_pretrained(self.cell(alignment_cell(prop, layer)))

    def probes(self, target: str = "judgement") -> Probes:
        """The probes of a target."""
        return Probes.load(self.cell(probe_cell(target)))

    @property
    def data_manifest(self) -> dict[str, Any] | None:
        """The manifest of the scenes; None if the run has none."""
        file = next(iter(sorted(self.path.glob(f"{DATA}/*/manifest.json"))), None)
        return None if file is None else read_as(file)

    @property
    def figures(self) -> Path:
        """The folder of the figures of its report."""
        return self.path / _FIGURES

    def figure(self, name: str, kind: str = "png") -> Path:
        """A figure of the report, as "png" or "svg"."""
        return self.figures / f"{name}.{kind}"

    @property
    def viewer(self) -> Path:
        """The attention of single heads on one scene, a PNG."""
        return self.path / VIEWER

    @property
    def report(self) -> Path:
        """Its own report; of the only run of a study that is ``StudyFolder.report``."""
        return self.path / _REPORT

    def in_run(self, path: Path) -> str:
        """The path of a file in the run, with slashes."""
        return path.relative_to(self.path).as_posix()


@dataclass(frozen=True)
class StudyFolder:
    """The folder of a study, with a folder for each run.

    Attributes:
        path: of the folder.
    """

    path: Path

    def runs(self) -> list[RunFolder]:
        """The runs whose training has begun."""
        files = self.path.glob(f"*/{TRAINING}/config.json")
        return sorted((RunFolder(file.parents[1]) for file in files), key=lambda run: run.path)

    def run(self, name: str) -> RunFolder:
        return RunFolder(self.path / name)

    @property
    def report(self) -> Path:
        return self.path / _REPORT

    @property
    def tables(self) -> Path:
        """The folder of the tables over all runs."""
        return self.path / "tables"

    def table_file(self, name: str) -> Path:
        """A table over all runs, such as "curves"."""
        return self.tables / f"{name}.parquet"

    @property
    def figures(self) -> Path:
        """The folder of the figures over all runs."""
        return self.path / _FIGURES


def write_accuracy(cell: Path, table: pd.DataFrame, **facts: Any) -> None:
    """Write the table of an evaluation and where it comes from.

    Args:
        cell: its folder.
        table: of ``evaluate``.
        facts: see ``provenance``.
    """
    write_table(cell / _ACCURACY, table)
    write_json(cell / _PROVENANCE, provenance(**facts))


def is_of_random_weights(name: str) -> bool:
    """Whether a file, by its path in the run, is of the network with random weights."""
    return PurePosixPath(name).parts[0] == FOLDERS["random"]


def layout_page() -> str:
    """``docs/run_folder.md``."""
    rows = [f"| `{entry.path}` | {entry.words} |" for entry in LAYOUT]
    return "\n".join(
        [
            "# Layout of a run folder",
            "",
            "`relvit study run` makes one folder per run in the folder of the study. `relvit train` makes the files",
            f"of `{TRAINING}/` alone. In Python `hf_relvit.report.run_folder.RunFolder` reads all of it. This page is",
            "made from that class by `layout_page()`.",
            "",
            "| path | content |",
            "|---|---|",
            *rows,
            "",
            f"A folder with `{MANIFEST}` is finished. One without it is done again by the same command; training goes",
            "on from its last checkpoint. Files of a finished cell must stay as they are.",
            "",
        ]
    )
