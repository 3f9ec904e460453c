"""A recipe: an analysis as one value, which studies run and which reports and cards tell.

``parts`` says which cells a study makes of it and how; ``section`` how its table is read, drawn and put into words.
Studies and reports walk over ``recipes.RECIPES`` and know no analysis by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..analysis.activations import SceneCaptures
from ..analysis.align import PairCaptures, fit_pairs
from ..analysis.das_config import LABELED
from ..analysis.result import Result
from ..claims import Reading
from ..measurements import Measurement
from ..modeling.checkpoints import Checkpoint
from ..stimuli.distribution import SceneDistribution
from ..training.precision import computes_bf16

Config = TypeVar("Config")
Opened = TypeVar("Opened", bound=Result)


@dataclass(frozen=True)
class Sizes:
    """How deep the analyses of a study go.

    The paper takes 2,000 pairs, 20 epochs and, for its probes, 4,000 scenes; these are for a laptop.
    """

    method: Literal["das", "closed_form", "dictionary"] = "das"
    """How alignments are found: by a search, by "closed_form" from labeled scenes in a fraction of the time, or among
    the features of a "dictionary", whose file the settings of das name."""
    pairs: int = 512
    """Pairs to find each alignment on."""
    test_pairs: int = 320
    """Pairs to score it on, for each split, and to inject novel representations into."""
    epochs: int = 6
    """Passes over the pairs. With the quick model 6 and 12 reach the same accuracy (three seeds)."""
    scenes: int = 1000
    """Scenes to fit each probe and each closed form on."""
    test_scenes: int = 320
    """Scenes to test probes on, and to steer."""
    cache_gb: float = 8.0
    """Memory for activations; the rest goes to disk. Does not change the result."""


class Saved(Protocol):
    """Result of a part of a recipe: a Result, or an object that saves itself likewise."""

    def save(self, folder: Path) -> None: ...


@dataclass(frozen=True)
class Part:
    """A piece of a recipe that a study does and keeps as one cell.

    Attributes:
        cell: its folder in the run's, such as "novel/color".
        run: does it, and gives the result to be saved there.
        needs: cells whose results it opens.
    """

    cell: str
    run: Callable[[], Saved]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Subject:
    """The trained model of a run, its scenes and their states: each is made once, when a part first asks for it.

    Attributes:
        run: its folder.
        distribution: of the scenes.
        layers: blocks to look at.
        sizes: of the study.
        seed: of the run.
        open_checkpoint: opens the trained model.
        settings: of a recipe by its name, as the grid gives them.
    """

    run: Path
    distribution: SceneDistribution
    layers: Sequence[int]
    sizes: Sizes
    seed: int
    open_checkpoint: Callable[[], Checkpoint]
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @cached_property
    def checkpoint(self) -> Checkpoint:
        return self.open_checkpoint()

    @cached_property
    def bf16(self) -> bool:
        """Whether the device computes in bfloat16."""
        return computes_bf16()

    @cached_property
    def pair_captures(self) -> PairCaptures:
        return PairCaptures(
            self.checkpoint,
            self.distribution,
            self.layers,
            pairs=fit_pairs(self.sizes.method, self.sizes.pairs),
            test_pairs=self.sizes.test_pairs,
            scenes=self.sizes.scenes,
            cache_gb=self.sizes.cache_gb,
            bf16=self.bf16 and self.sizes.method in LABELED,
            progress=True,
        )

    @cached_property
    def scene_captures(self) -> SceneCaptures:
        return SceneCaptures(self.checkpoint, self.distribution, self.layers, progress=True)

    def config(self, recipe: str, kind: Callable[..., Config], **usual: Any) -> Config:
        """The config of a part: the usual settings of a study, and those of the grid instead.

        Raises:
            RelViTError: a setting out of its range.
        """
        return kind(**{**usual, **self.settings.get(recipe, {})})

    def result(self, kind: type[Opened], cell: str) -> Opened:
        """The result of a finished cell."""
        return kind.load(self.run / cell)


@dataclass(frozen=True)
class Section:
    """How the results of an analysis are told: in reports, on cards, over seeds.

    Attributes:
        name: of its table and its figure.
        tables: pattern of its Parquet files in a run.
        layout: for the page about run folders: path -> words.
        keys: columns that tell the rows of its table apart.
        heading, caption: the words around its figure.
        figure: draws its table; ``reach`` tints layers, see ``figures.tint``.
        figure_title: for those who cannot see it.
        read: the table's readings: the best layer, its value, interval and controls.
        claim: the conclusion from an effect above all of its controls, as a clause.
        sentence: the readings in words; by default each with its interval, its controls and its conclusion.
        published: conditions whose rows are published; all by default.
    """

    name: str
    tables: str
    layout: Mapping[str, str]
    keys: tuple[str, ...]
    heading: str
    caption: str
    figure: Callable[[pd.DataFrame, np.ndarray | None], Figure]
    figure_title: str
    read: Callable[[pd.DataFrame], list[Reading]]
    claim: str
    sentence: Callable[[Sequence[Reading]], str] | None = None
    published: tuple[str, ...] = ()

    def conclusion(self, reading: Reading) -> str:
        """The claim if it may be made; else which control forbids it."""
        return reading.conclusion(self.claim)

    def tell(self, table: pd.DataFrame) -> str:
        """The reading of the table, in words; "" where there is nothing to read."""
        readings = self.read(table)
        if not readings:
            return ""
        if self.sentence is not None:
            return self.sentence(readings)
        return f"Best in this model: {' '.join(map(self._usual_sentence, readings))}"

    def _usual_sentence(self, reading: Reading) -> str:
        controls = [f"{each.name} {each.value:.0%}" for each in reading.measured_controls()]
        if reading.effect.floor is not None:
            controls.append(f"doing nothing {reading.effect.floor:.0%}")
        facts = "; ".join([layer_and_interval(reading), *controls])
        return (
            f"{reading.subject} {reading.effect.value:.0%} ({facts}): {self.conclusion(reading)}."
        )


@dataclass(frozen=True)
class Recipe:
    """An analysis: how a study runs it and how it is told.

    Attributes:
        name: in ``analyses`` and ``settings`` of a grid.
        config: the class of its settings.
        function: measures it: from a checkpoint, its data, and the config to a ``Result``.
        parts: of a run, in the order of their needs.
        section: None where another recipe's section tells this one's rows.
        needs: recipes whose results it opens.
        decided: settings of the config that the study decides.
        needs_pairs: it swaps properties between counterfactual pairs, which not every task has.
        needs_grid: it writes to equally many tokens of every object, so they must stand on the grid.
        usual: whether a study makes it where its grid names no analyses.
    """

    name: str
    config: type
    function: Callable[..., Result]
    parts: Callable[[Subject], Iterable[Part]]
    section: Section | None = None
    needs: tuple[str, ...] = ()
    decided: tuple[str, ...] = ("seed", "bf16")
    needs_pairs: bool = False
    needs_grid: bool = False
    usual: bool = True


def layer_and_interval(reading: Reading) -> str:
    """Where an effect is, and how sure it is."""
    return f"layer {reading.layer}; {interval(reading.effect)}"


def interval(measured: Measurement) -> str:
    """The interval in words."""
    return f"95 % interval {measured.low:.0%} to {measured.high:.0%}, n = {measured.n}"
