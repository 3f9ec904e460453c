"""The causal cells of a run: alignments, novel representations, probes, steering."""

from __future__ import annotations

import dataclasses
from functools import cache, lru_cache, partial
from pathlib import Path

import pandas as pd

from ..analysis.activations import ObjectStates, Site, object_states
from ..analysis.alignment import Alignment
from ..analysis.das import DASConfig, fit_alignment, score_alignment
from ..analysis.interchange import PairResiduals, pair_residuals
from ..analysis.novel import NovelConfig, inject_novel
from ..analysis.probes import ProbeConfig, Probes, fit_probes
from ..analysis.steering import SteeringConfig, steer
from ..errors import RelViTError
from ..files import atomic_write
from ..modeling.checkpoints import Checkpoint
from ..stimuli.counterfactuals import PROPERTIES, isolation_pairs
from ..training.config import TrainConfig
from ..training.folder import TrainingFolder
from ..training.precision import computes_bf16
from .cells import Cell
from .plan import CausalConfig

KEPT = 5  # captures that the alignments of one property need: training pairs, and on two splits cause and isolate

PROBES = {
    "judgement": "linear",
    "shape": "linear",
    "color": "linear",
    "object": "linear",
    "same_object": "quadratic",
}

ALPHAS = (1.0, 32.0, 128.0)
"""The paper's push, and longer ones, to about the length of the tokens: in small models one of 1 is 1 % of it."""


class Bench:
    """A checkpoint, its scenes and their states, each computed once, and only if a cell needs it."""

    def __init__(self, config: TrainConfig, causal: CausalConfig, run: Path):
        self.config, self.causal, self.run = config, causal, run
        self.distribution = config.distribution()
        self.checkpoint = cache(TrainingFolder(run / "training").checkpoint)
        self.random = cache(lambda: self.checkpoint().randomly_initialized())
        self.captured = lru_cache(maxsize=KEPT)(self._captured)
        self.states = cache(self._states)

    @property
    def layers(self) -> list[int]:
        depth = self._depth()
        layers = list(range(depth)) if self.causal.layers is None else self.causal.layers
        if beyond := [layer for layer in layers if not 0 <= layer < depth]:
            raise RelViTError(
                f"causal layer {beyond[0]} of a model with {depth} blocks: expected 0 to {depth - 1}"
            )
        return layers

    def _depth(self) -> int:
        backbone = self.config.backbone
        if isinstance(backbone, dict):
            return backbone["num_hidden_layers"]
        from transformers import AutoConfig

        origin = AutoConfig.from_pretrained(backbone)
        return getattr(origin, "vision_config", origin).num_hidden_layers

    @property
    def targets(self) -> list[str]:
        """What is probed; whether two tokens belong to one object can only be asked of objects with several."""
        one_token = self.distribution.geometry.object_patches == 1
        return [target for target in PROBES if not (one_token and target == "same_object")]

    def network(self, weights: str) -> Checkpoint:
        return self.checkpoint() if weights == "trained" else self.random()

    def _captured(
        self, weights: str, prop: str, split: str, isolate: bool = False
    ) -> PairResiduals:
        """Residual streams of pairs at all layers; with ``isolate`` pairs that a swap of ``prop`` must not change."""
        n = self.causal.pairs if split == "train" else self.causal.test_pairs
        if isolate:
            other = next(p for p in PROPERTIES if p != prop)
            pairs = isolation_pairs(self.distribution.pairs(other, split, n))
        else:
            pairs = self.distribution.pairs(prop, split, n)
        sites = [Site("resid_post", layer) for layer in self.layers]
        return pair_residuals(
            self.network(weights),
            pairs,
            sites,
            cache_gb=self.causal.cache_gb / KEPT,
            progress=f"{prop}, {split}",
        )

    def _states(self, split: str) -> ObjectStates:
        n = self.causal.scenes if split == "train" else self.causal.test_scenes
        scenes = self.distribution.sample(split, n)
        return object_states(self.checkpoint(), scenes, self.layers, progress=f"{split} scenes")


