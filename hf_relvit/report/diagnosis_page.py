"""diagnosis.html: the verdict on one checkpoint, with its evidence, on one self-contained page."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import yaml

from ..analysis.diagnosis import Diagnosis
from ..analysis.verdict import Criterion
from ..figures.attention import attention_figure
from ..figures.causal import alignment_figure, probe_figure, steering_figure
from ..figures.diagnosis import diagnosis_figure
from ..figures.training import accuracy_figure
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
    tables, verdict, stages = diagnosis.tables, diagnosis.verdict, diagnosis.stages
    frame = diagnosis.to_frame()
    probes = tables["probes"]
    drawn = {
        "diagnosis": diagnosis_figure(frame),
        "accuracy": accuracy_figure(tables["accuracy"]),
        "probes": probe_figure(probes[(probes.weights == "trained") & (probes.split == "test")]),
        "alignment": alignment_figure(_better(tables["alignments"])),
    }
    if stages is not None:
        drawn["attention"] = attention_figure(stages.frame)
    if len(tables["steering"]):
        drawn["steering"] = steering_figure(tables["steering"])
    images = {
        title: save_figures(figure, out / "figures" / title) for title, figure in drawn.items()
    }
    test = [criterion for criterion in verdict.criteria if criterion.split == "test"]
    cards = [_card(criterion) for criterion in test if criterion.key in CARDS and criterion.decides]
    if stages is not None:
        scores = (
            f"{stages.scores[f'{stage}_score']:.2f}" for stage in ("perceptual", "relational")
        )
        cards.append(
            (" / ".join(scores), "attention: perceptual / relational score (ours, 0 to 1)")
        )
    facts, settings = diagnosis.facts, diagnosis.facts["settings"]
    versions = facts["provenance"]["versions"]
    return write_page(
        out / "diagnosis.html",
        "diagnosis.html",
        checkpoint=checkpoint,
        title=HEADLINES[verdict.verdict],
        lead=LEADS[verdict.verdict],
        cards=cards,
        images={title: embedded(file) for title, file in images.items()},
        reasons=verdict.reasons,
        advice=verdict.advice,
        settings=yaml.safe_dump(settings, sort_keys=False, default_flow_style=None)
        if settings
        else "",
        criteria={
            split_name(split): [each for each in verdict.criteria if each.split == split]
            for split in verdict.by_split
        },
        accuracy=accuracy_rows(tables["accuracy"]),
        foot=[
            f"{facts['task']}, {facts['geometry']}-{facts['combinations']}",
            f"seed {facts['config']['seed']}",
            f"{facts['config']['scenes']} scenes and {facts['config']['test_pairs']} pairs per split",
            f"processor {facts['provenance']['processor']}",
            *(f"{package} {number}" for package, number in versions.items()),
            facts["provenance"]["machine"],
        ],
    )


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
