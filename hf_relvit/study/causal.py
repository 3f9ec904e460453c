"""The causal cells of a run: an alignment for each property and layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pandas as pd

from ..analysis.activations import Site
from ..analysis.das import DASConfig, fit_alignment, score_alignment
from ..analysis.interchange import PairResiduals, isolation_pairs, pair_residuals
from ..geometry import geometry as scene_geometry
from ..modeling.processing import load_checkpoint
from ..provenance import whole_file
from ..stimuli.counterfactuals import CounterfactualTable, sample_counterfactuals
from ..training.config import TrainConfig
from ..training.run import computes_bf16
from .plan import PROPERTIES, CausalConfig


class Bench:
    """A checkpoint and its pairs, each computed once, and only if a cell needs it."""

    def __init__(self, config: TrainConfig, causal: CausalConfig, run: Path):
        self.config, self.causal, self.run = config, causal, run
        self.objects = config.open_objects()
        self.checkpoint = cache(lambda: load_checkpoint(run / "training" / "model"))
        self.captured = cache(self._captured)

    @property
    def layers(self) -> list[int]:
        if self.causal.layers is not None:
            return self.causal.layers
        backbone = self.config.backbone
        if isinstance(backbone, dict):
            return list(range(backbone["num_hidden_layers"]))
        from transformers import AutoConfig

        origin = AutoConfig.from_pretrained(backbone)
        return list(range(getattr(origin, "vision_config", origin).num_hidden_layers))

    @property
    def test_splits(self) -> list[str]:
        """IID, and unseen combinations where there are any."""
        held_out = self.config.combinations < self.objects.n_shapes * self.objects.n_colors
        return ["test", "test_compositional"] if held_out else ["test"]

    def pairs(self, prop: str, split: str, n: int) -> CounterfactualTable:
        return sample_counterfactuals(
            self.config.task,
            scene_geometry(self.config.geometry),
            prop,
            split,
            n,
            combinations=self.config.combinations,
            seed=self.config.seed,
            objects=self.objects,
        )

    def _captured(self, prop: str, split: str, isolate: bool = False) -> PairResiduals:
        """Residual streams of pairs at all layers; with ``isolate`` pairs that a swap of ``prop`` must not change."""
        n = self.causal.pairs if split == "train" else self.causal.test_pairs
        if isolate:
            other = next(p for p in PROPERTIES if p != prop)
            pairs = isolation_pairs(self.pairs(other, split, n))
        else:
            pairs = self.pairs(prop, split, n)
        sites = [Site("resid_post", layer) for layer in self.layers]
        model, processor = self.checkpoint()
        return pair_residuals(model, processor, pairs, sites, objects=self.objects, progress=f"{prop}, {split}")


def causal_cells(
    config: TrainConfig, causal: CausalConfig, run: Path
) -> dict[str, tuple[dict, Callable[[Path], object]]]:
    """The cells of ``run`` beyond attention: name -> (settings, work)."""
    bench = Bench(config, causal, run)
    settings = config.to_dict() | {"causal": dataclasses.asdict(causal)}
    return {
        f"das/{prop}-{layer}": (settings, lambda folder, prop=prop, layer=layer: _das(bench, prop, layer, folder))
        for prop in PROPERTIES
        for layer in bench.layers
    }


def _das(bench: Bench, prop: str, layer: int, folder: Path) -> None:
    """One alignment, its scores and its controls: the other object, random tokens, the other property."""
    model, processor = bench.checkpoint()
    das = DASConfig(layer, epochs=bench.causal.epochs, seed=bench.config.seed, bf16=computes_bf16())
    alignment = fit_alignment(model, processor, bench.captured(prop, "train"), das)
    alignment.save_pretrained(folder)
    frames = []
    for split in bench.test_splits:
        frames += [
            score_alignment(model, processor, alignment, bench.captured(prop, split), control)
            for control in (None, "wrong_object", "random_tokens")
        ]
        frames.append(score_alignment(model, processor, alignment, bench.captured(prop, split, True)))
    table = pd.concat(frames, ignore_index=True).assign(weights="trained")
    with whole_file(folder / "scores.parquet") as temporary:
        table.to_parquet(temporary)
