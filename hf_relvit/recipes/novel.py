"""Novel representations as cells of a study and as a section of reports: is the comparison abstract?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import pandas as pd

from ..analysis.alignment import Alignment
from ..analysis.novel import Novel, NovelConfig, inject_novel
from ..claims import Reading, exceeds_controls
from ..figures.causal import novel_figure
from ..measurements import Measurement
from ..stimuli.counterfactuals import PROPERTIES
from ..tables import largest, records, select
from .alignment import alignment_cell
from .recipe import Part, Recipe, Section, Subject


def novel_cell(prop: str) -> str:
    """The cell of novel values of a property."""
    return f"novel/{prop}"


def _parts(subject: Subject) -> Iterator[Part]:
    for prop in PROPERTIES:
        needs = tuple([alignment_cell(prop, layer) for layer in subject.layers])
        yield Part(novel_cell(prop), partial(_inject, subject, needs), needs)


def _inject(subject: Subject, cells: Sequence[str]) -> Novel:
    pairs = subject.sizes.test_pairs
    config = subject.config(
        "novel", NovelConfig, seed=subject.seed, bf16=subject.bf16, bank=pairs, pairs=pairs
    )
    alignments = [subject.result(Alignment, cell) for cell in cells]
    return inject_novel(subject.checkpoint, alignments, subject.distribution, config, progress=True)


def read(table: pd.DataFrame) -> list[Reading]:
    """Values of a property that no object has, at the layer where values of other objects work best.

    Without values of other objects in the subspace there is nothing to read the rest against, and no reading.
    """
    whole = select(table, condition="all", baseline="subspace")
    readings = []
    for prop, rows in whole.groupby("property"):
        known = select(rows, method="known")
        if known.empty:
            continue
        layer = int(largest(known).layer)
        measured = {}
        for row in records(rows, layer=layer):
            key = "effect" if row["method"] == "known" else row["method"]
            name = f"{prop}, layer {layer}: {row['method']} values"
            measured[key] = Measurement.from_row(row, name)
        readings.append(Reading(str(prop), "test", layer, measured, ("random",)))
    return readings


_METHODS = {
    "added": "two added",
    "interpolated": "two averaged",
    "sampled": "sampled",
    "random": "random",
}


def sentence(readings: Sequence[Reading]) -> str:
    parts = []
    for reading in readings:
        effect = reading.effect
        values = [f"another object's {effect.value:.0%}"]
        for method, words in _METHODS.items():
            if method in reading.parts:
                values.append(f"{words} {reading.share(method)}")
        place = f"{reading.subject}, layer {reading.layer}"
        nothing = f"no edit {effect.floor:.0%} (n = {effect.n})"
        parts.append(f"{place}: {', '.join(values)}; {nothing}; {_abstract(reading)}")
    return f"At the layer where known values work best: {'. '.join(parts)}."


def _abstract(reading: Reading) -> str:
    """Which of the values that no object has work better than random vectors."""
    control = reading.parts.get("random")
    if control is None:
        return "random vectors were not injected, so no effect is claimed"
    working = []
    for method, words in _METHODS.items():
        measured = reading.parts.get(method, control)
        if exceeds_controls(measured, [control]):  # never of the control itself
            working.append(words.removeprefix("two "))
    if not working:
        return (
            "no kind of new values lies above random vectors and no edit, so no effect is claimed"
        )
    return f"above random vectors and no edit: {', '.join(working)}"


_CAPTION = (
    "Both objects of a pair get a value of the property that no object has, in the learned subspace: two values added "
    "or averaged, a sampled or a random vector. The answer should change as it would with real objects. Second row: "
    "the whole state of the tokens is replaced; third row: the objects were erased from the picture first. Gray and "
    "dotted: no edit."
)
_SECTION = Section(
    name="novel",
    tables="novel/*/novel.parquet",
    layout={"novel/<property>/novel.parquet": "answers to values that no object has"},
    keys=("property", "layer", "baseline", "method", "condition"),
    heading="Is the comparison abstract?",
    caption=_CAPTION,
    figure=novel_figure,
    figure_title="Novel representations by layer",
    read=read,
    claim="values of other objects work better than random vectors",
    sentence=sentence,
    published=("all",),
)
NOVEL = Recipe(
    "novel", NovelConfig, inject_novel, _parts, section=_SECTION, needs=("das",), needs_pairs=True
)
