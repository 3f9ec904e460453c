"""The photorealistic section of a run's page: its figures, its table, and what they show in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..analysis.attention import AttentionStages
from ..analysis.similarity import Similarity
from ..figures.attention import attention_figure
from ..figures.photorealistic import CONDITIONS, photorealistic_figure
from ..measurements import Measurement, exceeds_controls, random_weights
from ..tables import largest, named_rows
from .folder import PHOTOREALISTIC, RunFolder
from .pages import embedded, save_figures

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
    """What the photorealistic cells of a run found.

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
    results: PhotoResults, flat: AttentionStages, test: pd.Series, figures: Path
) -> dict[str, Any]:
    """Draw the figures to ``figures`` and say what they show.

    Args:
        results: of the run.
        flat: its attention on the scenes of its own task.
        test: its row of the IID test.
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
        "scores": [
            {
                "scenes": scenes,
                "n": stages.frame.n.iloc[0],
                "chance": _chance(stages),
                **stages.scores,
            }
            for scenes, stages in (("flat", flat), ("photorealistic", results.stages))
        ],
        "rows": [
            row | {"words": CONDITIONS[row["condition"]]}
            for row in results.accuracy.to_dict("records")
        ],
    }


def accuracy(table: pd.DataFrame, test: pd.Series) -> str:
    """What the accuracy says; ``test``: that of the IID test, as what was not learned cannot carry over."""
    rows = table.set_index("condition")
    row: Any = rows.loc["all"]
    same: Any = rows.loc["difference_none"]
    different = (row.accuracy * row.n - same.accuracy * same.n) / (row.n - same.n)
    found = (
        f"The model is right on {row.accuracy:.1%} of {row.n:,.0f} images (95 % interval {row.ci_low:.1%} to "
        f"{row.ci_high:.1%}); the same network with random weights on {row.base_accuracy:.1%}, guessing on "
        f"{row.floor:.0%}."
    )
    if abs(same.accuracy - different) > LEAN:
        answer = "same" if same.accuracy > different else "different"
        found += (
            f" It leans to “{answer}”: right on {same.accuracy:.1%} of same and {different:.1%} of different pairs. "
            f"The difference of its two logits, free of that, has an AUC of {row.auc:.3f}."
        )
    learned = f"its learning on flat shapes ({test.accuracy:.1%} on the IID test)"
    if test.ci_low <= test.floor:
        return f"{found} The model guesses on flat shapes too, so this says nothing about realistic pictures."
    if row.ci_high < row.floor:
        return f"{found} That is worse than guessing: {learned} misleads it here."
    if row.ci_low <= row.floor and row.ci_high > row.floor + CLEAR:
        return (
            f"{found} The interval reaches from guessing to well above it: too few images to tell."
        )
    if row.ci_low <= row.floor:
        return f"{found} That is no better than guessing: {learned} does not carry over to these pictures."
    independent = int(row.n) // 2  # a scene and its twin
    if not exceeds_controls(Measurement.from_row(row, "all"), [random_weights(row, independent)]):
        return f"{found} That is better than guessing, but random weights may do as well."
    return f"{found} That is better than guessing: {learned} carries over, at least in part."


def frozen(table: pd.DataFrame) -> str:
    """Whether the set can be solved at all."""
    whole = table[table.level == "all"].reset_index(drop=True)
    best = whole.loc[whole.groupby("model", sort=False).auc.idxmax()]
    values = "; ".join(
        f"{row.model} {row.auc:.2f} (layer {row.layer}, 95 % interval {row.ci_low:.2f} to {row.ci_high:.2f})"
        for row in named_rows(best)
    )
    low = largest(best, "auc").ci_low
    if low >= SOLVABLE:
        verdict = "How alike two objects' tokens are gives the answer without training on it: the set can be solved."
    elif low > 0.5:
        verdict = "How alike two objects' tokens are gives the answer in part only."
    else:
        verdict = "How alike two objects' tokens are does not give the answer: a failure here says little."
    scratch = (
        "" if "base" in set(best.model) else " (trained from scratch, so there is no base model)"
    )
    return f"{verdict} Best AUC: {values}; guessing 0.50{scratch}."


def attention(flat: AttentionStages, realistic: AttentionStages) -> str:
    """How much stays inside objects, beside what evenly spread attention would leave there."""
    (here, even), (there, even_there) = (
        (f"{stages.grid('within_object').max():.0%}", f"{_chance(stages):.1%}")
        for stages in (realistic, flat)
    )
    return (
        f"The most local head keeps {here} of an object's attention inside it (even attention would keep {even}); on "
        f"flat scenes {there} ({even_there})."
    )


def _chance(stages: AttentionStages) -> float:
    """Mean share of the tokens that belong to an object."""
    return float(stages.frame.chance[stages.frame.kind == "within_object"].iloc[0])
