"""diagnosis.html: the verdict on one checkpoint, with its evidence, on one self-contained page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from matplotlib.figure import Figure

from ..analysis.diagnosis import Diagnosis
from ..analysis.failing_stage import Criterion, Verdict
from ..figures.attention import attention_figure
from ..figures.causal import alignment_figure, probe_figure, steering_figure
from ..figures.diagnosis import diagnosis_figure
from ..figures.training import accuracy_figure
from ..tables import select
from ..words import split_name
from .pages import embedded, save_figures, write_page
from .readings import accuracy_rows

HEADLINES = {
    "none": "No stage fails",
    "perceptual": "The perceptual stage fails",
    "relational": "The relational stage fails",
    "both": "Both stages fail",
    "undetermined": "Undetermined",
}
CARDS = ("answers", "swap_shape", "swap_color")
"""Questions whose answers stand at the head of the page."""
LEADS = {
    "none": "The objects' shape and color are held apart in their own tokens, and the comparison is right.",
    "perceptual": "Shape and color of an object are not held apart in its own tokens.",
    "relational": "The objects' properties are there, but the answer does not use them as it should.",
    "both": "Properties are not held apart in the objects' tokens, and those present are not compared as they should.",
    "undetermined": "The measurements do not tell which stage fails.",
}


def write_diagnosis(diagnosis: Diagnosis, checkpoint: str, out: Path) -> Path:
    """Save the diagnosis in ``out``, its figures in ``out / "figures"``, and the page ``out / "diagnosis.html"``.

    Args:
        diagnosis: of ``analysis.diagnosis.diagnose``.
        checkpoint: its name, for the page.
        out: folder.

    Returns:
        The path of the page.
    """
    diagnosis.save(out)
    verdict = diagnosis.verdict
    images = _images(diagnosis, out / "figures")
    settings = diagnosis.facts["settings"]
    losses = yaml.safe_dump(settings, sort_keys=False, default_flow_style=None) if settings else ""
    return write_page(
        out / "diagnosis.html",
        "diagnosis.html",
        checkpoint=checkpoint,
        title=HEADLINES[verdict.verdict],
        lead=LEADS[verdict.verdict],
        cards=_cards(diagnosis),
        images=images,
        reasons=verdict.reasons,
        advice=verdict.advice,
        settings=losses,
        criteria=_criteria(verdict),
        accuracy=accuracy_rows(diagnosis.tables["accuracy"]),
        foot=_foot(diagnosis.facts),
    )


def _images(diagnosis: Diagnosis, folder: Path) -> dict[str, str]:
    """The figures by their names, as the page holds them; saved in ``folder``, too."""
    images = {}
    for title, figure in _figures(diagnosis).items():
        images[title] = embedded(save_figures(figure, folder / title))
    return images


def _criteria(verdict: Verdict) -> dict[str, list[Criterion]]:
    """The criteria of each split, by its name in words."""
    criteria = {}
    for split in verdict.by_split:
        criteria[split_name(split)] = [each for each in verdict.criteria if each.split == split]
    return criteria


def _figures(diagnosis: Diagnosis) -> dict[str, Figure]:
    """The figures of the page by their names."""
    tables = diagnosis.tables
    probes = select(tables["probes"], weights="trained", split="test")
    drawn = {
        "diagnosis": diagnosis_figure(diagnosis.to_frame()),
        "accuracy": accuracy_figure(tables["accuracy"]),
        "probes": probe_figure(probes.assign(task=diagnosis.facts["task"])),
        "alignment": alignment_figure(_better(tables["alignments"])),
    }
    if diagnosis.stages is not None:
        drawn["attention"] = attention_figure(diagnosis.stages.frame)
    if len(tables["steering"]):
        drawn["steering"] = steering_figure(tables["steering"])
    return drawn


def _cards(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    """The numbers at the head of the page, with their words."""
    shown = [each for each in diagnosis.verdict.criteria if each.split == "test" and each.decides]
    cards = [_card(criterion) for criterion in shown if criterion.key in CARDS]
    if diagnosis.stages is not None:
        scores = diagnosis.stages.scores
        both = f"{scores['perceptual_score']:.2f} / {scores['relational_score']:.2f}"
        cards.append((both, "attention: perceptual / relational score (ours, 0 to 1)"))
    return cards


def _foot(facts: dict[str, Any]) -> list[str]:
    """Where the numbers come from."""
    config = facts["config"]
    versions = facts["provenance"]["versions"]
    return [
        f"{facts['task']}, {facts['geometry']}-{facts['combinations']}",
        f"seed {config['seed']}",
        f"{config['scenes']} scenes and {config['test_pairs']} pairs per split",
        f"processor {facts['provenance']['processor']}",
        *(f"{package} {number}" for package, number in versions.items()),
        facts["provenance"]["machine"],
    ]


def _card(criterion: Criterion) -> tuple[str, str]:
    """A number at the head of the page, with its words."""
    measured = criterion.measured
    if criterion.key == "answers":
        interval = f"{measured.low:.1%} to {measured.high:.1%}"
        return f"{measured.value:.1%}", f"answers right, {split_name('test')} ({interval})"
    return f"{measured.value:.1%}", f"{measured.name}; needed {criterion.threshold:.0%}"


def diagnosis_text(diagnosis: Diagnosis) -> str:
    """The verdict and its evidence for the terminal."""
    verdict = diagnosis.verdict
    lines = [
        f"{'question':54} {'split':13} {'value':>6}  {'95 % interval':>14} {'n':>5} {'needed':>6}  answer"
    ]
    for criterion in verdict.criteria:
        measured = criterion.measured
        lines.append(
            f"{criterion.title:54} {split_name(criterion.split):13} {measured.value:6.3f}  {measured.interval:>14} "
            f"{measured.n:5d} {criterion.threshold:6.2f}  {criterion.reading}"
        )
    lines += [
        "",
        f"verdict: {verdict.verdict} - {HEADLINES[verdict.verdict].lower()}",
        *verdict.reasons,
        *verdict.advice,
    ]
    return "\n".join(lines)


def _better(alignments: pd.DataFrame) -> pd.DataFrame:
    """On IID pairs, the better of the learned subspace and the span of class means at each layer, and the controls."""
    known = pd.DataFrame(
        alignments[(alignments.split == "test") & (alignments.control != "whole_object")]
    )
    swaps = known[(known.control == "none") & (known.weights == "trained")]
    best = swaps.loc[swaps.groupby(["property", "layer", "condition"]).accuracy.idxmax()]
    return pd.concat([best, known.drop(swaps.index)], ignore_index=True)
