"""The findings of a run, as one small JSON file published with it: the source of its card and of comparisons."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from ..errors import RelViTError
from ..provenance import dataset_checksum
from ..recipes.recipes import SECTIONS
from ..schemas import PublishedRun, check_shape
from ..stimuli.tasks import TASKS
from ..tables import records
from ..training.training_folder import TrainingFolder
from .redaction import without_local
from .run_folder import RunFolder

RESULTS_FILE = "results.json"
FORMAT_VERSION = 1
PUBLISHED = {
    "accuracy": (),
    "photorealistic": ("all",),
    **{name: section.published for name, section in SECTIONS.items()},
}
"""Table -> the conditions whose rows are kept, all where none is named; the others stay in the Parquet tables."""


@dataclass(frozen=True)
class RunResults:
    """Settings and measurements of one trained model.

    Attributes:
        config: settings of the training (``TrainConfig``); of local paths the last part.
        processor: fingerprint of the image processor.
        validation: ``accuracy, ci_low, ci_high, n`` at the end of training.
        versions: package -> version, of the training.
        data: of the evaluation: ``task, config, version, seed, checksum, generator``; None without evaluation.
        tables: "accuracy", "photorealistic", the analyses (``recipes.SECTIONS``) -> rows; those there are.
        attention: scores of the attention stages, with ``n`` (scenes); empty if not measured.
    """

    config: dict[str, Any]
    processor: str
    validation: dict[str, Any]
    versions: dict[str, str]
    data: dict[str, Any] | None = None
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    attention: dict[str, float] = field(default_factory=dict)

    def table(self, name: str) -> pd.DataFrame:
        """A table with the ``task`` of the run, empty if there is none."""
        table = pd.DataFrame(self.tables.get(name, []))
        return table.assign(task=self.config["task"]) if len(table) else table

    def to_json(self) -> str:
        values = {"format": FORMAT_VERSION, **dataclasses.asdict(self)}
        return json.dumps(_plain(values), indent=1, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, name: str) -> RunResults:
        """Parse the file that somebody published as ``name``: untrusted, so every part that is used later is checked.

        Raises:
            RelViTError: not such a file, another format, or columns or numbers that cannot be.
        """
        problem = f"the published results of {name} cannot be read"
        cure = "publish the run again with relvit push"
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise RelViTError(f"{problem} (no JSON): {cure}") from error
        check_shape(values, PublishedRun, problem, cure)
        if values.pop("format") != FORMAT_VERSION:
            raise RelViTError(f"{problem} (expected format {FORMAT_VERSION}): {cure}")
        task = values["config"]["task"]
        if task not in TASKS:
            known = ", ".join(TASKS)
            raise RelViTError(f"{problem} (task {task[:64]!r}, expected one of {known}): {cure}")
        if unknown := values.keys() - {field.name for field in dataclasses.fields(cls)}:
            listed = ", ".join(sorted(unknown))[:64]
            raise RelViTError(f"{problem} (unknown parts {listed!r}): {cure}")
        return cls(**values)


def collect_results(run: RunFolder) -> RunResults:
    """The results of a run from its finished cells."""
    trained = of_training(run.training)
    if run.training_alone:
        return trained
    tables: dict[str, list[dict[str, Any]]] = {}
    for name, conditions in PUBLISHED.items():
        if run.table_files(name, finished=True):
            rows = run.table(name, finished=True)
            kept = rows[rows.condition.isin(conditions)] if conditions else rows
            tables[name] = records(kept.astype(object))
    manifest = run.data_manifest
    return dataclasses.replace(
        trained,
        data=None if manifest is None else _data(manifest),
        tables=tables,
        attention=run.attention_scores,
    )


def of_training(folder: TrainingFolder) -> RunResults:
    """The results of the training alone."""
    config = folder.config
    history = folder.history
    last = [row for row in history["log"] if "eval_validation_accuracy" in row][-1]
    validation = {key: last[f"eval_validation_{key}"] for key in ("accuracy", "ci_low", "ci_high")}
    return RunResults(
        without_local(config),
        folder.processor_fingerprint,
        {**validation, "n": config["n_eval"]},
        history["provenance"]["versions"],
    )


def version_tag(version: str) -> str:
    """The tag on the Hub of a version of the stimuli."""
    return f"v{version}"


def _data(manifest: dict) -> dict[str, Any]:
    kept = (
        "task",
        "config",
        "version",
        "seed",
        "n_train",
        "n_eval",
        "generator",
        "objects",
        "own_objects",
    )
    return {key: manifest[key] for key in kept} | {"checksum": dataset_checksum(manifest)}


def _plain(value: Any) -> Any:
    """``value`` with numpy's numbers as Python's and NaN as None."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
