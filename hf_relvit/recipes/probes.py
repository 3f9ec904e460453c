"""Probes as cells of a study and as a section of reports: what can be read from the tokens, and where?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pandas as pd

from ..analysis.probes import Form, ProbeConfig, Probes, probe
from ..claims import Reading
from ..figures.causal import probe_figure
from ..measurements import Measurement
from ..stimuli.tasks import target_name
from ..tables import largest, records, select
from .recipe import Part, Recipe, Section, Subject, layer_and_interval

FORMS: dict[str, Form] = {
    "judgement": "linear",
    "shape": "linear",
    "color": "linear",
    "object": "linear",
    "same_object": "quadratic",
}
"""Targets of a study, with the form of the probe."""


def probe_cell(target: str) -> str:
    """The cell of the probes of a target."""
    return f"probes/{target}"


def _parts(subject: Subject) -> Iterator[Part]:
    one_token = subject.distribution.placed.tokens_per_object == 1
    for target in FORMS:
        if one_token and target == "same_object":
            continue  # it can only be asked of objects with several tokens
        yield Part(probe_cell(target), partial(_probe, subject, target))


def _probe(subject: Subject, target: Any) -> Probes:
    config = subject.config(
        "probes",
        ProbeConfig,
        target=target,
        form=FORMS[target],
        seed=subject.seed,
        train_scenes=subject.sizes.scenes,
        scenes=subject.sizes.test_scenes,
    )
    captures = subject.scene_captures
    return probe(subject.checkpoint, subject.distribution, config, captures=captures, progress=True)


def read(table: pd.DataFrame) -> list[Reading]:
    """How well the tokens can be read, at the best layer."""
    readings = []
    for target, rows in table.groupby("target", sort=False):
        layer = int(largest(select(rows, condition="trained")).layer)
        tasks = rows.task.unique() if "task" in rows else ()
        question = target_name(str(target), tasks)
        words = {"trained": question, "shuffled": "control, shuffled labels"}
        measured = {}
        for row in records(rows, layer=layer):
            condition = row["condition"]
            key = "effect" if condition == "trained" else condition
            measured[key] = Measurement.from_row(row, f"{words[condition]} (layer {layer})")
        readings.append(Reading(question, "test", layer, measured, ("shuffled",)))
    return readings


CLAIM = "it can be read"


def sentence(readings: Sequence[Reading]) -> str:
    parts = []
    for reading in readings:
        control = f"shuffled {reading.share('shuffled')}"
        facts = f"{layer_and_interval(reading)}; {control}"
        conclusion = reading.conclusion(CLAIM)
        parts.append(f"“{reading.subject}” {reading.effect.value:.0%} ({facts}): {conclusion}")
    return f"Best in this model: {'; '.join(parts)}."


_CAPTION = (
    "A probe is fitted to the object tokens of each layer: to tell whether a pair is the same, which shape, color or "
    "object a token belongs to, whether two tokens are of one object. Orange: probes fitted to shuffled labels; "
    "dotted: always naming the commonest. A property that can be read need not be used: see the next figure."
)
_SECTION = Section(
    name="probes",
    tables="probes/*/probes.parquet",
    layout={"probes/<target>/probes.parquet": "accuracy of probes at each layer, with the probes"},
    keys=("layer", "target", "form", "condition"),
    heading="What can be read, and where?",
    caption=_CAPTION,
    figure=probe_figure,
    figure_title="Probes by layer",
    read=read,
    claim=CLAIM,
    sentence=sentence,
    published=("trained", "shuffled"),
)
PROBES = Recipe(
    "probes",
    ProbeConfig,
    probe,
    _parts,
    section=_SECTION,
    decided=("target", "form", "layers", "seed"),
)
