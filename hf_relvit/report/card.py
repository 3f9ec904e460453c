"""The card of a run: one template, filled from its results, with metadata that the Hub checks and shows."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
import yaml
from huggingface_hub import (
    EvalResult,
    EvalResultEntry,
    ModelCard,
    ModelCardData,
    eval_result_entries_to_yaml,
)
from jinja2 import Environment, StrictUndefined, Template
from transformers import AutoConfig

from ..addresses import colab_badge
from ..building.card import benchmark_task
from ..files import write_text
from ..measurements import Measurement
from ..recipes.alignment import read as read_alignment
from ..recipes.recipes import SECTIONS
from ..stimuli.tasks import task_of
from ..training.config import upgrade
from ..training.training_folder import TrainingFolder
from . import readings
from .results import RunResults, of_training, version_tag
from .run_folder import VIEWER, figure_path

MARK = "relvit-run"
"""The tag by which we know a repository as a published run."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
FIGURES = {
    figure_path("accuracy"): ("accuracy", "Accuracy by test set"),
    figure_path("attention"): ("attention", "Attention stages by layer"),
    VIEWER: ("attention", "Attention of single heads on one scene"),
    **{figure_path(name): (name, each.figure_title) for name, each in SECTIONS.items()},
    figure_path("stimuli"): (None, "Example scenes with their answers"),
    figure_path("history"): (None, "Loss and validation accuracy in training"),
    figure_path("stages"): (None, "Attention stages in training"),
}
"""Figures of a run -> the analysis beside whose numbers they stand, and their content."""


@dataclass(frozen=True)
class Section:
    """The numbers of one analysis on a card.

    Attributes:
        analysis: its key, such as "alignment".
        heading: as a question.
        caption: of the measurement.
        rows: the numbers.
        conclusions: from them, one sentence per reading.
    """

    analysis: str
    heading: str
    caption: str
    rows: list[Measurement]
    conclusions: list[str] = field(default_factory=list)


def run_card(
    results: RunResults,
    repo: str | None = None,
    published: Collection[str] = (),
    absent: Collection[Reference] = (),
) -> ModelCard:
    """The card of a run, a pure function of its results.

    Args:
        results: of the run; without tables (training only) the card gives the validation accuracy.
        repo: its name on the Hub; None for a folder.
        published: paths of the files beside the card, for figures and alignments.
        absent: datasets that were looked up and are not on the Hub: they are not linked.
    """
    config = results.config
    parts = sections(results)
    headings = {part.analysis: part.heading for part in parts}
    figures = {name: about for name, about in FIGURES.items() if name in published}
    row_figures: dict[str, list[tuple[str, str]]] = {heading: [] for heading in headings.values()}
    other_figures = []
    for name, (analysis, words) in figures.items():
        row_figures.get(headings.get(analysis, ""), other_figures).append((name, words))
    backbone = config["backbone"]
    content = _template().render(
        card_data=_metadata(results, repo, absent).to_yaml(),
        title=repo.split("/")[-1] if repo else f"RelViT, {config['task']}",
        repo=repo or "PATH_OR_ID",
        colab=colab_badge("causal_analysis") if repo else "",
        question=task_of(config["task"]).question,
        origin=_origin(config),
        backbone=code(backbone) if isinstance(backbone, str) else _architecture(config),
        config=upgrade(config),
        data=results.data,
        data_words=_data_words(results.data),
        rebuild=_rebuild(results.data),
        reproduce=_reproduce(results, repo),
        validation=Measurement.from_row(results.validation, "validation"),
        processor=results.processor,
        versions=results.versions,
        numbers=parts,
        row_figures=row_figures,
        figures=other_figures,
        alignments=sorted(
            str(PurePosixPath(name).parent)
            for name in published
            if name.endswith("/alignment.safetensors")
        ),
    )
    return ModelCard(content)


def _template() -> Template:
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    environment.filters["number"] = _number
    environment.filters["cell"] = escaped
    environment.filters["code"] = code
    text = files("hf_relvit.model_cards").joinpath("relvit.md").read_text("utf-8")
    return environment.from_string(text)


def _number(value: float | None, none: str = "") -> str:
    return none if value is None else f"{value:.3f}"


def escaped(text: object) -> str:
    """Text for a cell of a Markdown table: in one line, with nothing that Markdown or HTML would read."""
    line = " ".join(str(text).split())
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", line)


def code(text: object) -> str:
    """Text as code in a cell of a Markdown table."""
    line = " ".join(str(text).split()).replace("|", "\\|")
    fence = "``" if "`" in line else "`"
    return f"{fence}{line}{fence}"