def causal_cells(config: TrainConfig, causal: CausalConfig, run: Path) -> list[Cell]:
    """The cells of a run beyond attention, in the order of their needs; ``run`` is its folder."""
    bench = Bench(config, causal, run)

    def alignments(folder: str, weights: str) -> list[Cell]:
        return [
            Cell(
                f"{folder}/{prop}-{layer}",
                partial(_das, bench, weights, prop, layer),
                ("training",),
            )
            for prop in PROPERTIES
            for layer in bench.layers
        ]

    cells = {"das": alignments("das", "trained"), "das_random": alignments("das_random", "random")}
    found = {prop: tuple(f"das/{prop}-{layer}" for layer in bench.layers) for prop in PROPERTIES}
    cells["novel"] = [
        Cell(f"novel/{prop}", partial(_novel, bench, prop), ("training", *found[prop]))
        for prop in PROPERTIES
    ]
    cells["probes"] = [
        Cell(f"probes/{target}", partial(_probes, bench, target), ("training",))
        for target in bench.targets
    ]
    cells["steering"] = [
        Cell("steering", partial(_steering, bench), ("training", "probes/judgement"))
    ]
    depth = dataclasses.asdict(causal)
    del depth["cache_gb"], depth["analyses"]  # no result depends on them
    settings = config.to_dict() | {"causal": depth}
    wanted = [cell for analysis, of in cells.items() if analysis in causal.analyses for cell in of]
    return [dataclasses.replace(cell, settings=settings) for cell in wanted]


def _das(bench: Bench, weights: str, prop: str, layer: int, folder: Path) -> None:
    """One alignment and its scores; of the trained model with controls: other object, random tokens and property."""
    network = bench.network(weights)
    bf16 = computes_bf16()
    das = DASConfig(layer, epochs=bench.causal.epochs, seed=bench.config.seed, bf16=bf16)
    alignment = fit_alignment(network, bench.captured(weights, prop, "train"), das, progress=True)
    score = partial(score_alignment, network, alignment, bf16=bf16, progress=True)
    alignment.save_pretrained(folder)
    frames = []
    for split in bench.distribution.causal_splits:
        controls = (None, "wrong_object", "random_tokens") if weights == "trained" else (None,)
        captured = bench.captured(weights, prop, split)
        frames += [score(captured, control) for control in controls]
        if weights == "trained":
            frames.append(score(bench.captured(weights, prop, split, True)))
    table = pd.concat(frames, ignore_index=True).assign(weights=weights)
    with atomic_write(folder / "scores.parquet") as temporary:
        table.to_parquet(temporary)


def _novel(bench: Bench, prop: str, folder: Path) -> None:
    alignments = [
        Alignment.from_pretrained(bench.run / "das" / f"{prop}-{layer}") for layer in bench.layers
    ]
    n = bench.causal.test_pairs
    bank = bench.distribution.pairs(prop, "validation", n)
    pairs = bench.distribution.pairs(prop, "test", n)
    config = NovelConfig(seed=bench.config.seed, bf16=computes_bf16())
    inject_novel(bench.checkpoint(), alignments, bank, pairs, config, progress=True).save(folder)


def _probes(bench: Bench, target: str, folder: Path) -> None:
    config = ProbeConfig(target, PROBES[target], seed=bench.config.seed)
    fit_probes(
        bench.checkpoint(), bench.states("train"), bench.states("test"), config, progress=True
    ).save(folder)


def _steering(bench: Bench, folder: Path) -> None:
    probes = Probes.load(bench.run / "probes" / "judgement")
    scenes = bench.distribution.sample("test", bench.causal.test_scenes)
    config = SteeringConfig(ALPHAS, bf16=computes_bf16())
    steer(bench.checkpoint(), probes, scenes, config, progress=True).save(folder)
