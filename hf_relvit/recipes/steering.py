"""Steering as a cell of a study and as a section of reports: is what can be read also used?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import pandas as pd

from ..analysis.probes import Probes
from ..analysis.steering import Steering, SteeringConfig, steer
from ..claims import Reading
from ..figures.causal import steering_figure
from ..measurements import Measurement
from ..tables import largest, records, select
from .probes import probe_cell
from .recipe import Part, Recipe, Section, Subject, interval

CELL = "steering"
ALPHAS = (1.0, 32.0, 128.0)
"""The paper's step, and longer ones, to about the length of the tokens: in small models one of 1 is 1 % of it."""


def _parts(subject: Subject) -> Iterator[Part]:
    yield Part(CELL, partial(_steer, subject), (probe_cell("judgement"),))


def _steer(subject: Subject) -> Steering:
    config = subject.config(
        CELL, SteeringConfig, alphas=ALPHAS, bf16=subject.bf16, scenes=subject.sizes.test_scenes
    )
    probes = subject.result(Probes, probe_cell("judgement"))
    return steer(subject.checkpoint, probes, subject.distribution, config, progress=True)


_WORDS = {
    "flip": "answer flips",
    "agree": "control, toward the relation that it has",
    "shuffled": "control, shuffled probe",
}


def read(table: pd.DataFrame) -> list[Reading]:
    """The step that flips most answers, of equal ones the shortest, beside equally long ones that should not."""
    flips = select(table, condition="flip")
    if flips.empty:
        return []
    best = largest(flips.sort_values("alpha", kind="stable"))
    place = f"layer {best.layer}, α = {best.alpha:g}, {best.pair} pair"
    measured = {}
    for row in records(table, layer=best.layer, alpha=best.alpha, pair=best.pair):
        condition = row["condition"]
        if condition in _WORDS:
            key = "effect" if condition == "flip" else condition
            measured[key] = Measurement.from_row(row, f"{place}: {_WORDS[condition]}")
    controls = ("agree", "shuffled")
    strength = float(best.alpha)
    return [Reading(str(best.pair), "test", int(best.layer), measured, controls, strength)]


CLAIM = "steering along the probe does more than its controls"


def sentence(readings: Sequence[Reading]) -> str:
    (reading,) = readings
    effect = reading.effect
    place = f"layer {reading.layer}, α = {reading.strength:g}, {reading.subject} pair"
    conclusion = reading.conclusion(CLAIM)
    return (
        f"At best, steering flips {effect.value:.0%} of the answers ({place}; {interval(effect)}); one of the same "
        f"length along a shuffled probe flips {reading.share('shuffled')}, none {effect.floor:.0%}: {conclusion}."
    )


_CAPTION = (
    "The tokens of a pair are steered along the probe's direction for the other relation, α times its length; the "
    "titles say how long that is beside the tokens. Blue: how often the answer flips. Orange: steered to the relation "
    "that the pair has. Green: steered as far along a shuffled probe. Gray and dotted: not steered."
)
_SECTION = Section(
    name="steering",
    tables=f"{CELL}/steering.parquet",
    layout={f"{CELL}/steering.parquet": "answers of pairs that were steered along a probe"},
    keys=("layer", "alpha", "pair", "condition"),
    heading="Is what can be read also used?",
    caption=_CAPTION,
    figure=steering_figure,
    figure_title="Steering by layer",
    read=read,
    claim=CLAIM,
    sentence=sentence,
    published=("flip", "agree", "shuffled"),
)
STEERING = Recipe(
    CELL,
    SteeringConfig,
    steer,
    _parts,
    section=_SECTION,
    needs=("probes",),
    decided=("bf16",),
    needs_grid=True,
)
