"""How often interventions work over many scenes: read from the tables of a run, or counted where it has none.

A run of a study has measured its alignments, novel values and steering already, with the controls of the recipes. A
small model without these tables is counted here, with the controls that the page shows for one scene. For a large one
that would take hours, which belong to a study: where its run has no table, the page says that nothing was counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from hf_relvit.analysis.align import AlignConfig, PairCaptures, score
from hf_relvit.analysis.alignment import Alignment
from hf_relvit.analysis.novel import NovelConfig, inject_novel
from hf_relvit.analysis.probes import Probes
from hf_relvit.analysis.steering import SteeringConfig, steer
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.report.run_folder import RunFolder
from hf_relvit.stimuli.counterfactuals import PROPERTIES
from hf_relvit.stimuli.scenes import LABELS, SceneTable
from hf_relvit.tables import select

from .counts import EITHER, Row

ALPHAS = (0.5, 1.0, 2.0, 4.0)
"""Of steering: the paper's, and one beyond."""
_NUMBERS = ("accuracy", "ci_low", "ci_high", "floor")
_SWAPS = {
    "edit": ("cause", "none"),
    "other": ("cause", "wrong_object"),
    "tokens": ("cause", "random_tokens"),
    "random": ("cause", "random_directions"),
    "labels": ("cause", "shuffled_labels"),
}
"""Condition -> score and control in the table of alignments."""
_STEERED = {"flip": "edit", "shuffled": "shuffled"}
"""Condition in the table of steering -> ours."""


def count_interventions(
    run: RunFolder,
    checkpoint: Checkpoint,
    alignments: list[Alignment],
    probes: Probes,
    scenes: SceneTable,
    *,
    missing: bool,
) -> list[Row]:
    """The rows "measured" of about.json.

    Args:
        run: whose tables are read.
        checkpoint: of the run.
        alignments: of both properties or of one.
        probes: of the judgement.
        scenes: of the test split, to steer where the run has no steering; as many pairs are drawn to swap.
        missing: also count interventions that the run has no table of.
    """
    made: list[Row] = []
    if run.table_files("steering"):
        made += _of_steering(run.table("steering"))
    elif missing:
        made += _of_steering(_steering(checkpoint, probes, scenes))
    for prop in PROPERTIES:
        chosen = [alignment for alignment in alignments if alignment.property == prop]
        if not chosen:
            continue
        swaps = _of_alignments(run, prop)
        novel = _of_novel(run, prop)
        if missing:
            swaps = swaps or _swaps(checkpoint, chosen, len(scenes))
            novel = novel or _novel(checkpoint, chosen, len(scenes))
        made += swaps + novel
    return made


def _rows(table: pd.DataFrame, before: str, **known: str) -> Iterator[Row]:
    """Rows of a recipe's table as about.json keeps them."""
    for row in table.to_dict("records"):
        numbers = {name: round(float(row[name]), 4) for name in _NUMBERS}
        place = {
            "before": before,
            "layer": int(row["layer"]),
            "n": int(row["n"]),
        }
        yield {**known, **place, **numbers}


def _counts(table: pd.DataFrame, action: str, what: str, condition: str) -> list[Row]:
    """Apart for pairs that were different and same before."""
    counts: list[Row] = []
    for before in LABELS:
        chosen = select(table, condition=before)
        counts += _rows(
            chosen,
            before,
            action=action,
            what=what,
            condition=condition,
        )
    return counts


def _of_alignments(run: RunFolder, prop: str) -> list[Row]:
    if not run.table_files("alignment"):
        return []
    table = select(
        run.table("alignment"),
        property=prop,
        split="test",
        weights="trained",
    )
    return _swap_counts(table, prop)


def _of_novel(run: RunFolder, prop: str) -> list[Row]:
    if not run.table_files("novel"):
        return []
    table = select(run.table("novel"), property=prop, baseline="subspace")
    counts = []
    for method in table.method.unique():
        what = f"{prop} {method}"
        counts += _counts(
            select(table, method=method),
            "inject",
            what,
            "edit",
        )
        if method != "random":
            noise = select(table, method="random")
            counts += _counts(noise, "inject", what, "noise")
    return counts


def _of_steering(table: pd.DataFrame) -> list[Row]:
    """It does not tell pairs that were different from those that were same."""
    counts: list[Row] = []
    for (pair, alpha), rows in table.groupby(["pair", "alpha"], sort=False):
        what = f"{pair} {alpha:g}"
        for name, condition in _STEERED.items():
            chosen = select(rows, condition=name)
            counts += _rows(
                chosen,
                EITHER,
                action="steer",
                what=what,
                condition=condition,
            )
    return counts


def _steering(checkpoint: Checkpoint, probes: Probes, scenes: SceneTable) -> pd.DataFrame:
    """Steering along the probe and along its control."""
    return steer(checkpoint, probes, scenes, SteeringConfig(ALPHAS), progress=True).to_frame()


def _swaps(checkpoint: Checkpoint, alignments: list[Alignment], pairs: int) -> list[Row]:
    """The alignments of one property with two controls, by the recipe that scores those of a study."""
    prop: Any = alignments[0].property
    layers = [alignment.site.layer for alignment in alignments]
    captures = PairCaptures(
        checkpoint,
        checkpoint.distribution(),
        layers,
        pairs=pairs,
        test_pairs=pairs,
    )
    config = AlignConfig(
        property=prop,
        splits=("test",),
        scored_controls=("wrong_object", "random_directions"),
        replacements=None,
        unmapped=None,
        isolate=False,
    )
    tables = [score(alignment, captures, config, progress=True) for alignment in alignments]
    return _swap_counts(pd.concat(tables, ignore_index=True), prop)


def _swap_counts(table: pd.DataFrame, prop: str) -> list[Row]:
    counts: list[Row] = []
    for condition, (kind, control) in _SWAPS.items():
        chosen = select(table, score=kind, control=control)
        counts += _counts(chosen, "swap", prop, condition)
    return counts


def _novel(checkpoint: Checkpoint, alignments: list[Alignment], pairs: int) -> list[Row]:
    """Values that no object has, in the subspaces and in random ones of the same sizes."""
    config = NovelConfig(baselines=("subspace",), bank=pairs, pairs=pairs)
    distribution = checkpoint.distribution()
    random = [alignment.random_directions() for alignment in alignments]
    counts = []
    for condition, subspaces in (("edit", alignments), ("random", random)):
        injected = inject_novel(checkpoint, subspaces, distribution, config, progress=True)
        table = injected.to_frame()
        for method in table.method.unique():
            what = f"{alignments[0].property} {method}"
            counts += _counts(
                select(table, method=method),
                "inject",
                what,
                condition,
            )
    return counts
