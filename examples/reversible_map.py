"""A map that is not linear "finds" a property in a network with random weights: why alignments here are linear.

    python examples/reversible_map.py --out docs

After arXiv 2507.08802, for demonstration only; no recipe offers it. Symbols: b and s ``(n, p, hidden)``, states of the
base's and of the source's object; f, a reversible network on a single token.

1. f is a chain of additive couplings, ``(x, y) -> (y, x + net(y))``, so it can be inverted exactly.
2. The swap is ``f^-1([f(s)_1..k, f(b)_k+1..hidden])`` with k = hidden / 2. Where f is a rotation, this is DAS.
3. f learns as DAS does: cross-entropy with the counterfactual answers, the network frozen.
4. It is scored on test pairs, beside linear methods and with the same controls, in a network that never learned.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import ViTConfig

from hf_relvit.analysis.activations import (
    ObjectStates,
    Site,
    at_tokens,
    capture_object_states,
    forward_from,
)
from hf_relvit.analysis.alignment_methods import DASConfig, fit_alignment
from hf_relvit.analysis.interchange import PairResiduals, capture_pair_residuals
from hf_relvit.geometry import SceneGeometry
from hf_relvit.modeling import RelViTConfig, RelViTForImageClassification
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.modeling.processing import PixelProcessor, default_processor
from hf_relvit.statistics import wilson
from hf_relvit.stimuli.distribution import SceneDistribution
from hf_relvit.stimuli.objects import ObjectSet

SCENES = SceneGeometry("reversible", image_size=32, patch_size=8, object_size=8, sprite_size=8)
HIDDEN = 64
SITE = Site("resid_post", 2)
SPREAD = 1.2 / HIDDEN**0.5
"""Of the random weights: states of all tokens mix, so that an object's token knows of the other object."""
BATCH = 64
FLOOR = 1e-5
"""Smallest variance that the map sees, of the largest."""
CONTROLS = (None, "wrong_object")

