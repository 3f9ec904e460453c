"""A tour of a finished run: its findings measured again on fresh scenes, in minutes, and told with pictures.

1. Scenes of a seed that no run uses. Per chapter a cell of the tour's folder, so that an interrupted tour goes on.
2. Attention stages on them; swaps of each property at the layer where the run found them to work best, beside their
   controls; values that no object has; steering along the run's probe, as strong as the one that worked best.
3. One pair whose answer a swap flips while it flips under no control, to be drawn. It is picked, so the shares over
   all pairs stand beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..analysis.align import AlignConfig, PairCaptures, score
from ..analysis.alignment import Alignment, fingerprint
from ..analysis.attention import measure_attention
from ..analysis.choices import check_counts
from ..analysis.interchange import Control
from ..analysis.novel import NovelConfig, inject_novel
from ..analysis.scores import swaps_of
from ..analysis.steering import SteeringConfig, steer
from ..errors import RelViTError
from ..files import write_json, write_table
from ..modeling.adapters import is_adapter
from ..modeling.checkpoints import Checkpoint
from ..recipes.alignment import SCORES, alignment_cell, best_layers, own_alignments
from ..recipes.novel import novel_cell
from ..recipes.recipes import SECTIONS
from ..recipes.steering import CELL as STEERING
from ..report.run_folder import ATTENTION, RunFolder, StudyFolder
from ..report.tour_page import EXAMPLE, EXAMPLE_FILE, Guest, write_tour
from ..stimuli.distribution import SceneDistribution
from ..tables import largest
from ..training.precision import checkpoint_autocast, computes_bf16
from .cell import run_cell
from .run import claim_reports

TRIED = 16
"""Pairs among which one is picked to be drawn."""


@dataclass(frozen=True)
class TourConfig:
    """How much a tour measures.

    Raises:
        RelViTError: a number below 1.
    """

    scenes: int = 48
    """Fresh scenes, and pairs of scenes, to measure each chapter on."""
    seed: int = 1_000_003
    """Of the scenes; no run of ours uses this one."""

    def __post_init__(self):
        check_counts(self)


@dataclass(frozen=True, eq=False)
class Stop:
    """A run on the tour, opened.

    Attributes:
        run: its folder.
        base: folder or Hub id of an adapter's backbone, where it is not where the run says.
        config: of the tour.
    """

    run: RunFolder
    base: str | None
    config: TourConfig

    @cached_property
    def checkpoint(self) -> Checkpoint:
        return Checkpoint.open(self.run.training.model, base=self.base, device="auto")

    @cached_property
    def distribution(self) -> SceneDistribution:
        trained = self.run.training.settings().distribution()
        return replace(trained, seed=self.config.seed)

    @cached_property
    def alignments(self) -> dict[str, Alignment]:
        """Of each property, the one that the run found to work best on the IID test."""
        if not self.run.table_files("alignment"):
            return {}
        table = self.run.table("alignment")
        best = best_layers(table).items()
        return {prop: self.run.alignment(prop, layer) for prop, layer in best}

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All that the results depend on."""
        alignments = self.alignments.items()
        return {
            **asdict(self.config),
            "weights": fingerprint(self.checkpoint.model),
            "alignments": {prop: each.site.layer for prop, each in alignments},
        }

    def captures(self, prop: str, pairs: int) -> PairCaptures:
        """Residual streams of fresh pairs at the layer of the property's alignment."""
        layer = self.alignments[prop].site.layer
        return PairCaptures(
            self.checkpoint,
            self.distribution,
            [layer],
            pairs=pairs,
            test_pairs=pairs,
        )

    def cells(self) -> Iterator[tuple[str, Callable[[Path], object]]]:
        """The measurements: the name of each cell, and its work."""
        yield ATTENTION, self._attention
        for prop, alignment in self.alignments.items():
            layer = alignment.site.layer
            yield alignment_cell(prop, layer), partial(self._swaps, prop)
            yield novel_cell(prop), partial(self._novel, prop)
        if self.alignments:
            yield EXAMPLE, self._example
        if self.run.table_files("steering"):
            yield STEERING, self._steering

    def _attention(self, folder: Path) -> None:
        scenes = self.distribution.sample("test", self.config.scenes)
        stages = measure_attention(self.checkpoint, scenes, progress=True)
        stages.save(folder)

    def _swaps(self, prop: Any, folder: Path) -> None:
        config = AlignConfig(
            property=prop,
            splits=("test",),
            isolate=False,
            replacements=None,
            unmapped=None,
            bf16=computes_bf16(),
        )
        captures = self.captures(prop, self.config.scenes)
        table = score(self.alignments[prop], captures, config, progress=True)
        write_table(folder / SCORES, table)

    def _novel(self, prop: str, folder: Path) -> None:
        count = self.config.scenes
        config = NovelConfig(
            baselines=("subspace",),
            bank=count,
            pairs=count,
            bf16=computes_bf16(),
        )
        novel = inject_novel(
            self.checkpoint,
            [self.alignments[prop]],
            self.distribution,
            config,
            progress=True,
        )
        novel.save(folder)

    def _steering(self, folder: Path) -> None:
        table = self.run.table("steering")
        (best,) = SECTIONS["steering"].read(table)
        config = SteeringConfig(
            alphas=(best.strength,),
            scenes=self.config.scenes,
            bf16=computes_bf16(),
        )
        steering = steer(
            self.checkpoint,
            self.run.probes().at(best.layer),
            self.distribution,
            config,
            progress=True,
        )
        steering.save(folder)

    def _example(self, folder: Path) -> None:
        """One pair whose answer the swap flips, of the property whose swap the run found to work best."""
        table = own_alignments(self.run.table("alignment"))
        prop = str(largest(table).property)
        captures = self.captures(prop, TRIED)
        data = captures.get(prop, "test")
        alignment = self.alignments[prop]

        def swapped(subspace: Alignment, control: Control | None = None) -> np.ndarray:
            swaps = swaps_of(self.checkpoint, subspace, data, control)
            logits = torch.cat([swap.logits for swap in swaps])
            return _same(logits)

        base = data.pairs.base
        pixels = self.checkpoint.pixel_values(base)
        before = self.checkpoint.model(pixel_values=pixels)
        same = {
            "before": _same(before.logits),
            "swap": swapped(alignment),
            "wrong_object": swapped(alignment, "wrong_object"),
            "random_directions": swapped(alignment.random_directions()),
        }
        row = clearest(same, base.label, data.pairs.judgement)
        facts = {
            "property": prop,
            "layer": alignment.site.layer,
            "row": row,
            "tried": TRIED,
            "same": {name: values[row].item() for name, values in same.items()},
        }
        write_json(folder / EXAMPLE_FILE, facts)


