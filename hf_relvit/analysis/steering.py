"""Does the model use what the probe reads? Steer pairs along its direction and watch the answer (paper, Fig. 5).

1. Take linear probes of the judgement: per layer ``W (2, 2p tokens, hidden)``, one row per relation, without bias.
2. Capture the residual stream ``h (n, tokens, hidden)`` of scenes that the probes were not fitted to.
3. Per layer, pair and strength alpha add ``alpha * W[relation]`` to the pair's tokens and run the model from there on:
   "flip" takes the row of the relation that the pair does not have.
4. Count how often the answer is the flipped label. Controls: "agree", the row of the relation that it has (the
   paper's); "shuffled", the row of a probe of shuffled labels, lengthened to the same norm (ours).

Raw rows as in the official code; a step is written where its probe read (with probes of compat="official", one block
later). Success means that the model uses the direction, not only that it is there.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import torch

from ..errors import RelViTError
from ..modeling.checkpoints import Checkpoint
from ..modeling.finite import FiniteWatch
from ..progress import run_passes, slices
from ..provenance import provenance
from ..statistics import wilson
from ..stimuli.distribution import SceneDistribution
from ..stimuli.scenes import SceneTable
from ..stimuli.splits import Split
from .activations import Site, capture, forward_from
from .alignment import fingerprint
from .choices import check_choices, check_counts
from .probes import Probes
from .result import TableResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAIRS: tuple[str, ...] = ("sample", "display")
CONDITIONS: tuple[str, ...] = ("flip", "agree", "shuffled")


@dataclass(frozen=True)
class SteeringConfig:
    """How hard to steer.

    Raises:
        RelViTError: no alpha, or one that is not a number.
    """

    alphas: tuple[float, ...] = (0.5, 1.0, 2.0)
    """The direction times each of these is added (the paper's values)."""
    batch_size: int = 64
    """Does not change the result beyond rounding."""
    bf16: bool = False
    """Run the blocks after the site in bfloat16 (ours); the step stays in float32."""
    scenes: int = 400
    """Scenes to steer."""
    split: Split = "test"
    """Of these scenes."""

    def __post_init__(self):
        finite = np.isfinite(self.alphas)
        if not self.alphas or not finite.all():
            raise RelViTError(
                f"alphas {self.alphas}: expected one or more numbers, such as 0.5, 1 and 2"
            )
        check_choices(self)
        check_counts(self)


@dataclass(frozen=True, eq=False)
class Steering(TableResult):
    """How often steering flips the model's answer.

    Attributes:
        frame: one row per layer, alpha, pair ("sample", "display"; discrimination has the sample pair only) and
            condition: ``layer, alpha, pair, condition, accuracy, n, ci_low, ci_high`` (Wilson, 95 %),
            ``base_accuracy`` (of the model on the scenes as they are), ``floor`` (doing nothing: 1 - base_accuracy)
            and ``relative_norm``, the norm of the added vector over that of the pair's tokens. ``accuracy`` is the
            share of scenes whose answer is the flipped label, in all conditions. "flip": add the probe's row of the
            relation that the pair does not have. "agree" (the paper's control): add that of the relation it has.
            "shuffled" (ours): as "flip", with the control probe's direction, lengthened to the same norm.
        facts: config, probes, provenance.
    """

    TITLE: ClassVar[str] = "steering"
    STEM: ClassVar[str] = "steering"
    TABLES: ClassVar[tuple[str, ...]] = ("steering",)
    EXAMPLE: ClassVar[str] = "steering"

    frame: pd.DataFrame
    facts: dict[str, Any] = field(default_factory=dict)

    def figure(self) -> Figure:
        """Success by layer, a panel per pair and alpha."""
        from ..figures.causal import steering_figure

        return steering_figure(self.frame)


@torch.no_grad()
def steer(
    checkpoint: Checkpoint,
    probes: Probes,
    scenes: SceneTable | SceneDistribution,
    config: SteeringConfig | None = None,
    *,
    progress: bool = False,
) -> Steering:
    """Steer pairs along the rows of a probe, and read the answer; see the head of this module.

    Args:
        checkpoint: the classifier that the probes were fitted on, and its processor.
        probes: linear ones of "judgement".
        scenes: ``n`` scenes of the probes' task, not those that the probes were fitted to; or their distribution, of
            which ``config`` says how many are drawn from which split.
        config: see SteeringConfig.
        progress: show a bar.

    Raises:
        RelViTError: probes of another target, form, task, model or processor; scenes of another geometry, or with
            freely placed objects; no scenes; answers that are not finite.
    """
    config = config or SteeringConfig()
    if not isinstance(scenes, SceneTable):
        scenes = scenes.sample(config.split, config.scenes)
    _check(checkpoint, probes, scenes)
    checkpoint.model.eval()
    steered = _SteeredScenes(checkpoint, scenes, probes, config)
    parts = slices(len(scenes), config.batch_size)
    passes = len(steered.flipped)
    run_passes(steered.add, parts, passes, desc="steering", disable=not progress)
    steered.watch.check()
    used = replace(config, scenes=len(scenes), split=scenes.split)
    facts = {
        "config": asdict(used),
        "probes": probes.facts,
        "split": scenes.split,
        "provenance": provenance(seed=scenes.seed, processor=checkpoint.processor.fingerprint),
    }
    return Steering(steered.table(), facts)


def _directions(probes: Probes, device: torch.device) -> dict[int, dict[str, torch.Tensor]]:
    """The steps of each layer, by their names."""
    directions = {}
    for layer in probes.layers:
        vectors = probes.steering_vectors(layer)
        directions[layer] = {name: each.to(device) for name, each in vectors.items()}
    return directions


class _SteeredScenes:
    """Counts of flipped answers, batch by batch; they stay on the device, which nothing waits for."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        scenes: SceneTable,
        probes: Probes,
        config: SteeringConfig,
    ):
        device = checkpoint.device
        directions = _directions(probes, device)
        patches = scenes.patches()
        relation = scenes.judged.astype(np.int64)
        pairs = relation.shape[1]
        tokens = torch.from_numpy(checkpoint.geometry.tokens(patches))
        self.checkpoint = checkpoint
        self.scenes = scenes
        self.directions = directions
        self.config = config
        self.pairs = PAIRS[:pairs]
        judged = tokens[:, : 2 * pairs]
        of_pairs = judged.reshape(len(scenes), pairs, -1)
        label = scenes.label.astype(np.int64)
        self.tokens = of_pairs.to(device)
        self.relation = torch.from_numpy(relation).to(device)
        self.label = torch.from_numpy(label).to(device)
        zero = torch.zeros((), dtype=torch.int64, device=device)
        keys = itertools.product(directions, config.alphas, self.pairs, CONDITIONS)
        self.flipped = dict.fromkeys(keys, zero)
        places = itertools.product(directions, self.pairs)
        self.norms = dict.fromkeys(places, zero.double())
        self.right = zero
        self.watch = FiniteWatch("answers after steering")

    def add(self, batch: slice) -> Iterator[None]:
        """Steer the scenes of a batch in all ways, and tell after each, for a bar."""
        model = self.checkpoint.model
        pixels = self.checkpoint.pixel_values(self.scenes[batch])
        goal = 1 - self.label[batch]
        sites = [Site("resid_post", layer) for layer in self.directions]
        states = capture(model, pixels, sites)
        first = sites[0]
        answer = forward_from(model, first, states[first]).argmax(-1)
        self.right = self.right + (answer != goal).sum()
        for site in sites:
            residual = states[site]
            for number, pair in enumerate(self.pairs):
                tokens = self.tokens[batch, number]
                where = tokens[..., None].expand(-1, -1, residual.shape[-1])
                own = residual.gather(1, where)
                norms = own.flatten(1).norm(dim=1)
                key = site.layer, pair
                self.norms[key] = self.norms[key] + norms.sum()
                relation = self.relation[batch, number]
                yield from self._steer(site, pair, residual, where, relation, goal)

    def _steer(
        self,
        site: Site,
        pair: str,
        residual: torch.Tensor,
        where: torch.Tensor,
        relation: torch.Tensor,
        goal: torch.Tensor,
    ) -> Iterator[None]:
        """Steer one pair of each scene at one site: along all directions, with all strengths."""
        model = self.checkpoint.model
        mixed = {"dtype": torch.bfloat16, "enabled": self.config.bf16}
        directions = self.directions[site.layer]
        for condition, direction in directions.items():
            toward = relation if condition == "agree" else 1 - relation
            step = direction[toward].to(residual)
            for alpha in self.config.alphas:
                steered = residual.scatter_add(1, where, alpha * step)
                with torch.autocast(steered.device.type, **mixed):
                    logits = forward_from(model, site, steered)
                self.watch.see(logits)
                flipped = logits.argmax(-1) == goal
                key = site.layer, alpha, pair, condition
                self.flipped[key] = self.flipped[key] + flipped.sum()
                yield

    def table(self) -> pd.DataFrame:
        """See ``Steering.frame``."""
        n = len(self.scenes)
        flipped = list(self.flipped.values())
        counts = torch.stack(flipped).cpu().numpy()
        low, high = wilson(counts, n)
        right = int(self.right.item())
        keys = ["layer", "alpha", "pair", "condition"]
        frame = pd.DataFrame(list(self.flipped), columns=keys)
        return frame.assign(
            accuracy=counts / n,
            n=n,
            ci_low=low,
            ci_high=high,
            base_accuracy=right / n,
            floor=(n - right) / n,  # counted: exactly the share where nothing changes
            relative_norm=[self._relative_norm(*key) for key in self.flipped],
        )

    def _relative_norm(
        self,
        layer: int,
        alpha: float,
        pair: str,
        condition: str,
    ) -> float:
        direction = self.directions[layer][condition]
        length = direction.flatten(1).norm(dim=1).mean().item()
        norms = self.norms[layer, pair].item()
        return abs(alpha) * length * len(self.scenes) / norms


def _check(
    checkpoint: Checkpoint,
    probes: Probes,
    scenes: SceneTable,
) -> None:
    facts = probes.facts
    config = facts["config"]
    if config["target"] != "judgement" or config["form"] != "linear":
        raise RelViTError(
            f"{config['form']} probes of {config['target']!r} cannot steer: fit linear ones of 'judgement'"
        )
    kind = (scenes.task, scenes.geometry.name)
    if not len(scenes) or kind != (facts["task"], facts["geometry"]):
        raise RelViTError(
            f"{len(scenes)} scenes of {scenes.task} in geometry {scenes.geometry.name!r} for probes of "
            f"{facts['task']} in {facts['geometry']!r}: sample some like those"
        )
    checkpoint.check(scenes)
    scenes.geometry.check_equal_tokens("steering")
    if facts["processor"] != checkpoint.processor.fingerprint:
        raise RelViTError(
            f"probes for image processor {facts['processor']}, this one is {checkpoint.processor.fingerprint}: "
            "use the checkpoint that they were fitted on"
        )
    layers = checkpoint.blocks
    for layer in probes.layers:
        if layer >= len(layers) or fingerprint(layers[layer]) != facts["blocks"][str(layer)]:
            raise RelViTError(
                f"probes of another model (block {layer} differs): fit them on this one"
            )
