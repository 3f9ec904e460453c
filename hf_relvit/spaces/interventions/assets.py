"""From a run folder to what the demo serves: checkpoint, alignments, probes, and how often interventions work.

python -m hf_relvit.spaces.interventions.assets runs/quick/seed0 spaces/interventions/models/quick
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from hf_relvit.analysis.alignment import Alignment
from hf_relvit.analysis.das import score_alignment
from hf_relvit.analysis.interchange import pair_residuals
from hf_relvit.analysis.novel import NovelConfig, inject_into_pairs
from hf_relvit.analysis.probes import fit_probes
from hf_relvit.analysis.steering import SteeringConfig, steer
from hf_relvit.analysis.subspaces import random_rotation
from hf_relvit.errors import RelViTError
from hf_relvit.files import atomic_write, write_json
from hf_relvit.modeling.blocks import blocks
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.owned import withdraw
from hf_relvit.provenance import provenance
from hf_relvit.report.folder import RunFolder
from hf_relvit.stimuli.counterfactuals import PROPERTIES
from hf_relvit.stimuli.scenes import LABELS
from hf_relvit.training.folder import TrainingFolder

from .examples import find_examples
from .served import open_served

_CHECKPOINT = ("config.json", "model.safetensors", "preprocessor_config.json")
PAIRS = 200
"""Pairs and scenes that interventions are counted on."""
ALPHAS = (0.5, 1.0, 2.0, 4.0)
"""Of steering: the paper's, and one beyond."""
PROBE_SCENES = 4000
"""As in the paper."""


def build_assets(run: Path, folder: Path, *, title: str | None = None) -> Path:
    """Collect, fit and measure what the demo needs; a folder that has its ``about.json`` is complete.

    Copies the checkpoint and the alignments (of each only the rows of its subspace), fits linear probes of the
    judgement, and counts on the IID test split how often swaps, steering and novel vectors change the answer as they
    should, beside their controls.

    Args:
        run: a run of a study, with ``training/model`` and ``das/<property>-<layer>``.
        folder: to write.
        title: shown in the list of models; task and size of the model by default.

    Raises:
        RelViTError: no finished run there, no alignments, or shapes and colors other than ours.
    """
    trained = RunFolder(Path(run))
    source = trained.training.model
    if not trained.training.finished():
        raise RelViTError(
            f"no checkpoint in {source}: expected a run of a study, such as runs/quick/seed0"
        )
    cells = trained.alignment_folders()
    if not cells:
        raise RelViTError(f"no alignments in {run}: run the study with --causal first")
    if trained.config.get("objects"):
        raise RelViTError(
            f"{run} was trained on shapes of your own: expected ours, the demo draws no others"
        )
    checkpoint = Checkpoint.open(source)
    model = checkpoint.model
    if not model.config.scenes:
        raise RelViTError(
            f"{source} does not say what it was trained on: train it with relvit train"
        )
    folder.mkdir(parents=True, exist_ok=True)
    withdraw(folder / "about.json")
    for name in _CHECKPOINT:
        with atomic_write(folder / "model" / name) as temporary:
            shutil.copyfile(source / name, temporary)
    alignments = [_slim(Alignment.from_pretrained(cell)) for cell in cells]
    for item in alignments:
        item.save(folder / "alignments" / f"{item.property}-{item.site.layer}")

    distribution = checkpoint.distribution()
    test = distribution.sample("test", PAIRS)
    probes = fit_probes(checkpoint, distribution.sample("train", PROBE_SCENES), test)
    probes.save(folder / "probes")
    measured = _measure(checkpoint, alignments, probes, test)
    depth = f"{len(blocks(model))} layers of {model.config.hidden_size}"
    about = {
        "title": title or f"{distribution.task}, {depth}",
        "task": distribution.task,
        "geometry": distribution.geometry.name,
        "combinations": distribution.combinations,
        "accuracy": _accuracy(trained),
        "measured": measured,
        "provenance": provenance(pairs=PAIRS, probe_scenes=PROBE_SCENES),
    }
    about["examples"] = find_examples(open_served(folder, about))
    write_json(folder / "about.json", about)
    return folder


