"""report.html of a tour: the findings of a run on fresh scenes, with pictures, and the same of another run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ..analysis.attention import AttentionStages
from ..claims import Reading, exceeds_controls
from ..figures.attention import attention_figure
from ..figures.causal import alignment_figure, probe_figure
from ..figures.tour import shares_figure, swap_figure
from ..measurements import Measurement
from ..recipes.recipes import SECTIONS
from ..schemas import TourExample, read_as
from ..stimuli.distribution import SceneDistribution
from ..stimuli.tasks import task_of
from ..tables import largest, select
from .pages import embedded, save_figures, save_scenes, write_page
from .run_folder import RunFolder, StudyFolder

EXAMPLE = "example"
"""The cell of the pair that is drawn."""
EXAMPLE_FILE = "example.json"
_SHOWN = 6
_EFFECTS = {"novel": "another object's", "steering": "to the other relation"}
"""Analysis -> the name of its effect in its figure."""


@dataclass(frozen=True, eq=False)
class Guest:
    """A run on the tour.

    Attributes:
        run: as it was made.
        fresh: the measurements of the tour.
        distribution: of the tour's scenes.
    """

    run: RunFolder
    fresh: RunFolder
    distribution: SceneDistribution

    def readings(self, name: str) -> list[Reading]:
        """Of an analysis on the tour's scenes; none if it was not measured."""
        if not self.fresh.table_files(name):
            return []
        return SECTIONS[name].read(self.fresh.table(name))

    def tell(self, name: str) -> str:
        """The same in words."""
        return SECTIONS[name].tell(self.fresh.table(name))


def write_tour(out: Path, guests: Mapping[str, Guest]) -> Path:
    """Draw the figures and write the page.

    Args:
        out: folder of the tour.
        guests: "main", and "contrast" where there is one.

    Returns:
        The path of ``report.html``.
    """
    folder = StudyFolder(out)
    main = guests["main"]
    contrast = guests.get("contrast")
    scenes = main.distribution.sample("test", 8)
    stimuli = save_scenes(scenes[:_SHOWN], folder.figures / "stimuli.png")
    task = task_of(main.distribution.task)
    return write_page(
        folder.report,
        "tour.html",
        title="How a vision transformer sees that two things are the same",
        lead=_LEAD,
        cards=_cards(main),
        images={"stimuli": embedded(stimuli)},
        rule=task.rule,
        main=_chapters(main, folder.figures / "main"),
        contrast=contrast and _chapters(contrast, folder.figures / "contrast"),
        origin=_origin(contrast) if contrast else "",
        names={name: guest.run.name for name, guest in guests.items()},
        glance=_glance(guests),
        foot=_foot(guests),
    )


_LEAD = (
    "Lepori et al. found two stages in pretrained vision transformers that tell same from different: first each "
    "object is formed in its own tokens, then objects are compared. This page looks for both in a model, on scenes "
    "that were drawn for it, and interferes with them."
)


def _origin(guest: Guest) -> str:
    """How the network came to be, in words."""
    backbone = guest.run.config["backbone"]
    if isinstance(backbone, str):
        return f"fine-tuned from {backbone}"
    return (
        f"trained from scratch, {backbone['num_hidden_layers']} layers of {backbone['hidden_size']}"
    )


def _cards(guest: Guest) -> list[tuple[str, str]]:
    """The numbers at the head of the page."""
    cards = []
    for reading in guest.readings("alignment"):
        effect = reading.effect
        shares = [f"{control.value:.0%}" for control in reading.measured_controls()]
        others = ", ".join(shares)
        words = f"of answers follow a swap of {reading.subject} (controls {others}; n = {effect.n})"
        cards.append((f"{effect.value:.0%}", words))
    for reading in guest.readings("steering"):
        effect = reading.effect
        control = f"shuffled probe {reading.share('shuffled')}; n = {effect.n}"
        words = f"of answers flip after steering ({control})"
        cards.append((f"{effect.value:.0%}", words))
    return cards


