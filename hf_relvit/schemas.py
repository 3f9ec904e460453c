"""The shapes of the files that this package reads, with types and ranges; msgspec compares each file as it is read.

A file may hold more than its shape says: later versions add keys. A key that is missing or of another type ends in one
line that names the file, the field, its value and the expected one.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec

from .errors import RelViTError
from .files import read_json

LARGEST = 2**63 - 1
"""Of whole numbers: the largest that a table holds."""
Count = Annotated[int, msgspec.Meta(ge=0, le=LARGEST)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=LARGEST)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Word = Annotated[str, msgspec.Meta(pattern=r"^[\w.-]{1,64}\Z")]
"""Text for terminals, so without control characters."""


class FinishedCell(TypedDict):
    """``DONE.json`` of a cell."""

    settings: dict[str, Any]
    files: dict[str, str]


class DataFile(TypedDict):
    """A file of a dataset."""

    rows: Count
    bytes: Count
    sha256: str


class DataSplit(TypedDict):
    """A split of a dataset."""

    name: str
    rows: Count
    checksum: str
    files: list[str]


class DataManifest(TypedDict):
    """``manifest.json`` of a built dataset, or of one of its shards."""

    task: str
    config: str
    n_train: Count
    n_eval: Count
    seed: Count
    objects: str
    version: str
    generator: str
    splits: list[DataSplit]
    files: dict[str, DataFile]
    shard: NotRequired[str]


class DatasetFacts(TypedDict):
    """``dataset_info.json`` of the datasets library, as far as cards need it."""

    features: dict[str, Any]
    splits: dict[str, dict[str, Any]]


class ExperimentFacts(TypedDict):
    """``experiment.json`` of an experiment for people: how to draw its scenes again."""

    task: Word
    geometry: Word
    combinations: Positive
    seed: Count
    split: Word
    scenes: Positive
    pictures: Word


class History(TypedDict):
    """``history.json`` of a training."""

    log: list[dict[str, Any]]
    provenance: dict[str, Any]


class TrainerProgress(TypedDict):
    """``trainer_state.json`` of a checkpoint of transformers' Trainer."""

    global_step: Count


class SavedModel(TypedDict):
    """``config.json`` of a checkpoint of ours."""

    model_type: str
    processor_fingerprint: NotRequired[str | None]


Switch = bool | None
Side = Annotated[int, msgspec.Meta(ge=1, le=2**14)]
Size = Side | list[Side] | dict[str, Side | None] | None
Mean = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]
Deviation = Annotated[float, msgspec.Meta(ge=1e-6, le=1e6)]
Channels = msgspec.Meta(min_length=3, max_length=3)


class ProcessorSettings(TypedDict):
    """``preprocessor_config.json``: the settings that determine pixels, and the names of classes."""

    image_processor_type: NotRequired[str | None]
    feature_extractor_type: NotRequired[str | None]
    processor_class: NotRequired[str | None]
    do_convert_rgb: NotRequired[Switch]
    do_resize: NotRequired[Switch]
    size: NotRequired[Size]
    resample: NotRequired[Annotated[int, msgspec.Meta(ge=0, le=5)] | None]
    do_center_crop: NotRequired[Switch]
    crop_size: NotRequired[Size]
    do_rescale: NotRequired[Switch]
    rescale_factor: NotRequired[Deviation | None]
    do_normalize: NotRequired[Switch]
    image_mean: NotRequired[Mean | Annotated[list[Mean], Channels] | None]
    image_std: NotRequired[Deviation | Annotated[list[Deviation], Channels] | None]
    do_pad: NotRequired[Switch]
    pad_size: NotRequired[Size]
    input_data_format: NotRequired[str | None]
    data_format: NotRequired[str | None]


class AlignmentFacts(TypedDict):
    """``alignment.json``."""

    property: str
    method: str
    model: str | None
    facts: dict[str, Any]
    site: str
    width: Count
    size: Count
    scale: NotRequired[float]


class ProbeSettings(TypedDict):
    """The part of ``probes.json`` that tells which weights there are."""

    form: str
    target: str


class ProbeFacts(TypedDict):
    """``probes.json``."""

    config: ProbeSettings
    tokens: Count
    hidden_size: Count


class AttentionFacts(TypedDict):
    """``attention.json``."""

    scores: dict[str, Any]
    facts: dict[str, Any]


class BatteryFacts(TypedDict):
    """``battery.json``."""

    task: Word


class VerdictFacts(TypedDict):
    """``verdict.json`` of a diagnosis."""

    verdict: str
    by_split: dict[str, Any]
    criteria: list[dict[str, Any]]
    reasons: list[str]
    losses: list[str]
    advice: list[str]


class PublishedRow(TypedDict):
    """A row of a table of ``results.json``."""

    condition: Word
    accuracy: Share
    ci_low: Share
    ci_high: Share
    base_accuracy: Share
    floor: Share
    n: Positive


class AccuracyRow(PublishedRow):
    """Of an evaluation."""

    split: Word


class AlignmentRow(AccuracyRow):
    """Of an alignment."""

    property: Word
    layer: Count
    score: Word
    control: Word
    weights: Word


class PublishedTables(TypedDict):
    """The tables of ``results.json`` that comparisons read; of the others, that they are rows."""

    accuracy: NotRequired[list[AccuracyRow]]
    photorealistic: NotRequired[list[AccuracyRow]]
    alignment: NotRequired[list[AlignmentRow]]
    novel: NotRequired[list[dict[str, Any]]]
    probes: NotRequired[list[dict[str, Any]]]
    steering: NotRequired[list[dict[str, Any]]]


