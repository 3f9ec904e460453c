"""The causal cells of a run: alignments, novel representations, probes, steering."""

from __future__ import annotations

import dataclasses
from functools import cache, lru_cache, partial
from pathlib import Path

import pandas as pd

from ..analysis.activations import Site
from ..analysis.alignment import Alignment
from ..analysis.das import DASConfig, fit_alignment, score_alignment
from ..analysis.interchange import PairResiduals, isolation_pairs, pair_residuals
from ..analysis.novel import NovelConfig, novel_representations
from ..analysis.probes import ProbeConfig, Probes, fit_probes
from ..analysis.readouts import ObjectStates, object_states
from ..analysis.steering import SteeringConfig, steer
from ..errors import RelViTError
from ..geometry import geometry as scene_geometry
from ..provenance import whole_file
from ..stimuli.counterfactuals import PROPERTIES, CounterfactualTable, sample_counterfactuals
from ..stimuli.scenes import SceneTable, sample
from ..training.config import TrainConfig
from ..training.evaluation import random_twin
from ..training.run import computes_bf16
from .cells import Cell
from .plan import CausalConfig
from .run import open_model

KEPT = 5  # captures that the alignments of one property need: training pairs, and on two splits cause and isolate

PROBES = {"judgement": "linear", "shape": "linear", "color": "linear", "object": "linear", "same_object": "quadratic"}

ALPHAS = (1.0, 32.0, 128.0)
"""The paper's push, and longer ones, to about the length of the tokens: in small models one of 1 is 1 % of it."""


class Bench:
    """A checkpoint, its scenes and their states, each computed once, and only if a cell needs it."""

    def __init__(self, config: TrainConfig, causal: CausalConfig, run: Path):
        self.config, self.causal, self.run = config, causal, run
        self.objects = config.open_objects()
        self.checkpoint = cache(lambda: open_model(run))
        self.twin = cache(lambda: random_twin(self.checkpoint()[0]))
        self.captured = lru_cache(maxsize=KEPT)(self._captured)
        self.states = cache(self._states)

    @property
    def layers(self) -> list[int]:
        depth = self._depth()
        layers = list(range(depth)) if self.causal.layers is None else self.causal.layers
        if beyond := [layer for layer in layers if not 0 <= layer < depth]:
            raise RelViTError(f"causal layer {beyond[0]} of a model with {depth} blocks: expected 0 to {depth - 1}")
        return layers

    def _depth(self) -> int:
        backbone = self.config.backbone
        if isinstance(backbone, dict):
            return backbone["num_hidden_layers"]
        from transformers import AutoConfig

        origin = AutoConfig.from_pretrained(backbone)
        return getattr(origin, "vision_config", origin).num_hidden_layers

    @property
    def test_splits(self) -> list[str]:
        """IID, and unseen combinations where there are any."""
        held_out = self.config.combinations < self.objects.n_shapes * self.objects.n_colors
        return ["test", "test_compositional"] if held_out else ["test"]

    @property
    def targets(self) -> list[str]:
        """What is probed; whether two tokens belong to one object can only be asked of objects with several."""
        one_token = scene_geometry(self.config.geometry).object_patches == 1
        return [target for target in PROBES if not (one_token and target == "same_object")]

    def _drawn(self) -> dict:
        return dict(combinations=self.config.combinations, seed=self.config.seed, objects=self.objects)

    def pairs(self, prop: str, split: str, n: int) -> CounterfactualTable:
        geometry = scene_geometry(self.config.geometry)
        return sample_counterfactuals(self.config.task, geometry, prop, split, n, **self._drawn())

    def scenes(self, split: str, n: int) -> SceneTable:
        return sample(self.config.task, scene_geometry(self.config.geometry), split, n, **self._drawn())

    def model(self, weights: str):
        return self.checkpoint()[0] if weights == "trained" else self.twin()

    def _captured(self, weights: str, prop: str, split: str, isolate: bool = False) -> PairResiduals:
        """Residual streams of pairs at all layers; with ``isolate`` pairs that a swap of ``prop`` must not change."""
        n = self.causal.pairs if split == "train" else self.causal.test_pairs
        if isolate:
            other = next(p for p in PROPERTIES if p != prop)
            pairs = isolation_pairs(self.pairs(other, split, n))
        else:
            pairs = self.pairs(prop, split, n)
        sites = [Site("resid_post", layer) for layer in self.layers]
        return pair_residuals(
            self.model(weights),
            self.checkpoint()[1],
            pairs,
            sites,
            objects=self.objects,
            cache_gb=self.causal.cache_gb / KEPT,
            progress=f"{prop}, {split}",
        )

    def _states(self, split: str) -> ObjectStates:
        n = self.causal.scenes if split == "train" else self.causal.test_scenes
        return object_states(
            *self.checkpoint(), self.scenes(split, n), self.layers, objects=self.objects, progress=f"{split} scenes"
        )


