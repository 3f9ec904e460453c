"""The card of a run: one template, filled from its results, with metadata that the Hub checks and shows."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Any

import yaml
from huggingface_hub import (
    EvalResult,
    EvalResultEntry,
    ModelCard,
    ModelCardData,
    eval_result_entries_to_yaml,
)
from jinja2 import Environment, StrictUndefined

from ..files import atomic_write, read_json
from ..training.folder import TrainingFolder
from ..words import TASK_QUESTIONS
from .readings import Number, accuracy, best_alignments, sections
from .results import RunResults, of_training

MARK = "relvit-run"
"""The tag by which we know a repository as a published run."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_FIGURES = {
    "figures/accuracy.png": ("accuracy", "Accuracy by test set"),
    "figures/attention.png": ("attention", "Attention stages by layer"),
    "attention/viewer.png": ("attention", "Attention of single heads on one scene"),
    "figures/alignment.png": ("alignment", "Interchange interventions by layer"),
    "figures/novel.png": ("novel", "Novel representations by layer"),
    "figures/probes.png": ("probes", "Probes by layer"),
    "figures/steering.png": ("steering", "Steering by layer"),
    "figures/stimuli.png": (None, "Example scenes with their answers"),
    "figures/history.png": (None, "Loss and validation accuracy in training"),
}
"""Figures of a run -> the analysis beside whose numbers they stand, and what they show."""


def run_card(
    results: RunResults, repo: str | None = None, published: Collection[str] = ()
) -> ModelCard:
    """The card of a run, a pure function of its results.

    Args:
        results: of the run; without tables (training only) the card gives the validation accuracy.
        repo: its name on the Hub; None for a folder.
        published: paths of the files beside the card, for figures and alignments.
    """
    config = results.config
    found = sections(results)
    headings = {analysis: heading for analysis, heading, _, _ in found}
    figures = [(name, *about) for name, about in _FIGURES.items() if name in published]
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    environment.filters["number"] = lambda value, none="": none if value is None else f"{value:.3f}"
    template = environment.from_string(
        files("hf_relvit.model_cards").joinpath("relvit.md").read_text("utf-8")
    )
    data = results.data
    content = template.render(
        card_data=_metadata(results, repo).to_yaml(),
        title=repo.split("/")[-1] if repo else f"RelViT, {config['task']}",
        repo=repo or "PATH_OR_ID",
        question=TASK_QUESTIONS[config["task"]],
        origin=_origin(config),
        backbone=f"`{config['backbone']}`"
        if isinstance(config["backbone"], str)
        else _architecture(config),
        config=config,
        data=data,
        data_words=""
        if data is None
        else f"scenes of `{data['config']}` (version {data['version']}, seed {data['seed']})",
        rebuild="" if data is None else _rebuild(data),
        validation=results.validation,
        processor=results.processor,
        versions=results.versions,
        numbers=[(heading, caption, rows) for _, heading, caption, rows in found],
        row_figures={
            heading: [(name, words) for name, of, words in figures if of == analysis]
            for analysis, heading in headings.items()
        },
        figures=[(name, words) for name, of, words in figures if headings.get(of) is None],
        alignments=sorted(
            str(PurePosixPath(name).parent)
            for name in published
            if name.endswith("/alignment.safetensors")
        ),
    )
    return ModelCard(content)


def write_training_card(folder: TrainingFolder) -> None:
    """The card of a finished training beside its model: what training alone says."""
    processor = read_json(folder.model / "config.json")["processor_fingerprint"]
    card = run_card(of_training(folder.config, folder.history, processor))
    with atomic_write(folder.model / "README.md") as temporary:
        temporary.write_text(str(card), encoding="utf-8")


def eval_results(results: RunResults) -> str:
    """``.eval_results/*.yaml``: the accuracies in the newer form of the Hub; "" if there are none."""
    entries = [
        EvalResultEntry(
            dataset_id=dataset,
            task_id=f"{config}/{split}",
            value=round(number.value, 6),
            notes=f"{number.what}: {_reading(number)}",
        )
        for dataset, config, split, _, number in _scores(results)
    ]
    if not entries:
        return ""
    return yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True)