def fresh(folder: Path, run: Path) -> bool:
    """Whether the folder is complete, and of the run's present weights."""
    if not (folder / "about.json").is_file():
        return False
    served = TrainingFolder(folder).weights
    trained = RunFolder(Path(run)).training.weights
    return trained.is_file() and served.read_bytes() == trained.read_bytes()


def _slim(alignment: Alignment) -> Alignment:
    facts = {
        name: alignment.facts[name] for name in ("config", "provenance") if name in alignment.facts
    }
    return replace(alignment.compact(), facts=facts)


def _measure(checkpoint: Checkpoint, alignments, probes, scenes) -> list[dict[str, Any]]:
    """How often each intervention changes the answer as it should, apart for pairs that were different and same."""
    distribution = checkpoint.distribution()
    measured = _steering(checkpoint, probes, scenes)
    for prop in PROPERTIES:
        if own := [item for item in alignments if item.property == prop]:
            pairs = distribution.pairs(prop, "test", PAIRS)
            bank = distribution.pairs(prop, "validation", PAIRS)
            measured += _swaps(checkpoint, own, pairs) + _novel(checkpoint, own, bank, pairs)
    return measured


def _row(action: str, what: str, control: str, before: str, row: Any) -> dict[str, Any]:
    numbers = {
        name: round(float(row[name]), 4) for name in ("accuracy", "ci_low", "ci_high", "floor")
    }
    known = {"action": action, "what": what, "condition": control, "before": before}
    return known | {"layer": int(row["layer"]), "n": int(row["n"])} | numbers


def _swaps(checkpoint: Checkpoint, alignments, pairs) -> list[dict[str, Any]]:
    residuals, rows = pair_residuals(checkpoint, pairs, [item.site for item in alignments]), []
    for item in alignments:
        random = _random(item)
        for name, subspace, control in (
            ("edit", item, None),
            ("other", item, "wrong_object"),
            ("random", random, None),
        ):
            table = score_alignment(checkpoint, subspace, residuals, control)
            by = {before: table[table.condition == before].iloc[0] for before in LABELS}
            rows += [_row("swap", item.property, name, before, row) for before, row in by.items()]
    return rows


def _novel(checkpoint: Checkpoint, alignments, bank, pairs) -> list[dict[str, Any]]:
    config, rows = NovelConfig(baselines=("subspace",)), []
    for name, subspaces in (
        ("edit", alignments),
        ("random", [_random(item) for item in alignments]),
    ):
        frame = inject_into_pairs(checkpoint, subspaces, bank, pairs, config).to_frame()
        rows += [
            _row("inject", f"{row.property} {row.method}", name, row.condition, row._asdict())
            for row in frame.itertuples()
            if row.condition in LABELS
        ]
    return rows


def _random(item: Alignment) -> Alignment:
    """As many directions at the same site, drawn at random: the control."""
    basis = random_rotation(item.size, item.width, torch.Generator().manual_seed(item.site.layer))
    every = torch.ones(item.size, dtype=torch.bool)
    return Alignment(basis, every, item.site, item.property, "random_subspace", item.model)


def _steering(checkpoint: Checkpoint, probes, scenes) -> list[dict[str, Any]]:
    names, rows = {"flip": "edit", "shuffled": "shuffled"}, []
    for pair in range(scenes.relation.shape[1]):
        for relation, before in enumerate(LABELS):
            some = scenes[scenes.relation[:, pair] == relation]
            frame = steer(checkpoint, probes, some, SteeringConfig(ALPHAS)).to_frame()
            for row in frame[frame.pair == ("sample", "display")[pair]].itertuples():
                if row.condition in names:
                    what = f"{row.pair} {row.alpha:g}"
                    rows.append(_row("steer", what, names[row.condition], before, row._asdict()))
    return rows


def _accuracy(run: RunFolder) -> dict[str, float]:
    if not run.table_files("accuracy"):
        return {}
    table = run.table("accuracy")
    chosen = table[table.condition == "all"]
    return {
        str(split): round(float(value), 4) for split, value in zip(chosen.split, chosen.accuracy)
    }


if __name__ == "__main__":
    print(
        build_assets(
            Path(sys.argv[1]), Path(sys.argv[2]), title=sys.argv[3] if len(sys.argv) > 3 else None
        )
    )