class PublishedConfig(TypedDict):
    """The settings in ``results.json``, as far as comparisons need them."""

    task: str


class PublishedData(TypedDict):
    """Which scenes the accuracies of ``results.json`` are of."""

    config: Word
    version: Word


class PublishedRun(TypedDict):
    """``results.json`` of a published run, which somebody else wrote."""

    format: int
    config: PublishedConfig
    processor: str
    validation: dict[str, Any]
    versions: dict[str, str]
    data: NotRequired[PublishedData | None]
    tables: NotRequired[PublishedTables]
    attention: NotRequired[dict[str, float]]


class Palette(TypedDict):
    """Colors of one's own."""

    colors: list[Any]
    ood_colors: NotRequired[list[Any]]


class TourExample(TypedDict):
    """``example.json`` of a tour."""

    property: str
    layer: Count
    row: Count
    tried: Positive
    same: dict[str, Share]


class SpaceFacts(TypedDict):
    """``about.json`` of a model of the Space."""

    title: str
    task: str
    geometry: str
    combinations: Count


Number = Annotated[float, msgspec.Meta(ge=-1.25, le=1.25)]
Text = Annotated[str, msgspec.Meta(pattern=r"^[ -~]{0,200}\Z")]
"""Printable ASCII, such as the name of a branch."""
NAME = r"^(?!.*--)[\w./-]{1,96}\Z"
Name = Annotated[str, msgspec.Meta(pattern=NAME)]
"""Of a backbone: a Hub id, or the like. Without --, which stands for / in names of files."""


class BackboneValue(TypedDict):
    """One number of a record of `relvit measure`.

    Attributes:
        measure, task: which.
        layer: that validation scenes chose; -1 for a score of all layers.
        value, ci_low, ci_high, n: on test scenes, with the 95 % interval.
        floor: guessing; None for scores of attention.
        random: the same of the network with random weights, at its own best layer, with its interval.
        shuffled, places: of the controls, None where there is none; with the upper end of their intervals.
        subspace, wrong_object: of the controls of edits, likewise; of other measures, and in older records, not there.
            ``subspace``: the stronger one of the kinds of random directions.
    """

    measure: Word
    task: Word
    layer: Annotated[int, msgspec.Meta(ge=-1, le=LARGEST)]
    value: Number
    ci_low: Number
    ci_high: Number
    n: Positive
    floor: Number | None
    random: Number
    random_low: Number
    random_high: Number
    shuffled: Number | None
    shuffled_high: Number | None
    places: Number | None
    places_high: Number | None
    subspace: NotRequired[Number]
    subspace_high: NotRequired[Number]
    wrong_object: NotRequired[Number]
    wrong_object_high: NotRequired[Number]


class BackboneRecord(TypedDict):
    """A line of `record.jsonl`; the rules stand in `report.records`."""

    protocol: Positive
    model: Name
    revision: Text | None
    family: Word
    layers: Positive
    hidden: Positive
    parameters: Positive
    image_size: Positive
    patch_size: Positive
    weights: Word
    processor: Word
    geometry: Word
    objects: Word
    settings: dict[Word, Count]
    precision: Literal["bf16", "float32"]
    values: Annotated[list[BackboneValue], msgspec.Meta(min_length=1)]
    provenance: dict[str, Any]
    checksum: Word


RESULTS: dict[str, Any] = {
    "alignment": AlignmentFacts,
    "probes": ProbeFacts,
    "attention": AttentionFacts,
    "battery": BatteryFacts,
    "verdict": VerdictFacts,
}
"""Stem of a result's JSON file -> its shape; the other results hold only facts."""

AnyFacts = dict[str, Any]


def read_as(path: Path, shape: Any = AnyFacts) -> Any:
    """The JSON in a file, compared with a shape.

    Args:
        path: of the file.
        shape: a class of this module; by default any mapping.

    Returns:
        The content of the file, with the keys that the shape does not name.

    Raises:
        RelViTError: a file that is missing, broken or of another shape.
    """
    values = read_json(path)
    check_shape(
        values,
        shape,
        f"{path} has changed its shape since it was written",
        "make it again or restore it",
    )
    return values


def check_shape(
    values: Any,
    shape: Any,
    problem: str,
    cure: str,
) -> None:
    """Raise RelViTError, in one line, unless values have a shape; arguments as ``read_as_shape``."""
    read_as_shape(values, shape, problem, cure)


def read_as_shape(
    values: Any,
    shape: Any,
    problem: str,
    cure: str,
) -> Any:
    """Values of JSON or YAML as a type.

    Args:
        values: as read.
        shape: a type that msgspec knows: TypedDict, dataclass, list[int] ...
        problem: how the line begins.
        cure: how it ends.

    Raises:
        RelViTError: they have another shape, in one line.
    """
    try:
        return msgspec.convert(values, shape, strict=True)
    except msgspec.ValidationError as error:
        reason = str(error).replace("`object`", "a mapping").replace("`array`", "a list")
        raise RelViTError(f"{problem}: {reason.replace(' - at `$', ' at `')}; {cure}") from error


def check_finite_values(values: Any, name: str) -> None:
    """Raise RelViTError for a number in settings, however deep, that is not finite."""
    if isinstance(values, dict):
        for key, value in values.items():
            check_finite_values(value, f"{name} {key}")
    elif isinstance(values, list):
        for value in values:
            check_finite_values(value, name)
    elif isinstance(values, float) and not math.isfinite(values):
        raise RelViTError(f"{name} {values}: expected a finite number")