def write_training_card(folder: TrainingFolder) -> None:
    """The card of a finished training beside its model, from the training alone.

    It comes after hours of work and must not cost them: a card that cannot be written is a warning.
    """
    try:
        write_text(folder.card, str(run_card(of_training(folder))))
    except Exception as error:  # whatever it is: the training is finished, and its files are whole
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        warnings.warn(f"no card of {folder.model} ({reason}); the model is whole", stacklevel=2)


def eval_results(
    results: RunResults, repo: str | None = None, absent: Collection[Reference] = ()
) -> str:
    """``.eval_results/*.yaml``: the accuracies in the newer form of the Hub; "" if there are none.

    Each names a task of the ``eval.yaml`` of a published data set, whose page lists it.
    """
    entries = [
        EvalResultEntry(
            dataset_id=score.reference.dataset,
            task_id=benchmark_task(score.reference.config, score.split),
            value=round(score.measured.value, 6),
            notes=f"{score.measured.name}: {_reading(score.measured)}",
        )
        for score in _scores(results, repo)
        if score.reference not in absent
    ]
    if not entries:
        return ""
    return yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True)


def references(results: RunResults, repo: str | None = None) -> list[Reference]:
    """The datasets that the card of ``repo`` names, to be looked up on the Hub: those of its owner."""
    return list(dict.fromkeys(score.reference for score in _scores(results, repo)))


def _metadata(
    results: RunResults, repo: str | None, absent: Collection[Reference]
) -> ModelCardData:
    config = results.config
    scores = _scores(results, repo)
    datasets = {score.reference.dataset for score in scores if score.reference not in absent}
    if not scores and repo is not None:
        datasets = {_dataset_id(repo, config["task"])}
    metrics = list(dict.fromkeys(score.metric for score in scores))
    subjects = ["same-different", "relational-reasoning", "interpretability"]
    relation: Any = {"base_model_relation": "adapter"} if config.get("lora") else {}
    return ModelCardData(
        license="apache-2.0",
        library_name="transformers",
        pipeline_tag="image-classification",
        base_model=base_model(config),
        **relation,
        datasets=sorted(datasets) or None,
        metrics=metrics or ["accuracy"],
        tags=[MARK, "relvit", *subjects, config["task"]],
        model_name=repo.split("/")[-1] if repo else f"relvit-{config['task']}",
        eval_results=[_eval_result(results, score, absent) for score in scores] or None,
    )


def base_model(config: Mapping[str, Any]) -> str | None:
    """The Hub id of the backbone that was fine-tuned; None for a folder and for training from scratch.

    ``build/clip`` may be either: as in transformers, it is the folder where there is one.
    """
    backbone = config["backbone"]
    if not isinstance(backbone, str) or Path(backbone).exists():
        return None
    return backbone if _HUB_ID.fullmatch(backbone) else None


def _eval_result(results: RunResults, score: Score, absent: Collection[Reference]) -> EvalResult:
    data = results.data or {}
    reference = score.reference
    known = reference not in absent
    arguments = {"seed": data["seed"], "config": reference.config}
    if score.metric == "accuracy":
        arguments["checksum"] = data["checksum"]
    return EvalResult(
        task_type="image-classification",
        task_name=task_of(results.config["task"]).question,
        dataset_type=reference.dataset if known else reference.dataset.split("/")[-1],
        dataset_name=f"{reference.dataset}, {score.split}",
        dataset_config=reference.config if known else None,
        dataset_split=score.split,
        dataset_revision=reference.revision if known else None,
        dataset_args=arguments,
        metric_type=score.metric,
        metric_name=score.metric.replace("_", " "),
        metric_value=round(score.measured.value, 6),
        metric_args=_arguments(score.measured),
    )


def sections(results: RunResults) -> list[Section]:
    """The analyses that the run has, each with its numbers."""
    parts = []
    if "accuracy" in results.tables:
        caption = "Accuracy on scenes that training never showed; “new” shapes and colors were not in training at all."
        rows = readings.accuracy(results.table("accuracy"))
        parts.append(Section("accuracy", "How well it generalizes", caption, rows))
    if "photorealistic" in results.tables:
        caption = (
            "Rendered objects on a table, same or not; training showed flat silhouettes only. An interval counts a "
            "scene and its twin once."
        )
        rows = readings.accuracy(results.table("photorealistic"))
        parts.append(Section("photorealistic", "Pictures of another kind", caption, rows))
    if results.attention:
        caption = (
            "Our scores, 0 to 1. Perceptual: the share of attention that objects keep to themselves, in the strongest "
            "head of each layer of the first stage. Relational: the share that goes to other objects, in the second."
        )
        rows = readings.attention(results.attention)
        parts.append(Section("attention", "Where its objects look", caption, rows))
    measured = [name for name in SECTIONS if name in results.tables]
    return [*parts, *[_causal_section(name, results.table(name)) for name in measured]]