def causal_cells(config: TrainConfig, causal: CausalConfig, run: Path) -> list[Cell]:
    """The cells of a run beyond attention, in the order of their needs; ``run`` is its folder."""
    bench = Bench(config, causal, run)

    def alignments(folder: str, weights: str) -> list[Cell]:
        return [
            Cell(f"{folder}/{prop}-{layer}", partial(_das, bench, weights, prop, layer), ("training",))
            for prop in PROPERTIES
            for layer in bench.layers
        ]

    cells = {"das": alignments("das", "trained"), "das_random": alignments("das_random", "random")}
    found = {prop: tuple(f"das/{prop}-{layer}" for layer in bench.layers) for prop in PROPERTIES}
    cells["novel"] = [
        Cell(f"novel/{prop}", partial(_novel, bench, prop), ("training", *found[prop])) for prop in PROPERTIES
    ]
    cells["probes"] = [
        Cell(f"probes/{target}", partial(_probes, bench, target), ("training",)) for target in bench.targets
    ]
    cells["steering"] = [Cell("steering", partial(_steering, bench), ("training", "probes/judgement"))]
    depth = dataclasses.asdict(causal)
    del depth["cache_gb"], depth["analyses"]  # no result depends on them
    settings = config.to_dict() | {"causal": depth}
    wanted = [cell for analysis, of in cells.items() if analysis in causal.analyses for cell in of]
    return [dataclasses.replace(cell, settings=settings) for cell in wanted]


def _das(bench: Bench, weights: str, prop: str, layer: int, folder: Path) -> None:
    """One alignment and its scores; of the trained model with controls: other object, random tokens and property."""
    model, processor = bench.model(weights), bench.checkpoint()[1]
    bf16 = computes_bf16()
    das = DASConfig(layer, epochs=bench.causal.epochs, seed=bench.config.seed, bf16=bf16)
    alignment = fit_alignment(model, processor, bench.captured(weights, prop, "train"), das, progress=True)
    score = partial(score_alignment, model, processor, alignment, bf16=bf16, progress=True)
    alignment.save_pretrained(folder)
    frames = []
    for split in bench.test_splits:
        controls = (None, "wrong_object", "random_tokens") if weights == "trained" else (None,)
        captured = bench.captured(weights, prop, split)
        frames += [score(captured, control) for control in controls]
        if weights == "trained":
            frames.append(score(bench.captured(weights, prop, split, True)))
    table = pd.concat(frames, ignore_index=True).assign(weights=weights)
    with whole_file(folder / "scores.parquet") as temporary:
        table.to_parquet(temporary)


def _novel(bench: Bench, prop: str, folder: Path) -> None:
    alignments = [Alignment.from_pretrained(bench.run / "das" / f"{prop}-{layer}") for layer in bench.layers]
    n = bench.causal.test_pairs
    bank, pairs = bench.pairs(prop, "validation", n), bench.pairs(prop, "test", n)
    config = NovelConfig(seed=bench.config.seed, bf16=computes_bf16())
    shown = {"objects": bench.objects, "progress": True}
    novel_representations(*bench.checkpoint(), alignments, bank, pairs, config, **shown).save(folder)


def _probes(bench: Bench, target: str, folder: Path) -> None:
    config = ProbeConfig(target, PROBES[target], seed=bench.config.seed)
    fit_probes(*bench.checkpoint(), bench.states("train"), bench.states("test"), config, progress=True).save(folder)


def _steering(bench: Bench, folder: Path) -> None:
    probes = Probes.load(bench.run / "probes" / "judgement")
    scenes = bench.scenes("test", bench.causal.test_scenes)
    config = SteeringConfig(ALPHAS, bf16=computes_bf16())
    steer(*bench.checkpoint(), probes, scenes, config, objects=bench.objects, progress=True).save(folder)
