"""Alignments as cells of a study and as a section of reports: which subspace carries a property, layer by layer?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from ..analysis.align import AlignConfig, Weights, align
from ..analysis.alignment import Alignment
from ..analysis.das_config import LABELED
from ..claims import Reading
from ..figures.causal import alignment_figure
from ..files import write_table
from ..measurements import Measurement
from ..stimuli.counterfactuals import PROPERTIES
from ..tables import records, select
from ..words import split_name
from .recipe import Part, Recipe, Section, Subject, layer_and_interval

SCORES = "scores.parquet"
"""The table of an alignment, in its cell."""
FOLDERS: dict[str, str] = {"trained": "das", "random": "das_random"}
"""Weights of the network -> the folder of its alignments."""


def alignment_cell(prop: str, layer: int, weights: str = "trained") -> str:
    """The cell of an alignment, of the trained model or of "random" weights."""
    return f"{FOLDERS[weights]}/{prop}-{layer}"


@dataclass(frozen=True)
class _Scored:
    """An alignment and its scores."""

    alignment: Alignment
    scores: pd.DataFrame

    def save(self, folder: Path) -> None:
        self.alignment.save(folder)
        write_table(folder / SCORES, self.scores)


def _parts(weights: Weights, subject: Subject) -> Iterator[Part]:
    for prop in PROPERTIES:
        for layer in subject.layers:
            run = partial(_align, subject, prop, layer, weights)
            yield Part(alignment_cell(prop, layer, weights), run)


def _align(subject: Subject, prop: Any, layer: int, weights: Weights) -> _Scored:
    """One alignment and its scores, with all controls."""
    config = subject.config(
        FOLDERS[weights],
        AlignConfig,
        method=subject.sizes.method,
        epochs=subject.sizes.epochs,
        seed=subject.seed,
        bf16=subject.bf16,
        property=prop,
        layers=(layer,),
        networks=(weights,),
        replacements=None,
        unmapped=None,
        shuffled=subject.sizes.method in LABELED,  # a search again would cost a third more
    )
    result = align(
        subject.checkpoint,
        subject.distribution,
        config,
        captures=subject.pair_captures,
        progress=True,
    )
    (alignment,) = result.alignments + result.random
    return _Scored(alignment, result.frame)


def own_alignments(table: pd.DataFrame) -> pd.DataFrame:
    """The alignments themselves on the IID test: one row per property and layer, no controls."""
    return select(
        table, split="test", score="cause", control="none", weights="trained", condition="all"
    )


def best_layers(table: pd.DataFrame) -> dict[str, int]:
    """For each property the layer whose swap works best on the IID test."""
    scores = own_alignments(table)
    if not len(scores):
        return {}
    best = scores.loc[scores.groupby("property").accuracy.idxmax()]
    return {row["property"]: int(row["layer"]) for row in records(best)}


_MEASURED = {
    "effect": ("answer follows the swap", {"score": "cause", "control": "none"}),
    "wrong_object": ("control, the other object", {"score": "cause", "control": "wrong_object"}),
    "random_tokens": ("control, random tokens", {"score": "cause", "control": "random_tokens"}),
    "random_directions": (
        "control, random directions",
        {"score": "cause", "control": "random_directions"},
    ),
    "shuffled_labels": (
        "control, shuffled labels",
        {"score": "cause", "control": "shuffled_labels"},
    ),
    "isolate": (
        "answer stays, other property changed",
        {"score": "isolate", "control": "none"},
    ),
}
_CONTROLS = (
    "wrong_object",
    "random_tokens",
    "random_directions",
    "random_weights",
    "shuffled_labels",
)


def read(table: pd.DataFrame) -> list[Reading]:
    """Swaps of a property: one reading per property and split, the IID test first."""
    readings = []
    for prop, layer in best_layers(table).items():
        rows = select(table, property=prop, layer=layer)
        for split in dict.fromkeys(map(str, rows["split"])):
            place = f"{prop}, layer {layer}, {split_name(split)}"
            measured = _measured(select(rows, split=split), place)
            readings.append(Reading(prop, split, layer, measured, _CONTROLS))
    return readings


def _measured(rows: pd.DataFrame, place: str) -> dict[str, Measurement]:
    measured = {}
    for key, (words, columns) in _MEASURED.items():
        chosen = select(rows, condition="all", **columns)
        trained = records(chosen, weights="trained")
        random = next(iter(records(chosen, weights="random")), None)
        if trained:
            measured[key] = Measurement.from_row(trained[0], f"{place}: {words}", random)
        if random and key == "effect":
            measured["random_weights"] = Measurement.from_row(random, f"{place}: random weights")
    own = select(rows, score="cause", control="none", weights="trained")
    for answer in ("same", "different"):
        for row in records(own, condition=answer):
            words = f"{place}: answer follows the swap, pairs that were {answer}"
            measured[answer] = Measurement.from_row(row, words)
    return measured


CLAIM = "the answer follows the swap more often than in all controls"


def sentence(readings: Sequence[Reading]) -> str:
    parts = []
    for reading in readings:
        if reading.split != "test":
            continue
        effect = reading.effect
        answers = [
            f"pairs that were same {reading.share('same')}",
            f"different {reading.share('different')}",
        ]
        controls = [
            f"wrong object's {reading.share('wrong_object')}",
            f"no edit {effect.floor:.0%}",
        ]
        place = layer_and_interval(reading)
        numbers = "; ".join([place, ", ".join(answers), ", ".join(controls)])
        conclusion = reading.conclusion(CLAIM)
        parts.append(f"{reading.subject} {effect.value:.0%} ({numbers}): {conclusion}")
    return f"Best in this model: {'; '.join(parts)}."


_CAPTION = (
    "For each property and layer, a subspace of the object's tokens was found whose swap from another picture "
    "should change that property alone (by distributed alignment search, unless the tables name another method). "
    "Blue: how often the model then gives the answer that the changed object calls for. Orange: the same with the "
    "wrong object of the other picture, which should fail. Crosses: the same with as many random directions, which "
    "should fail, too. Green: how often the answer stays where the other property was changed in the source instead. "
    "Pink: the same search in this network with random weights, which gives one answer to all pictures, so read "
    "it against its own dots. Gray and black dots: doing nothing, judged by the picture's own answer and by the "
    "new one."
)
_SECTION = Section(
    name="alignment",
    tables=f"das*/*/{SCORES}",
    layout={
        "das/<property>-<layer>/": f"an alignment, and its scores and controls in `{SCORES}`",
        "das_random/<property>-<layer>/": "the same of the network with random weights",
    },
    keys=("property", "layer", "split", "score", "control", "weights", "condition"),
    heading="Does it hold shape and color apart?",
    caption=_CAPTION,
    figure=alignment_figure,
    figure_title="Interchange interventions by layer",
    read=read,
    claim=CLAIM,
    sentence=sentence,
    published=("all",),
)
_DECIDED = (
    "method",
    "property",
    "layers",
    "networks",
    "pairs",
    "test_pairs",
    "scenes",
    "seed",
    "bf16",
)
ALIGNMENT = Recipe(
    "das",
    AlignConfig,
    align,
    partial(_parts, "trained"),
    section=_SECTION,
    decided=_DECIDED,
    needs_pairs=True,
)
RANDOM_ALIGNMENT = Recipe(
    "das_random",
    AlignConfig,
    align,
    partial(_parts, "random"),
    decided=_DECIDED,
    needs_pairs=True,
)
"""The same search in the network with random weights: rows of the same section."""
