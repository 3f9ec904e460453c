"""Which rate and warm-up suit few steps from a closed form? On validation pairs, three seeds, two models.

    python benchmarks/warm_start_search.py --out docs/results

Every setting runs for EPOCHS epochs of PAIRS pairs, BATCH at a time. The figures are the mean loss on validation pairs
and the share of them that follows, after every epoch; epoch 0 is the closed form itself, with scale 1. Seeds draw the
order of the pairs and the directions outside of the closed form. A second call goes on after the last setting.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import pandas as pd
import torch
from bench_time_to_accuracy import ROOT, known_model
from torch.nn.functional import cross_entropy

from hf_relvit.analysis.activations import ObjectStates, Site, capture_object_states
from hf_relvit.analysis.alignment import Alignment
from hf_relvit.analysis.alignment_methods import DASConfig, fit_alignment
from hf_relvit.analysis.interchange import PairResiduals, capture_pair_residuals
from hf_relvit.analysis.scores import swaps_of
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.stimuli.counterfactuals import PROPERTIES
from hf_relvit.stimuli.distribution import SceneDistribution

PAIRS, VALIDATION_PAIRS, SCENES = 256, 128, 512
BATCH, EPOCHS = 32, 2
METHODS = ("das", "oblique")
RATES = (1e-3, 3e-3, 1e-2)
WARMUPS = (0.0, 0.1)
SEEDS = (0, 1, 2)
SCRATCH = ROOT / "released" / "scratch-discrimination" / "training" / "model"
SCRATCH_LAYER = 0
KEYS = ["model", "property", "method", "rate", "warmup", "seed"]


@dataclass(frozen=True)
class Case:
    """A model, a layer, and the captures of one property there."""

    name: str
    checkpoint: Checkpoint
    layer: int
    train: PairResiduals
    validation: PairResiduals
    objects: ObjectStates

    def fits(self, config: DASConfig) -> Iterator[tuple[int, float, float]]:
        """Epoch, loss and accuracy on validation pairs; epoch 0 is the closed form where the search starts."""
        start = DASConfig("closed_form", scale=1.0)
        moments = [self.fit(start)]
        self.fit(config, moments.append)
        for epoch, alignment in enumerate(moments):
            yield epoch, *self.scores(alignment)

    def fit(self, config: DASConfig, watch=None) -> Alignment:
        return fit_alignment(
            self.checkpoint, self.train, self.layer, config, objects=self.objects, watch=watch
        )

    def scores(self, alignment: Alignment) -> tuple[float, float]:
        label = torch.from_numpy(self.validation.pairs.label).long()
        swaps = swaps_of(self.checkpoint, alignment, self.validation)
        logits = torch.cat([swap.logits for swap in swaps])
        right = logits.argmax(-1) == label
        return cross_entropy(logits, label).item(), right.double().mean().item()


def cases() -> Iterator[Case]:
    """The small case whose answer is known, and a ViT that was trained from scratch."""
    scratch = Checkpoint.open(SCRATCH)
    models = {
        "known": (*known_model(), 0),
        "scratch": (scratch, scratch.distribution(), SCRATCH_LAYER),
    }
    for name, (checkpoint, scenes, layer) in models.items():
        labeled = scenes.sample("train", SCENES)
        objects = capture_object_states(checkpoint, labeled, [layer])
        for prop in PROPERTIES:
            train, validation = [
                captured(checkpoint, scenes, layer, prop, split, count)
                for split, count in (("train", PAIRS), ("validation", VALIDATION_PAIRS))
            ]
            yield Case(name, checkpoint, layer, train, validation, objects)


def captured(
    checkpoint: Checkpoint,
    scenes: SceneDistribution,
    layer: int,
    prop: str,
    split: str,
    count: int,
) -> PairResiduals:
    pairs = scenes.pairs(prop, split, count)
    return capture_pair_residuals(checkpoint, pairs, [Site("resid_post", layer)])


def configs() -> Iterator[DASConfig]:
    base = DASConfig(start="closed_form", batch_size=BATCH, epochs=EPOCHS)
    for seed, method, rate, warmup in product(SEEDS, METHODS, RATES, WARMUPS):
        yield replace(
            base, method=method, lr_rotation=rate, lr_mask=10 * rate, warmup=warmup, seed=seed
        )


def search(file: Path) -> pd.DataFrame:
    """All settings, each written as soon as it is there."""
    table = pd.read_csv(file) if file.exists() else pd.DataFrame(columns=KEYS)
    for case in cases():
        prop = case.train.pairs.property
        for config in configs():
            setting = (
                case.name,
                prop,
                config.method,
                config.lr_rotation,
                config.warmup,
                config.seed,
            )
            if (table[KEYS] == list(setting)).all(axis=1).any():
                continue
            rows = [
                [*setting, epoch, epoch * PAIRS // BATCH, loss, accuracy]
                for epoch, loss, accuracy in case.fits(config)
            ]
            columns = [*KEYS, "epoch", "steps", "loss", "accuracy"]
            table = pd.concat([table, pd.DataFrame(rows, columns=columns)], ignore_index=True)
            table.to_csv(file, index=False)
            print(*setting, *[f"{row[-1]:.3f}" for row in rows], flush=True)
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results")
    result = search(parser.parse_args().out / "warm_start_search.csv")
    print(
        result.groupby(["model", "method", "rate", "warmup", "steps"])[["loss", "accuracy"]].mean()
    )
