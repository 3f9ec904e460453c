"""Closed-form alignments of one layer, varied: each variant is scored on validation pairs; test pairs take no part.

    python benchmarks/clip_variants.py CHECKPOINT OUT.csv --base build/clip-vit-b16 --layer 2

1. "scenes": fits on 256 to 8,192 scenes, at START_SCALE. Everything below is fitted on SCENES of them.
2. "scale": the swap at each of SCALES, with its loss on the first 32 and 64 pairs, too: how many does a choice need?
3. "second moments": directions in which the *spread* of states depends on the value are written, too.
4. "scale per direction": c_r of each direction, by a few steps of Adam on training pairs, from START_SCALE on.

Scenes are captured once. A line is written after each score.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
import torch
from torch.nn.functional import cross_entropy

from hf_relvit.analysis.activations import ObjectStates, Site, capture_object_states, forward_from
from hf_relvit.analysis.closed_form import (
    SCALES,
    START_SCALE,
    LabeledStates,
    Oblique,
    _reader,
    _second_moment,
    effects_of,
    fit_oblique,
)
from hf_relvit.analysis.interchange import PairResiduals, capture_pair_residuals, intervene
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.statistics import wilson
from hf_relvit.stimuli.counterfactuals import PROPERTIES
from hf_relvit.stimuli.distribution import SceneDistribution

COUNTS = (256, 512, 1024, 2048, 4096, 8192)
SCENES = 1024
ADDED = (8, 32)
RATE = 0.05
STEPS = 12
PAIRS = 128
BATCH = 32


@dataclass(frozen=True)
class Swap:
    """Rows that are read and written ``(r, hidden)``, and c, of all or of each direction."""

    read: torch.Tensor
    write: torch.Tensor
    scale: float | torch.Tensor = START_SCALE

    @classmethod
    def of(cls, oblique: Oblique, scale: float | torch.Tensor = START_SCALE) -> Swap:
        return cls(oblique.read.float(), oblique.write.float(), scale)

    @property
    def weights(self) -> torch.Tensor:
        return self.scale * torch.ones(len(self.read))


class Layer:
    """One property in one layer: captured scenes and pairs."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        distribution: SceneDistribution,
        objects: ObjectStates,
        prop: str,
    ):
        self.checkpoint = checkpoint
        (layer,) = objects.states
        self.objects = objects.scenes.shape.shape[1]
        self.site = Site("resid_post", layer)
        self.prop = prop
        self.every = LabeledStates.of_scenes(objects, layer, prop)
        self.sample = self.first(SCENES)
        pairs = {"train": 256, "validation": PAIRS}
        self.pairs = {
            split: capture_pair_residuals(
                checkpoint, distribution.pairs(prop, split, n), [self.site], bf16=True
            )
            for split, n in pairs.items()
        }

    def first(self, scenes: int) -> LabeledStates:
        """The objects of the first so many scenes."""
        rows = torch.arange(scenes * self.objects)
        return self.every[rows]

    @cached_property
    def oblique(self) -> Oblique:
        return fit_oblique(self.sample)

    def logits(self, data: PairResiduals, rows: torch.Tensor, swap: Swap, control=None):
        """Answers after the swap in some pairs."""
        tokens, source = data.operands(self.site, control)
        base = data.base[self.site][rows]
        edited = intervene(base, tokens[rows], source[rows], swap.read, swap.weights, swap.write)
        with torch.autocast("cpu", torch.bfloat16):
            logits = forward_from(self.checkpoint.model, self.site, edited)
        return logits.float()

    @torch.no_grad()
    def score(self, variant: str, swap: Swap, control=None) -> dict:
        """Loss and accuracy on validation pairs."""
        data = self.pairs["validation"]
        batches = torch.arange(PAIRS).split(64)
        logits = torch.cat([self.logits(data, rows, swap, control) for rows in batches])
        label = torch.from_numpy(data.pairs.label).long()
        right = (logits.argmax(-1) == label).float()
        low, high = wilson(int(right.sum()), PAIRS)
        losses = {f"loss_{n}": float(cross_entropy(logits[:n], label[:n])) for n in (32, 64, PAIRS)}
        row = {
            "property": self.prop,
            "layer": self.site.layer,
            "variant": variant,
            "directions": len(swap.read),
            "scale": float(swap.weights.mean()),
            "control": control or "none",
            "n": PAIRS,
            "accuracy": float(right.mean()),
            "ci_low": float(low),
            "ci_high": float(high),
            "different": float(right[label == 0].mean()),
            "same": float(right[label == 1].mean()),
            **losses,
        }
        print(row, flush=True)
        return row


def scenes(layer: Layer) -> Iterator[dict]:
    for count in COUNTS:
        oblique = fit_oblique(layer.first(count))
        yield layer.score(f"{count} scenes", Swap.of(oblique))


def scale(layer: Layer) -> Iterator[dict]:
    for each in SCALES:
        yield layer.score(f"scale {each}", Swap.of(layer.oblique, each))


def second_moments(layer: Layer) -> Iterator[dict]:
    """Also written: directions along which the covariance of a value departs most from that of all values."""
    parts = effects_of(layer.sample)
    write = layer.oblique.write
    whole = _second_moment(parts.rest)
    spreads = []
    for value in layer.sample.values.unique():
        own = _second_moment(parts.rest[layer.sample.values == value])
        strengths, columns = torch.linalg.eigh(own - whole)
        spreads.append(strengths.abs().sqrt()[:, None] * columns.T)
    spread = torch.cat(spreads)
    spread -= spread @ write.T @ write
    rows = torch.linalg.svd(spread, full_matrices=False).Vh
    for count in ADDED:
        wider = torch.cat([write, rows[:count]])
        swap = Swap.of(Oblique(_reader(wider, parts), wider))
        yield layer.score(f"second moments, {count} more", swap)


def scale_per_direction(layer: Layer) -> Iterator[dict]:
    data = layer.pairs["train"]
    label = torch.from_numpy(data.pairs.label).long()
    factor = torch.full((len(layer.oblique.read),), START_SCALE, requires_grad=True)
    adam = torch.optim.Adam([factor], lr=RATE)
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        rows = torch.randperm(len(label), generator=generator)[:BATCH]
        logits = layer.logits(data, rows, Swap.of(layer.oblique, factor))
        adam.zero_grad()
        cross_entropy(logits, label[rows]).backward()
        adam.step()
    swap = Swap.of(layer.oblique, factor.detach())
    yield layer.score(f"scale per direction, {STEPS} steps", swap)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--base", type=Path, help="folder of an adapter's backbone")
    parser.add_argument("--layer", type=int, default=2)
    options = parser.parse_args()
    checkpoint = Checkpoint.open(options.checkpoint, base=options.base)
    checkpoint.model.eval().requires_grad_(False)
    distribution = checkpoint.distribution()
    drawn = distribution.sample("train", COUNTS[-1])
    objects = capture_object_states(checkpoint, drawn, [options.layer], bf16=True, progress=True)
    layers = [Layer(checkpoint, distribution, objects, prop) for prop in PROPERTIES]
    rows = []
    for variant in (scenes, scale, second_moments, scale_per_direction):
        for layer in layers:
            for row in variant(layer):
                rows.append(row)
                pd.DataFrame(rows).round(4).to_csv(options.out, index=False)


if __name__ == "__main__":
    main()