def _metadata(results: RunResults, repo: str | None) -> ModelCardData:
    config, data = results.config, results.data or {}
    backbone = config["backbone"]
    base = backbone if isinstance(backbone, str) and _HUB_ID.fullmatch(backbone) else None
    scores = [
        EvalResult(
            task_type="image-classification",
            task_name=TASK_QUESTIONS[config["task"]],
            dataset_type=dataset,
            dataset_name=f"{dataset}, {split}",
            dataset_config=of,
            dataset_split=split,
            dataset_revision=data["version"],
            dataset_args={"seed": data["seed"]}
            | ({"checksum": data["checksum"]} if metric == "accuracy" else {}),
            metric_type=metric,
            metric_name=f"{number.what}: {_reading(number)}",
            metric_value=round(number.value, 6),
            metric_args=_arguments(number),
        )
        for dataset, of, split, metric, number in _scores(results)
    ]
    return ModelCardData(
        license="apache-2.0",
        library_name="transformers",
        pipeline_tag="image-classification",
        base_model=base,
        datasets=sorted(
            {dataset for dataset, *_ in _scores(results)} or {f"relvit/{config['task']}"}
        ),
        metrics=list(dict.fromkeys(metric for *_, metric, _ in _scores(results))) or ["accuracy"],
        tags=[
            MARK,
            "relvit",
            "same-different",
            "relational-reasoning",
            "interpretability",
            config["task"],
        ],
        model_name=repo.split("/")[-1] if repo else f"relvit-{config['task']}",
        eval_results=scores or None,
    )


def _scores(results: RunResults) -> list[tuple[str, str, str, str, Number]]:
    """Dataset, config, split, metric and number of everything that counts as an evaluation result."""
    if results.data is None:
        return []
    task, config = results.config["task"], results.data["config"]
    table = results.table("accuracy")
    splits = list(table[table.condition == "all"].split) if len(table) else []
    found = [
        (f"relvit/{task}", config, split, "accuracy", number)
        for split, number in zip(splits, accuracy(table))
    ]
    if "alignment" in results.tables:
        for row in best_alignments(results.table("alignment")).itertuples():
            words = f"swap of {row.property}, best layer {row.layer}"
            number = Number(
                words, row.accuracy, row.ci_low, row.ci_high, int(row.n), None, row.floor
            )
            split = f"test_{row.property}"
            found.append(
                (
                    "relvit/counterfactuals",
                    f"{task}-{config}",
                    split,
                    "interchange_accuracy",
                    number,
                )
            )
    return found


def _arguments(number: Number) -> dict[str, Any]:
    values = {
        "ci_low": number.low,
        "ci_high": number.high,
        "random_weights": number.base,
        "floor": number.floor,
    }
    rounded = {key: round(value, 6) for key, value in values.items() if value is not None}
    return {"n": number.n, "seeds": 1, **rounded}


def _reading(number: Number) -> str:
    base = "" if number.base is None else f", random weights {number.base:.3f}"
    floor = "" if number.floor is None else f", floor {number.floor:.3f}"
    return (
        f"95 % interval {number.low:.3f} to {number.high:.3f}, n = {number.n}, 1 seed{base}{floor}"
    )


def _origin(config: Mapping[str, Any]) -> str:
    backbone = config["backbone"]
    return f"fine-tuned from `{backbone}`" if isinstance(backbone, str) else "trained from scratch"


def _architecture(config: Mapping[str, Any]) -> str:
    backbone = config["backbone"]
    return (
        f"from scratch: {backbone['model_type']}, {backbone['num_hidden_layers']} layers of "
        f"{backbone['num_attention_heads']} heads, {backbone['hidden_size']} dimensions"
    )


def _rebuild(data: Mapping[str, Any]) -> str:
    own = " --masks YOUR_MASKS [--palette YOUR_PALETTE]" if data["own_objects"] else ""
    return (
        f"relvit data build {data['task']} --config {data['config']} --n-train {data['n_train']} "
        f"--n-eval {data['n_eval']} --seed {data['seed']}{own} --out DIR"
    )