def _chapters(guest: Guest, figures: Path) -> dict[str, dict[str, str]]:
    """Chapter -> its picture, its words, and the picture over all layers where the run has one."""
    stages = guest.fresh.stages
    drawn: dict[str, Figure] = {"attention": attention_figure(stages.frame)}
    words = {"attention": attention_words(stages)}
    swaps = guest.readings("alignment")
    if swaps:
        figure, told = _swap(guest, swaps)
        drawn["swap"] = figure
        words["swap"] = told
        words["alignment"] = guest.tell("alignment")
        table = guest.run.table("alignment")
        if table.layer.nunique() > 1:
            on_iid = select(table, split="test")
            drawn["alignment"] = alignment_figure(on_iid)
    for name, effect in _EFFECTS.items():
        readings = guest.readings(name)
        if readings:
            drawn[name] = shares_figure(readings, effect)
            words[name] = guest.tell(name)
    if guest.readings("steering"):
        probes = guest.run.table("probes")
        judged = select(probes, target="judgement")
        drawn["probes"] = probe_figure(judged)
        words["probes"] = SECTIONS["probes"].tell(judged)
    images = {}
    for name, figure in drawn.items():
        file = save_figures(figure, figures / name)
        images[name] = embedded(file)
    return {"images": images, "words": words}


def _swap(guest: Guest, readings: list[Reading]) -> tuple[Figure, str]:
    """The pair that was picked, drawn and told."""
    file = guest.fresh.cell(EXAMPLE) / EXAMPLE_FILE
    known = read_as(file, TourExample)
    prop = known["property"]
    pairs = guest.distribution.pairs(prop, "test", known["tried"])
    pair = pairs[known["row"]]
    (reading,) = [each for each in readings if each.subject == prop]
    (picture,) = pair.base.pixels()
    (source_picture,) = pair.source.pixels()
    edited = pair.base.patches()[0, pair.edited[0]]
    giver = pair.source.patches()[0, pair.source_object[0]]
    figure = swap_figure(
        [picture, source_picture],
        [edited, giver],
        guest.distribution.geometry,
        known["same"],
        reading,
    )
    return figure, _example_words(known)


def _example_words(known: Mapping[str, Any]) -> str:
    """The outcome for the pair; it was picked, and the words say so."""
    answers = {}
    for way, probability in known["same"].items():
        answers[way] = "same" if probability > 0.5 else "different"
    before = answers["before"]
    now = answers["swap"]
    controls = {answers["wrong_object"], answers["random_directions"]}
    found = f"Of {known['tried']} pairs the clearest was picked. The model says “{before}”."
    if now == before:
        return f"{found} Even there a swap of {known['property']} changes nothing."
    beside = ", and after none of the controls"
    if controls != {before}:
        beside = "; so it does after a control"
    return f"{found} After the swap of {known['property']} in layer {known['layer']} it says “{now}”{beside}."


def attention_words(stages: AttentionStages) -> str:
    """Where two kinds of attention peak, each with its interval and the share of even attention."""
    parts = []
    for kind, words in (("within_object", "its own object"), ("within_pair", "the other object")):
        best = largest(select(stages.frame, kind=kind), "mean")
        interval = f"95 % interval {best.ci_low:.1%} to {best.ci_high:.1%}, n = {best.n:.0f} scenes"
        place = f"layer {best.layer:.0f}, head {best['head']:.0f}"
        parts.append(
            f"Attention to {words} is largest in {place}: {best['mean']:.1%} ({interval}; spread evenly "
            f"{best.chance:.1%})."
        )
    return " ".join(parts)


def _glance(guests: Mapping[str, Guest]) -> list[dict[str, Any]]:
    """A row per effect, with its value in each run."""
    rows: dict[str, dict[str, Any]] = {}
    for name, guest in guests.items():
        for analysis in ("alignment", "novel", "steering"):
            for reading in guest.readings(analysis):
                question = _QUESTIONS[analysis].format(reading.subject)
                row = rows.setdefault(question, dict.fromkeys(guests))
                row[name] = _cell(reading, "added" if analysis == "novel" else "effect")
    return [{"question": question, "runs": cells} for question, cells in rows.items()]


_QUESTIONS = {
    "alignment": "the answer follows a swap of {}",
    "novel": "it follows two values of {} added",
    "steering": "steering the {} pair flips it",
}


def _cell(reading: Reading, part: str) -> dict[str, Any]:
    measured = reading.parts[part]
    controls: list[Measurement] = reading.measured_controls()
    strongest = max(controls, key=lambda control: control.high)
    holds = exceeds_controls(measured, controls)
    return {"measured": measured, "control": strongest, "holds": holds}


def _foot(guests: Mapping[str, Guest]) -> list[str]:
    main = guests["main"]
    facts = main.fresh.stages.facts
    versions = facts["provenance"]["versions"]
    return [
        f"{main.distribution.task}, {main.distribution.name}",
        f"scenes of seed {main.distribution.seed}, n = {facts['n']} per chapter",
        *(f"{package} {number}" for package, number in versions.items()),
        facts["provenance"]["machine"],
    ]