def _same(logits: torch.Tensor) -> np.ndarray:
    """Probability of "same", ``(n,)``."""
    probabilities = logits.float().softmax(-1)
    return probabilities[:, 1].cpu().numpy()


def clearest(same: dict[str, np.ndarray], label: np.ndarray, judgement: np.ndarray) -> int:
    """The pair whose answer the swap moves furthest beyond every control.

    One that flips goes before one that does not, and one that becomes same before all: a spoiled object makes a pair
    different, too.

    Args:
        same: way of the swap -> probability of "same", ``(n,)``.
        label: the right answers, ``(n,)``, 1 same.
        judgement: the relation of the edited pairs, likewise.
    """
    different = label == 0
    toward = {name: np.where(different, values, 1 - values) for name, values in same.items()}
    swap = toward.pop("swap")
    others = list(toward.values())
    controls = np.max(others, axis=0)
    flips = (swap > 0.5) & (controls < 0.5)
    becomes_same = flips & (judgement == 0)
    order = swap - controls + 2 * flips + 2 * becomes_same
    return int(order.argmax())


def tour(
    run: Path,
    contrast: Path | None,
    out: Path,
    config: TourConfig | None = None,
    *,
    base: str | None = None,
    say: Callable[[str], object] = print,
) -> Path:
    """Do the measurements that are missing, then write the report.

    Args:
        run: a finished run, such as a released one, with alignments, probes and steering; missing ones are left out.
        contrast: another run, to tell the same of; None for none.
        out: folder of the tour.
        config: see TourConfig.
        base: folder or Hub id of the backbone of the run's adapter, where it is not where the run says.
        say: is told what happens.

    Returns:
        The path of ``report.html``.

    Raises:
        RelViTError: no finished run, an adapter whose base cannot be opened, files of somebody else in ``out``.
    """
    config = config or TourConfig()
    stops = {"main": Stop(RunFolder.open(run), base, config)}
    if contrast is not None:
        stops["contrast"] = Stop(RunFolder.open(contrast), None, config)
    for stop in stops.values():
        _check_base(stop)
    claim_reports(out, [StudyFolder(out).report])
    guests = {}
    for name, stop in stops.items():
        fresh = RunFolder(out / name)
        _measure(stop, fresh, say)
        guests[name] = Guest(stop.run, fresh, stop.distribution)
    say("report ...")
    return write_tour(out, guests)


def _measure(stop: Stop, fresh: RunFolder, say: Callable[[str], object]) -> None:
    """The cells of a run that are not measured yet."""
    cells = list(stop.cells())
    for number, (cell, work) in enumerate(cells, 1):
        heading = f"[{stop.run.name}, {number}/{len(cells)}] {cell}"
        measured = partial(_measured, stop, work, heading, say)
        done = run_cell(fresh.cell(cell), stop.settings, measured)
        if not done:
            say(f"{heading}: finished before")


def _measured(
    stop: Stop,
    work: Callable[[Path], object],
    heading: str,
    say: Callable[[str], object],
    folder: Path,
) -> None:
    say(f"{heading} ...")
    with torch.no_grad(), checkpoint_autocast(stop.checkpoint):
        work(folder)


def _check_base(stop: Stop) -> None:
    """RelViTError for a base where there is no adapter."""
    if stop.base is not None and not is_adapter(stop.run.training.model):
        raise RelViTError(f"--base {stop.base}: {stop.run.path} holds no adapter; leave --base out")