Swap = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class ReversibleMap(nn.Module):
    """Whitening, a random rotation, and additive couplings that change nothing at first.

    Args:
        states: float32 ``(n, hidden)``, whose mean and covariance it takes.
        width: of the networks in the couplings.
        depth: number of couplings.
    """

    mean: torch.Tensor
    whitener: torch.Tensor
    restorer: torch.Tensor

    def __init__(self, states: torch.Tensor, width: int = 256, depth: int = 6):
        super().__init__()
        hidden = states.shape[1]
        covariance = torch.cov(states.T.double())
        variances, axes = torch.linalg.eigh(covariance)
        spread = variances.clamp(min=FLOOR * variances[-1]).sqrt()
        drawn = torch.randn(hidden, hidden).double()
        turn = torch.linalg.qr(drawn).Q
        whitener = axes / spread @ turn
        restorer = turn.T @ (axes * spread).T
        self.register_buffer("mean", states.mean(0))
        self.register_buffer("whitener", whitener.float())
        self.register_buffer("restorer", restorer.float())
        self.couplings = nn.ModuleList([coupling(hidden // 2, width) for _ in range(depth)])

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Codes of states, both ``(..., hidden)``."""
        white = (states - self.mean) @ self.whitener
        left, right = white.chunk(2, -1)
        for net in self.couplings:
            left, right = right, left + net(right)
        return torch.cat([left, right], -1)

    def inverse(self, codes: torch.Tensor) -> torch.Tensor:
        """States of codes, both ``(..., hidden)``."""
        left, right = codes.chunk(2, -1)
        for net in reversed(self.couplings):
            left, right = right - net(left), left
        white = torch.cat([left, right], -1)
        return white @ self.restorer + self.mean

    def swap(self, base: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        """``base`` with the first half of the source's code; all ``(..., hidden)``."""
        given, _ = self(source).chunk(2, -1)
        _, kept = self(base).chunk(2, -1)
        mixed = torch.cat([given, kept], -1)
        return self.inverse(mixed)


def coupling(half: int, width: int) -> nn.Sequential:
    """A network from one half of a code to the other, 0 at first."""
    last = nn.Linear(width, half)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(
        nn.Linear(half, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), last
    )


@dataclass(frozen=True)
class Data:
    """States of the random network: of pairs about color, and of labeled scenes."""

    network: Checkpoint
    train: PairResiduals
    test: PairResiduals
    objects: ObjectStates


def random_network(seed: int = 0) -> Checkpoint:
    """A ViT of four blocks for images of 4 x 4 patches; it never learns.

    The weights are numpy's, as those of torch differ between its versions.
    """
    backbone = ViTConfig(
        image_size=SCENES.image_size,
        patch_size=SCENES.patch_size,
        hidden_size=HIDDEN,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=4 * HIDDEN,
        initializer_range=SPREAD,
    )
    model = RelViTForImageClassification(RelViTConfig(backbone_config=backbone))
    rng = np.random.default_rng(seed)
    for weight in model.parameters():
        if weight.dim() > 1:
            drawn = rng.normal(0, SPREAD, weight.shape)
            weight.data = torch.from_numpy(drawn).float()
    processor = PixelProcessor(default_processor(SCENES.image_size), SCENES.image_size)
    return Checkpoint(model.eval().requires_grad_(False), processor)


def captured(pairs: int, test_pairs: int) -> Data:
    """Scenes of 4 shapes in 4 colors, one patch each, without noise of pixels."""
    ours = ObjectSet.default()
    objects = ObjectSet(ours.masks[:4], ours.palette[[0, 3, 7, 11]], 4, 4, noise_sd=0)
    scenes = SceneDistribution("discrimination", SCENES, 16, objects)
    network = random_network()
    train, test = [
        capture_pair_residuals(network, scenes.pairs("color", split, count), [SITE])
        for split, count in (("train", pairs), ("test", test_pairs))
    ]
    labeled = scenes.sample("train", pairs)
    states = capture_object_states(network, labeled, [SITE.layer])
    return Data(network, train, test, states)


def answers(data: Data, pairs: PairResiduals, swap: Swap, rows, control=None) -> torch.Tensor:
    """Logits ``(rows, 2)`` after a swap in some of the pairs."""
    tokens, source = pairs.operands(SITE, control)
    base = pairs.base[SITE][rows]
    where = tokens[rows]
    states = at_tokens(base, where)
    written = swap(states, source[rows])
    index = where[..., None].expand_as(written)
    edited = base.scatter(1, index, written)
    return forward_from(data.network.model, SITE, edited)


def learned(data: Data, steps: int, rate: float = 1e-3) -> ReversibleMap:
    """A reversible map that makes the network answer as the swapped color would have it."""
    torch.manual_seed(0)
    found = ReversibleMap(data.train.source_objects(SITE).flatten(0, 2))
    adam = torch.optim.AdamW(found.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, rate, steps, pct_start=0.1)
    label = torch.from_numpy(data.train.pairs.label).long()
    for _ in range(steps):
        rows = torch.randint(len(label), (BATCH,))
        logits = answers(data, data.train, found.swap, rows)
        loss = cross_entropy(logits, label[rows])
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()
    return found


def linear(data: Data, steps: int) -> dict[str, Swap]:
    """Swaps of linear methods, DAS with as many steps."""
    epochs = -(-steps * BATCH // len(data.train.pairs))
    das = DASConfig(epochs=epochs, batch_size=BATCH)
    configs = {
        "closed form": DASConfig("closed_form"),
        "DAS": das,
        "DAS, rate x 10": replace(das, lr_rotation=1e-2, lr_mask=1e-1),
    }
    swaps: dict[str, Swap] = {"full swap": lambda base, source: source}
    for name, config in configs.items():
        objects = data.objects if config.method == "closed_form" else None
        found = fit_alignment(data.network, data.train, SITE.layer, config, objects=objects)
        swaps[name] = found.swap
    return swaps


@torch.no_grad()
def scored(data: Data, name: str, swap: Swap) -> list[dict]:
    """Shares of test pairs with the counterfactual answer."""
    rows = []
    for control in CONTROLS:
        logits = answers(data, data.test, swap, slice(None), control)
        right = logits.argmax(-1).numpy() == data.test.pairs.label
        hits = int(right.sum())
        low, high = wilson(hits, len(right))
        rows.append(
            {
                "method": name,
                "control": control or "none",
                "accuracy": right.mean(),
                "n": len(right),
                "ci_low": float(low),
                "ci_high": float(high),
            }
        )
    return rows


def measured(pairs: int = 4096, test_pairs: int = 1000, steps: int = 1200) -> pd.DataFrame:
    """A row per method and control: ``method, control, accuracy, n, ci_low, ci_high``."""
    data = captured(pairs, test_pairs)
    swaps: dict[str, Swap] = {"no swap": lambda base, source: base}
    swaps |= linear(data, steps)
    swaps["reversible map"] = learned(data, steps).swap
    rows = []
    for name, swap in swaps.items():
        rows += scored(data, name, swap)
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame, file: Path) -> None:
    """Bars with intervals: swaps from the object, and from the wrong object."""
    figure = Figure(figsize=(7, 3), layout="constrained")
    axis = figure.subplots()
    methods = list(dict.fromkeys(table.method))
    for place, (control, words) in enumerate((("none", "swap"), ("wrong_object", "wrong object"))):
        rows = table[table.control == control]
        below = rows.accuracy - rows.ci_low
        above = rows.ci_high - rows.accuracy
        shift = 0.4 * (place - 0.5)
        at = [index + shift for index in range(len(methods))]
        axis.bar(at, rows.accuracy, 0.38, yerr=[below, above], label=words)
    axis.set_xticks(range(len(methods)), methods, fontsize=8)
    axis.set(ylabel="share of pairs with the new answer", ylim=(0, 1.02))
    axis.set_title("color in a ViT with random weights")
    axis.legend(fontsize=8, loc="upper left")
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs"), help="results/ and images/ in it")
    options = parser.parse_args()
    result = measured()
    print(result.to_string(index=False))
    result.to_csv(options.out / "results" / "reversible_map.csv", index=False, float_format="%.4f")
    draw(result, options.out / "images" / "reversible_map.png")
