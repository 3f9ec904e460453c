"""From a run folder to what the demo serves: checkpoint, alignments, probes, and how often interventions work.

python -m hf_relvit.spaces.interventions.assets runs/quick/seed0 spaces/interventions/models/quick
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from hf_relvit.analysis.align import AlignConfig, PairCaptures, score
from hf_relvit.analysis.alignment import Alignment
from hf_relvit.analysis.novel import NovelConfig, inject_novel
from hf_relvit.analysis.probes import Probes, fit_probes
from hf_relvit.analysis.steering import PAIRS as PAIR_NAMES
from hf_relvit.analysis.steering import SteeringConfig, steer
from hf_relvit.errors import RelViTError
from hf_relvit.files import atomic_write, write_json
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.owned import withdraw
from hf_relvit.provenance import provenance
from hf_relvit.report.folder import RunFolder
from hf_relvit.stimuli.counterfactuals import PROPERTIES
from hf_relvit.stimuli.scenes import LABELS, SceneTable
from hf_relvit.tables import select
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
_NUMBERS = ("accuracy", "ci_low", "ci_high", "floor")


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
    _check_run(trained)
    source = trained.training.model
    checkpoint = Checkpoint.open(source)
    if not checkpoint.model.config.scenes:
        raise RelViTError(
            f"{source} does not say what it was trained on: train it with relvit train"
        )
    folder.mkdir(parents=True, exist_ok=True)
    withdraw(folder / "about.json")
    for name in _CHECKPOINT:
        with atomic_write(folder / "model" / name) as temporary:
            shutil.copyfile(source / name, temporary)
    alignments = []
    for cell in trained.alignment_folders():
        alignment = _compact(Alignment.from_pretrained(cell))
        alignment.save(folder / "alignments" / f"{alignment.property}-{alignment.site.layer}")
        alignments.append(alignment)

    distribution = checkpoint.distribution()
    test = distribution.sample("test", PAIRS)
    probes = fit_probes(checkpoint, distribution.sample("train", PROBE_SCENES), test)
    probes.save(folder / "probes")
    measured = _steering(checkpoint, probes, test)
    for prop in PROPERTIES:
        chosen = [alignment for alignment in alignments if alignment.property == prop]
        if chosen:
            measured += _swaps(checkpoint, chosen) + _novel(checkpoint, chosen)
    depth = f"{checkpoint.depth} layers of {checkpoint.model.config.hidden_size}"
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


def _check_run(run: RunFolder) -> None:
    """RelViTError unless the run is finished, and of a kind that the demo can show."""
    if not run.training.finished():
        raise RelViTError(
            f"no checkpoint in {run.training.model}: expected a run of a study, such as runs/quick/seed0"
        )
    if not run.alignment_folders():
        raise RelViTError(f"no alignments in {run.path}: run the study with --causal first")
    if run.config.get("objects"):
        raise RelViTError(
            f"{run.path} was trained on shapes of your own: expected ours, the demo draws no others"
        )


def _compact(alignment: Alignment) -> Alignment:
    """Without the rows outside its subspace and the history of the search."""
    facts = alignment.facts
    kept = {name: facts[name] for name in ("config", "provenance") if name in facts}
    return replace(alignment.compact(), facts=kept)


def fresh(folder: Path, run: Path) -> bool:
    """Whether the folder is complete, and of the run's present weights."""
    if not (folder / "about.json").is_file():
        return False
    served = TrainingFolder(folder).weights
    trained = RunFolder(Path(run)).training.weights
    return trained.is_file() and served.read_bytes() == trained.read_bytes()


def _counts(
    table: pd.DataFrame,
    action: str,
    what: str,
    condition: str,
) -> list[dict[str, Any]]:
    """Rows of a recipe's table as about.json keeps them: apart for pairs that were different and same before."""
    counts = []
    for before in LABELS:
        for row in select(table, condition=before).to_dict("records"):
            known = {"action": action, "what": what, "condition": condition, "before": before}
            numbers = {name: round(float(row[name]), 4) for name in _NUMBERS}
            counts.append({**known, "layer": row["layer"], "n": row["n"], **numbers})
    return counts


def _swaps(checkpoint: Checkpoint, alignments: list[Alignment]) -> list[dict[str, Any]]:
    """The alignments of one property with two controls, by the recipe that scores those of a study."""
    prop: Any = alignments[0].property
    captures = PairCaptures(
        checkpoint,
        checkpoint.distribution(),
        [alignment.site.layer for alignment in alignments],
        pairs=PAIRS,
        test_pairs=PAIRS,
    )
    config = AlignConfig(
        property=prop,
        splits=("test",),
        scored_controls=("wrong_object",),
        isolate=False,
    )
    alone = replace(config, scored_controls=None)
    counts = []
    for alignment in alignments:
        scores = score(alignment, captures, config)
        random = score(alignment.random_directions(), captures, alone)
        for condition, table, control in (
            ("edit", scores, "none"),
            ("other", scores, "wrong_object"),
            ("random", random, "none"),
        ):
            counts += _counts(select(table, control=control), "swap", prop, condition)
    return counts


def _novel(checkpoint: Checkpoint, alignments: list[Alignment]) -> list[dict[str, Any]]:
    """Values that no object has, in the subspaces and in random ones of the same sizes."""
    config = NovelConfig(baselines=("subspace",), bank=PAIRS, pairs=PAIRS)
    distribution = checkpoint.distribution()
    random = [alignment.random_directions() for alignment in alignments]
    counts = []
    for condition, subspaces in (("edit", alignments), ("random", random)):
        table = inject_novel(checkpoint, subspaces, distribution, config).to_frame()
        for method in table.method.unique():
            what = f"{alignments[0].property} {method}"
            counts += _counts(select(table, method=method), "inject", what, condition)
    return counts


def _steering(checkpoint: Checkpoint, probes: Probes, scenes: SceneTable) -> list[dict[str, Any]]:
    """Pushes along the probe and along its control, apart for pairs that were different and same."""
    config = SteeringConfig(ALPHAS)
    counts = []
    for (number, pair), (relation, before) in product(
        enumerate(PAIR_NAMES[: scenes.relation.shape[1]]), enumerate(LABELS)
    ):
        chosen = scenes[scenes.relation[:, number] == relation]
        table = steer(checkpoint, probes, chosen, config).to_frame()
        for push, condition in (("flip", "edit"), ("shuffled", "shuffled")):
            for alpha in ALPHAS:
                rows = select(table, pair=pair, condition=push, alpha=alpha)
                rows = rows.assign(condition=before)
                counts += _counts(rows, "steer", f"{pair} {alpha:g}", condition)
    return counts


def _accuracy(run: RunFolder) -> dict[str, float]:
    if not run.table_files("accuracy"):
        return {}
    chosen = select(run.table("accuracy"), condition="all")
    return {
        str(split): round(float(accuracy), 4)
        for split, accuracy in zip(chosen.split, chosen.accuracy)
    }


if __name__ == "__main__":
    given = dict(enumerate(sys.argv))
    build_assets(Path(sys.argv[1]), Path(sys.argv[2]), title=given.get(3))
