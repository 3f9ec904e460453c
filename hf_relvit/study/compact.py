"""A finished run as a few MB, to be committed or published; it is a run folder like any other.

1. The weights of the adapter, or of a small model as a whole, are rounded to bfloat16. A model that was fine-tuned as
   a whole is made an adapter first, if asked (``adapters.as_adapter``).
2. Rounded weights are others: on SCENES test scenes no logit may move by more than TOLERANCE (our choices). Then
   alignments and probes are rounded, too, and take the fingerprint of the rounded model that they are for. Accuracy is
   measured again, on the same scenes: published are the numbers of the published weights.
3. Kept are all tables; of an alignment the rows of its subspace, of the probes those of the judgement, which steering
   needs; of the scenes the manifest, from which they can be drawn again. Figures are drawn from the tables. The code
   that opens a model without this package is left out: ``relvit push`` adds it.
4. A model that was made an adapter is another model: only the training is kept, the rest has to be measured on it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from ..analysis.alignment import Alignment
from ..analysis.probes import Probes
from ..errors import RelViTError
from ..files import atomic_write, write_json, write_text
from ..manifest import MANIFEST, check_manifest, manifest_settings, write_manifest
from ..modeling import RelViTForImageClassification
from ..modeling.adapters import WEIGHTS_FILE, as_adapter, is_adapter
from ..modeling.checkpoints import Checkpoint
from ..modeling.configuration_relvit import CODE_FILES
from ..owned import remove_ours
from ..places import check_out
from ..recipes.probes import probe_cell
from ..report.card import run_card
from ..report.results import collect_results
from ..report.run_folder import (
    DATA,
    EVALUATION,
    TRAINING,
    RunFolder,
    is_of_random_weights,
    write_accuracy,
)
from ..stimuli.scenes import SceneTable
from ..training.evaluation import evaluate, sample_splits
from ..training.precision import checkpoint_autocast
from .cell import run_cell

SCENES = 32
TOLERANCE = 0.1
"""Largest change of a logit by rounding."""
FACTS = "compact.json"
"""In a compacted run: how it was made, and how far the logits moved."""


def compact(
    path: Path,
    out: Path,
    *,
    lora: int | None = None,
    base: str | None = None,
    say: Callable[[str], object] = print,
) -> Path:
    """Write a small copy of a run, or find it written; see the head of this module.

    Args:
        path: a finished run of a study, or the folder of ``relvit train``.
        out: folder of the copy, with its card.
        lora: rank of the adapter that a model fine-tuned as a whole becomes.
        base: folder or Hub id of the published backbone, where it is not where the run says.
        say: is told what happens.

    Returns:
        ``out``.

    Raises:
        RelViTError: no finished run, files that changed since they were made, a model that is none of those, weights
            that rounding changes too much, or files of somebody else in ``out``.
    """
    run = RunFolder.open(path)
    adapted = is_adapter(run.training.model)
    backbone = base or run.config["backbone"]
    if lora is not None and (adapted or not isinstance(backbone, str)):
        kind = "an adapter already" if adapted else "a model from scratch"
        raise RelViTError(f"--lora {lora}: {path} holds {kind}; leave --lora out")
    if base is not None and not adapted and lora is None:
        raise RelViTError(f"--base {base}: {path} holds no adapter; name its rank with --lora")
    settings = {"run": run.name, "lora": lora, "training": run.history["provenance"]}
    work = partial(_write, run, lora, backbone if adapted or lora else None)
    if not run_cell(check_out(out), settings, work):
        say(f"{out}: finished before")
    return out


def _write(
    run: RunFolder,
    lora: int | None,
    backbone: str | None,
    folder: Path,
) -> None:
    small = RunFolder(folder)
    facts = _write_training(run, small, lora, backbone)
    if lora is None:
        checkpoint = Checkpoint.open(small.training.model, base=backbone)
        for cell in run.finished_cells():
            name = run.in_run(cell)
            if name not in (DATA, TRAINING):
                check_manifest(cell)
                write = _measure_again if name == EVALUATION else _write_cell
                write(run, small, name, checkpoint)
        _write_data(run, small)
    write_json(folder / FACTS, facts)
    note = _NOTE.format(**facts["rounded"])
    if lora is not None:
        note += _EXTRACTED.format(rank=lora, **facts["extracted"])
    write_text(folder / "README.md", f"{run_card(collect_results(small))}\n{note}")


_NOTE = """## A small copy
Weights, alignments and probes were rounded to bfloat16. On {scenes} test scenes the largest change of a logit is
{largest:.3g}, and {changed} answers changed. Accuracy on the splits is that of the rounded weights; the rest was
measured before they were rounded.
"""
_EXTRACTED = """
The model was fine-tuned as a whole. This is the adapter of rank {rank} that is nearest to its change of the weights
(a singular value decomposition per layer); biases, norms and embeddings are those of the published base. On the same
scenes {changed} answers differ from those of the whole model. The numbers of the training are those of the whole
model; everything else was measured on the adapter.
"""


def _write_training(
    run: RunFolder,
    small: RunFolder,
    lora: int | None,
    backbone: str | None,
) -> dict[str, Any]:
    """The rounded model, and the settings and the log of its training; how far it is from the original."""
    before = run.training
    after = small.training
    scenes = before.settings().distribution().sample("test", SCENES)
    original = Checkpoint.open(before.model, base=None if lora else backbone)
    answers = _logits(original, scenes)
    facts: dict[str, Any] = {"run": run.name, "lora": lora}
    if lora is None:
        shutil.copytree(before.model, after.model, dirs_exist_ok=True)
    else:
        _extract(original, after.model, lora, str(backbone), run.config["backbone"])
        whole = answers
        answers = _logits(Checkpoint.open(after.model, base=backbone), scenes)
        facts["extracted"] = _apart(whole, answers)
    for file in (before.config_file, before.history_file):
        shutil.copy(file, after.path)
    weights = after.model / WEIGHTS_FILE
    _round(weights if weights.is_file() else after.weights)
    remove_ours(after.model, CODE_FILES)
    rounded = Checkpoint.open(after.model, base=backbone)
    facts["rounded"] = _apart(answers, _logits(rounded, scenes))
    _check_moved(facts["rounded"]["largest"])
    write_manifest(after.path, run.config)
    return facts


def _extract(
    whole: Checkpoint,
    folder: Path,
    rank: int,
    base: str,
    name: str,
) -> None:
    """Save the adapter that is nearest to a fine-tuned model; ``name`` is its name for the base."""
    published = RelViTForImageClassification.from_backbone(base)
    adapter = as_adapter(whole.model, published.backbone.state_dict(), rank)
    Checkpoint(adapter, whole.processor).save_adapter(folder, adapter, base, name=name)


def _check_moved(largest: float) -> None:
    """The largest change of a logit by the rounding."""
    if not largest <= TOLERANCE:  # nor may it be no number
        raise RelViTError(
            f"rounded to bfloat16 the model's logits move by {largest:.3g}: expected at most {TOLERANCE}; keep the "
            "run as it is"
        )


def _round(file: Path) -> None:
    """The weights of a safetensors file in bfloat16."""
    halves = {name: tensor.bfloat16() for name, tensor in load_file(file).items()}
    with atomic_write(file) as temporary:
        save_file(halves, temporary, metadata={"format": "pt"})


@torch.no_grad()
def _logits(checkpoint: Checkpoint, scenes: SceneTable) -> torch.Tensor:
    return checkpoint.model(pixel_values=checkpoint.pixel_values(scenes)).logits


def _apart(first: torch.Tensor, second: torch.Tensor) -> dict[str, Any]:
    """How far two models are apart: scenes, largest difference of a logit, answers that differ."""
    differ = first.argmax(-1) != second.argmax(-1)
    return {
        "scenes": len(first),
        "largest": (first - second).abs().max().item(),
        "changed": int(differ.sum()),
    }


def _write_cell(
    run: RunFolder,
    small: RunFolder,
    name: str,
    checkpoint: Checkpoint,
) -> None:
    """The tables of a cell; its alignment or its probes rounded, if later analyses need them."""
    cell = run.cell(name)
    folder = small.cell(name)
    folder.mkdir(parents=True, exist_ok=True)
    with_tensors = any(cell.glob("*.safetensors"))
    for file in cell.iterdir():
        wanted = file.suffix == ".parquet" or (file.suffix == ".json" and not with_tensors)
        if wanted and file.name != MANIFEST:
            shutil.copy(file, folder)
    if name == probe_cell("judgement"):
        Probes.load(cell).rounded(checkpoint).save(folder)
    elif (cell / f"{Alignment.STEM}.json").is_file() and not is_of_random_weights(name):
        Alignment.load(cell).rounded(checkpoint).save(folder)
    write_manifest(folder, manifest_settings(cell))


def _measure_again(
    run: RunFolder,
    small: RunFolder,
    name: str,
    checkpoint: Checkpoint,
) -> None:
    """Write the accuracy of the rounded model on the scenes of a run, as ``relvit evaluate`` gives it."""
    before = run.table("accuracy")
    splits = tuple(dict.fromkeys(before.split))
    distribution = run.training.settings().distribution()
    scenes = sample_splits(distribution, run.config["n_eval"], splits)
    with checkpoint_autocast(checkpoint):
        table = evaluate(checkpoint, scenes, progress=True)
    cell = small.cell(name)
    write_accuracy(
        cell,
        table,
        seed=distribution.seed,
        processor=checkpoint.processor.fingerprint,
    )
    write_manifest(cell, manifest_settings(run.cell(name)))


def _write_data(run: RunFolder, small: RunFolder) -> None:
    """The manifests of the scenes, from which these can be drawn again."""
    for manifest in run.cell(DATA).glob("*/manifest.json"):
        target = small.cell(DATA) / manifest.parent.name
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(manifest, target)