def _causal_section(analysis: str, table: pd.DataFrame) -> Section:
    told = SECTIONS[analysis]
    found = told.read(table)
    rows = [part for reading in found for part in reading.parts.values()]
    conclusions = [f"{reading.effect.name}: {told.conclusion(reading)}." for reading in found]
    return Section(analysis, told.heading, told.caption, rows, conclusions)


@dataclass(frozen=True)
class Reference:
    """A published dataset that a card names.

    Attributes:
        dataset: its id.
        config: of the dataset.
        revision: the tag that ``relvit data push`` gives to the version of the stimuli.
    """

    dataset: str
    config: str
    revision: str


@dataclass(frozen=True)
class Score:
    """A measurement that counts as an evaluation result on the Hub.

    Attributes:
        reference: the data that it was measured on.
        split: of that dataset.
        metric: machine-readable name.
        measured: the number.
    """

    reference: Reference
    split: str
    metric: str
    measured: Measurement


def _dataset_id(repo: str | None, name: str) -> str:
    """A data set of the owner of a repository; of a folder, which has no owner, its name alone."""
    return name if repo is None else f"{repo.split('/')[0]}/{name}"


def _scores(results: RunResults, repo: str | None) -> list[Score]:
    if results.data is None:
        return []
    task = results.config["task"]
    config = results.data["config"]
    revision = version_tag(results.data["version"])
    table = results.table("accuracy")
    splits = list(table[table.condition == "all"].split) if len(table) else []
    scenes = Reference(_dataset_id(repo, task), config, revision)
    scores = [
        Score(scenes, split, "accuracy", measured)
        for split, measured in zip(splits, readings.accuracy(table))
    ]
    pairs = Reference(_dataset_id(repo, "counterfactuals"), f"{task}-{config}", revision)
    swaps = results.table("alignment")
    for reading in read_alignment(swaps) if len(swaps) else []:
        if reading.split == "test":
            split = f"test_{reading.subject}"
            scores.append(Score(pairs, split, "interchange_accuracy", reading.effect))
    return scores


def _arguments(measured: Measurement) -> dict[str, Any]:
    values = {
        "ci_low": measured.low,
        "ci_high": measured.high,
        "random_weights": measured.base,
        "random_weights_floor": measured.base_floor,
        "floor": measured.floor,
    }
    rounded = {key: round(value, 6) for key, value in values.items() if value is not None}
    return {"n": measured.n, "seeds": 1, **rounded}


def _reading(measured: Measurement) -> str:
    parts = [
        f"95 % interval {measured.low:.3f} to {measured.high:.3f}",
        f"n = {measured.n}",
        "1 seed",
    ]
    if measured.base is not None:
        parts.append(f"random weights {measured.base:.3f}")
    if measured.floor is not None:
        parts.append(f"floor {measured.floor:.3f}")
    return ", ".join(parts)


def _origin(config: Mapping[str, Any]) -> str:
    backbone = config["backbone"]
    return (
        f"fine-tuned from {code(backbone)}" if isinstance(backbone, str) else "trained from scratch"
    )


def _architecture(config: Mapping[str, Any]) -> str:
    """The backbone as it was built: keys that the settings leave out have the defaults of its family."""
    settings = dict(config["backbone"])
    resolved = AutoConfig.for_model(**settings)
    kind = escaped(settings["model_type"])
    parts = [
        f"{getattr(resolved, key)} {words}"
        for key, words in _ARCHITECTURE.items()
        if hasattr(resolved, key)
    ]
    return f"from scratch: {', '.join([kind, *parts])}"


_ARCHITECTURE = {
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads per layer",
    "hidden_size": "dimensions",
}


def _data_words(data: Mapping[str, Any] | None) -> str:
    if data is None:
        return ""
    return f"scenes of {code(data['config'])} (version {data['version']}, seed {data['seed']})"


def _rebuild(data: Mapping[str, Any] | None) -> str:
    if data is None:
        return ""
    objects = " --masks YOUR_MASKS [--palette YOUR_PALETTE]" if data["own_objects"] else ""
    return (
        f"relvit data build {data['task']} --config {data['config']} --n-train {data['n_train']} "
        f"--n-eval {data['n_eval']} --seed {data['seed']}{objects} --out DIR"
    )


def _reproduce(results: RunResults, repo: str | None) -> str:
    """The command that measures the accuracies again."""
    data = results.data
    if data is None or "accuracy" not in results.tables:
        return ""
    command = f"relvit evaluate {repo or 'PATH_OR_ID'}"
    if data["own_objects"]:
        return f"{command} --data DIR"
    return f"{command} -n {data['n_eval']} --seed {data['seed']}"
