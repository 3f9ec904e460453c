"""The photorealistic section of a run's page: its figures, its table, and their reading in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..analysis.attention import AttentionStages
from ..analysis.similarity import Similarity
from ..claims import exceeds_controls
from ..figures.attention import attention_figure
from ..figures.photorealistic import photorealistic_figure
from ..measurements import Measurement, random_weights
from . import readings
from .pages import embedded, save_figures
from .readings import accuracy_rows
from .run_folder import PHOTOREALISTIC, RunFolder

ONE_PAIR = (
    "Photorealistic scenes show one pair of objects and ask whether these are the same: they test models of that "
    "task. This one asks another question, so it was not tested on them."
)

SOLVABLE = 0.9
"""AUC of untrained likeness from which a set counts as solvable (our choice; CLIP's is .96 on the default set)."""

CLEAR = 0.1
"""An interval around guessing that reaches further above it leaves the question open (our choice)."""

LEAN = 0.3
"""A model that is better on one answer by more than this leans to it (our choice)."""


@dataclass(frozen=True)
class PhotoResults:
    """Results of the photorealistic cells of a run.

    Attributes:
        accuracy: of ``evaluate_photorealistic``.
        frozen: of ``measure_similarity``.
        stages: of the attention.
        data: ``config, checksum`` of the set.
    """

    accuracy: pd.DataFrame
    frozen: pd.DataFrame
    stages: AttentionStages
    data: dict[str, str]

    @classmethod
    def load(cls, run: RunFolder) -> PhotoResults | None:
        """The results of a run; None unless all of its photorealistic cells are finished."""
        cells = [PHOTOREALISTIC.format(name) for name in ("accuracy", "frozen", "attention")]
        if not all(run.finished(cell) for cell in cells):
            return None
        _, frozen, attention = cells
        return cls(
            run.table("photorealistic"),
            Similarity.load(run.cell(frozen)).frame,
            AttentionStages.load(run.cell(attention)),
            run.photorealistic_provenance["data"],
        )


def photorealistic_section(
    results: PhotoResults,
    flat: AttentionStages,
    test: Measurement,
    figures: Path,
) -> dict[str, Any]:
    """Draw the figures to ``figures`` and say what they show.

    Args:
        results: of the run.
        flat: its attention on the scenes of its own task.
        test: its accuracy on the IID test.
        figures: folder.

    Returns:
        The values of the section in ``report.html``.
    """
    drawn = {
        "photorealistic": photorealistic_figure(results.accuracy, results.frozen),
        "photorealistic_attention": attention_figure(results.stages.frame),
    }
    images = {name: save_figures(figure, figures / name) for name, figure in drawn.items()}
    return {
        "images": {name: embedded(file) for name, file in images.items()},
        "data": results.data,
        "accuracy": accuracy(results.accuracy, test),
        "frozen": frozen(results.frozen),
        "attention": attention(flat, results.stages),
        "scores": [_scores("flat", flat), _scores("photorealistic", results.stages)],
        "rows": accuracy_rows(results.accuracy),
    }


def _scores(scenes: str, stages: AttentionStages) -> dict[str, Any]:
    """The scores of the attention on one kind of scenes."""
    n = int(stages.frame.n.iloc[0])
    return {
        "scenes": scenes,
        "scores": readings.attention({**stages.scores, "n": n}),
        "chance": _chance(stages),
    }


def accuracy(table: pd.DataFrame, test: Measurement) -> str:
    """The reading of the accuracy; ``test``: that of the IID test, as only a learned relation can carry over."""
    rows = {row.condition: row for row in accuracy_rows(table)}
    whole = rows["all"]
    measured = whole.measured
    same = rows["difference_none"].measured
    others = measured.n - same.n
    different = (measured.value * measured.n - same.value * same.n) / others
    found = (
        f"The model is right on {measured.value:.1%} of {measured.n:,.0f} images (95 % interval {measured.low:.1%} to "
        f"{measured.high:.1%}); the same network with random weights on {measured.base:.1%}, guessing on "
        f"{measured.floor:.0%}."
    )
    if abs(same.value - different) > LEAN:
        answer = "same" if same.value > different else "different"
        found += (
            f" It leans to “{answer}”: right on {same.value:.1%} of same and {different:.1%} of different pairs. "
            f"The difference of its two logits, free of that, has an AUC of {whole.auc:.3f}."
        )
    return f"{found} {_conclusion(measured, test)}"


def _conclusion(measured: Measurement, test: Measurement) -> str:
    """The conclusion from the accuracy on all images, by the one rule of claims."""
    floor = measured.floor
    assert floor is not None
    learned = f"its learning on flat shapes ({test.value:.1%} on the IID test)"
    random = random_weights(measured.to_row(), independent=measured.n // 2)  # a scene and its twin
    if not exceeds_controls(test, ()):
        return (
            "The model guesses on flat shapes too, so this says nothing about realistic pictures."
        )
    if measured.high < min(floor, random.low):
        return f"That is worse than guessing: {learned} misleads it here."
    if measured.high < floor:
        return "That is worse than guessing, but random weights may do as badly."
    if not exceeds_controls(measured, ()):
        if measured.high > floor + CLEAR:
            return "The interval reaches from guessing to well above it: too few images to tell."
        return f"That is no better than guessing: {learned} does not carry over to these pictures."
    if not exceeds_controls(measured, [random]):
        return "That is better than guessing, but random weights may do as well."
    return f"That is better than guessing: {learned} carries over, at least in part."


def frozen(table: pd.DataFrame) -> str:
    """Whether the set can be solved at all."""
    best = readings.similarity(table)
    values = "; ".join(map(_auc, best.values()))
    top = max(best.values(), key=lambda measured: measured.value)
    if top.low >= SOLVABLE:
        verdict = "How alike two objects' tokens are gives the answer without training on it: the set can be solved."
    elif exceeds_controls(top, ()):
        verdict = "How alike two objects' tokens are gives the answer in part only."
    else:
        verdict = "How alike two objects' tokens are does not give the answer: a failure here says little."
    scratch = "" if "base" in best else " (trained from scratch, so there is no base model)"
    return f"{verdict} Best AUC: {values}; guessing 0.50{scratch}."


def _auc(measured: Measurement) -> str:
    name, layer = measured.name.rsplit(" (", 1)
    interval = f"95 % interval {measured.low:.2f} to {measured.high:.2f}"
    return f"{name} {measured.value:.2f} ({layer.removesuffix(')')}, {interval})"


def attention(flat: AttentionStages, realistic: AttentionStages) -> str:
    """How much stays inside objects, beside the share of evenly spread attention."""
    here = realistic.grid("within_object").max()
    there = flat.grid("within_object").max()
    return (
        f"The most local head keeps {here:.0%} of an object's attention inside it (even attention would keep "
        f"{_chance(realistic):.1%}); on flat scenes {there:.0%} ({_chance(flat):.1%})."
    )


def _chance(stages: AttentionStages) -> float:
    """Mean share of the tokens that belong to an object."""
    return float(stages.frame.chance[stages.frame.kind == "within_object"].iloc[0])
