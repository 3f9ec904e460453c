"""The causal cells of a run: alignments, novel representations, probes, steering."""

from __future__ import annotations

import dataclasses
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from ..analysis.activations import ObjectStates, object_states
from ..analysis.align import AlignConfig, PairCaptures, Weights, align, check_layers, fit_pairs
from ..analysis.novel import NovelConfig, inject_novel
from ..analysis.probes import Form, ProbeConfig, fit_probes
from ..analysis.steering import SteeringConfig, steer
from ..files import write_table
from ..modeling.checkpoint_errors import open_backbone_config
from ..modeling.checkpoints import Checkpoint
from ..report.folder import (
    NOVEL,
    PROBE,
    SCORES,
    STEERING,
    TRAINING,
    RunFolder,
    alignment_cell,
)
from ..stimuli.counterfactuals import PROPERTIES
from ..training.config import TrainConfig
from ..training.precision import computes_bf16
from ..training.resolved import scratch_backbone
from .cells import Cell
from .plan import CausalConfig

PROBES: dict[str, Form] = {
    "judgement": "linear",
    "shape": "linear",
    "color": "linear",
    "object": "linear",
    "same_object": "quadratic",
}

ALPHAS = (1.0, 32.0, 128.0)
"""The paper's push, and longer ones, to about the length of the tokens: in small models one of 1 is 1 % of it."""


class RunAnalyses:
    """The checkpoint of a run, its scenes and their states, each made once, and only if a cell needs it."""

    def __init__(self, config: TrainConfig, causal: CausalConfig, run: Path):
        self.config = config
        self.causal = causal
        self.run = run
        self.distribution = config.distribution()
        self.states = cache(self._states)

    @cached_property
    def layers(self) -> list[int]:
        depth = self._depth()
        layers = range(depth) if self.causal.layers is None else self.causal.layers
        return check_layers(layers, depth)

    def _depth(self) -> int:
        backbone = self.config.backbone
        if isinstance(backbone, dict):
            scenes = self.distribution.geometry
            return scratch_backbone(backbone, scenes).num_hidden_layers
        origin = open_backbone_config(backbone)
        return getattr(origin, "vision_config", origin).num_hidden_layers

    @property
    def targets(self) -> list[str]:
        """Targets of probes; whether two tokens belong to one object can only be asked of objects with several."""
        one_token = self.distribution.geometry.object_patches == 1
        return [target for target in PROBES if not (one_token and target == "same_object")]

    @cached_property
    def checkpoint(self) -> Checkpoint:
        return RunFolder(self.run).checkpoint()

    @cached_property
    def captures(self) -> PairCaptures:
        return PairCaptures(
            self.checkpoint,
            self.distribution,
            self.layers,
            pairs=fit_pairs(self.causal.method, self.causal.pairs),
            test_pairs=self.causal.test_pairs,
            scenes=self.causal.scenes,
            cache_gb=self.causal.cache_gb,
            progress=True,
        )

    def _states(self, split: str) -> ObjectStates:
        count = self.causal.scenes if split == "train" else self.causal.test_scenes
        scenes = self.distribution.sample(split, count)
        return object_states(self.checkpoint, scenes, self.layers, progress=True)


def causal_cells(config: TrainConfig, causal: CausalConfig, run: Path) -> list[Cell]:
    """The cells of a run beyond attention, in the order of their needs; ``run`` is its folder."""
    analyses = RunAnalyses(config, causal, run)
    found = {
        prop: tuple([alignment_cell(prop, layer) for layer in analyses.layers])
        for prop in PROPERTIES
    }
    needs_probes = (TRAINING, PROBE.format("judgement"))
    cells = {
        "das": _alignment_cells(analyses, "trained"),
        "das_random": _alignment_cells(analyses, "random"),
        "novel": [
            Cell(NOVEL.format(prop), partial(_novel, analyses, prop), (TRAINING, *found[prop]))
            for prop in PROPERTIES
        ],
        "probes": [
            Cell(PROBE.format(target), partial(_probes, analyses, target), (TRAINING,))
            for target in analyses.targets
        ],
        "steering": [Cell(STEERING, partial(_steering, analyses), needs_probes)],
    }
    depth = dataclasses.asdict(causal)
    del depth["cache_gb"], depth["analyses"]  # no result depends on them
    if causal.method == "das":  # the only method of the first version, whose cells do not name it
        del depth["method"]
    settings = config.to_dict() | {"causal": depth}
    wanted = [cell for name, group in cells.items() if name in causal.analyses for cell in group]
    return [dataclasses.replace(cell, settings=settings) for cell in wanted]


def _alignment_cells(analyses: RunAnalyses, weights: Weights) -> list[Cell]:
    cells = []
    for prop in PROPERTIES:
        for layer in analyses.layers:
            work = partial(_align, analyses, weights, prop, layer)
            cells.append(Cell(alignment_cell(prop, layer, weights), work, (TRAINING,)))
    return cells


def _align(analyses: RunAnalyses, weights: Weights, prop: Any, layer: int, folder: Path) -> None:
    """One alignment and its scores, with all controls."""
    config = AlignConfig(
        method=analyses.causal.method,
        epochs=analyses.causal.epochs,
        seed=analyses.config.seed,
        bf16=computes_bf16(),
        property=prop,
        layers=(layer,),
        networks=(weights,),
    )
    captures = analyses.captures
    result = align(
        analyses.checkpoint, analyses.distribution, config, captures=captures, progress=True
    )
    (alignment,) = result.alignments + result.random
    alignment.save(folder)
    write_table(folder / SCORES, result.frame)


def _novel(analyses: RunAnalyses, prop: str, folder: Path) -> None:
    run = RunFolder(analyses.run)
    alignments = [run.alignment(prop, layer) for layer in analyses.layers]
    pairs = analyses.causal.test_pairs
    config = NovelConfig(seed=analyses.config.seed, bf16=computes_bf16(), bank=pairs, pairs=pairs)
    distribution = analyses.distribution
    inject_novel(analyses.checkpoint, alignments, distribution, config, progress=True).save(folder)


def _probes(analyses: RunAnalyses, target: Any, folder: Path) -> None:
    config = ProbeConfig(target, PROBES[target], seed=analyses.config.seed)
    train = analyses.states("train")
    test = analyses.states("test")
    fit_probes(analyses.checkpoint, train, test, config, progress=True).save(folder)


def _steering(analyses: RunAnalyses, folder: Path) -> None:
    probes = RunFolder(analyses.run).probes()
    scenes = analyses.distribution.sample("test", analyses.causal.test_scenes)
    config = SteeringConfig(ALPHAS, bf16=computes_bf16())
    steer(analyses.checkpoint, probes, scenes, config, progress=True).save(folder)
