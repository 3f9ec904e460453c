"""Knock-out of heads as a cell of a study and as a section of reports: are the heads that look at objects used?

A study makes it where its grid names it in ``analyses``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import pandas as pd

from ..analysis.knockout import Knockout, KnockoutConfig, knock_out_heads
from ..claims import Reading
from ..figures.knockout import knockout_figure
from ..measurements import Measurement
from ..tables import records
from ..words import KIND_NAMES, READ_NAMES, REPLACEMENT_NAMES, condition_name
from .recipe import Part, Recipe, Section, Subject, interval

CELL = "knockout"


def _parts(subject: Subject) -> Iterator[Part]:
    yield Part(CELL, partial(_knock_out, subject))


def _knock_out(subject: Subject) -> Knockout:
    scenes = subject.sizes.test_scenes
    config = subject.config(CELL, KnockoutConfig, seed=subject.seed, scenes=scenes)
    return knock_out_heads(subject.checkpoint, subject.distribution, config, progress=True)


def read(table: pd.DataFrame) -> list[Reading]:
    """The accuracy lost without the strongest heads of each kind, per replacement, beside all random draws."""
    readings = []
    if "lost" not in table:  # means over seeds have accuracies only
        return readings
    if "outcome" not in table:  # of older folders
        table = table.assign(outcome="answer")
    for (kind, replacement), rows in table.groupby(["kind", "replacement"], sort=False):
        subject = f"{KIND_NAMES[str(kind)]}, {REPLACEMENT_NAMES[str(replacement)]}"
        measured = {}
        for row in records(rows, heads="strongest"):
            key, name = _named(row)
            measured[key] = _lost(row, f"{subject}: {name}")
        controls = []
        for row in records(rows, heads="random", condition="all", outcome="answer"):
            draw = row["draw"] + 1
            controls.append(f"random_{draw}")
            measured[controls[-1]] = _lost(row, f"{subject}: random heads, draw {draw}")
        readings.append(Reading(subject, "test", -1, measured, tuple(controls)))
    return readings


def _named(row: dict) -> tuple[str, str]:
    """Key and name of a row: the effect is the answer in all scenes."""
    if row["outcome"] != "answer":
        return f"read_{row['outcome']}", READ_NAMES[row["outcome"]]
    condition = str(row["condition"])
    key = "effect" if condition == "all" else condition
    return key, condition_name(condition)


def _lost(row: dict, name: str) -> Measurement:
    """Accuracy lost; losing none is its floor."""
    return Measurement(name, row["lost"], row["lost_low"], row["lost_high"], row["n"], floor=0.0)


CLAIM = "these heads are used more than random heads of the same layers"


def sentence(readings: Sequence[Reading]) -> str:
    parts = []
    for reading in readings:
        effect = reading.effect
        random = max(each.value for each in reading.measured_controls())
        kinds = set(reading.parts) - {"effect", *reading.controls}
        conditions = [reading.parts[key] for key in reading.parts if key in kinds]
        by_kind = [f"{each.name.rpartition(': ')[2]} {each.value:.0%}" for each in conditions]
        facts = "; ".join([interval(effect), ", ".join(by_kind), f"random at most {random:.0%}"])
        conclusion = reading.conclusion(CLAIM)
        parts.append(f"{reading.subject}, {effect.value:.0%} ({facts}): {conclusion}.")
    return f"Accuracy lost without the strongest heads: {' '.join(parts)}"


_CAPTION = (
    "The strongest heads of each kind of attention write something else: their mean over scenes, noise, or their own "
    "output in another picture. Blue: the accuracy that is lost, over all scenes, by kind of scene, and by probes "
    "that read the objects right after these heads. Orange: the same with as many random other heads of the same "
    "layers. Right of the dotted line the model gets worse."
)
_SECTION = Section(
    name=CELL,
    tables=f"{CELL}/knockout.parquet",
    layout={f"{CELL}/knockout.parquet": "accuracy that is lost without single heads"},
    keys=("kind", "heads", "draw", "replacement", "outcome", "condition"),
    heading="Are the heads that look at objects used?",
    caption=_CAPTION,
    figure=knockout_figure,
    figure_title="Accuracy lost by kind of head",
    read=read,
    claim=CLAIM,
    sentence=sentence,
    published=(),
)
KNOCKOUT = Recipe(
    CELL, KnockoutConfig, knock_out_heads, _parts, section=_SECTION, decided=("seed",), usual=False
)
