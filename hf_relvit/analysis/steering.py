"""Does the model use what the probe reads? Push pairs along its direction and watch the answer (paper, Fig. 5)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from ..errors import RelViTError
from ..modeling.checkpoints import Checkpoint
from ..provenance import provenance
from ..statistics import wilson
from ..stimuli.scenes import SceneTable
from .activations import Site, capture, forward_from
from .alignment import fingerprint
from .probes import Probes
from .result import TableResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAIRS = ("sample", "display")
CONDITIONS = ("flip", "agree", "shuffled")


@dataclass(frozen=True)
class SteeringConfig:
    """How hard to push.

    Raises:
        RelViTError: no alpha, or one that is not a number.
    """

    alphas: tuple[float, ...] = (0.5, 1.0, 2.0)
    """The direction times each of these is added (the paper's values)."""
    batch_size: int = 64
    """Does not change the result beyond rounding."""
    bf16: bool = False
    """Run the blocks after the site in bfloat16 (ours); the push stays in float32."""

    def __post_init__(self):
        if not self.alphas or not np.isfinite(self.alphas).all():
            raise RelViTError(
                f"alphas {self.alphas}: expected one or more numbers, such as 0.5, 1 and 2"
            )
        if self.batch_size < 1:
            raise RelViTError(f"batch size {self.batch_size}: expected at least 1")


@dataclass(frozen=True, eq=False)
class Steering(TableResult):
    """How often a push flips the model's answer.

    Attributes:
        frame: a row a layer, alpha, pair ("sample", "display"; discrimination has the sample pair only) and condition:
            ``layer, alpha, pair, condition, accuracy, n, ci_low, ci_high`` (Wilson, 95 %), ``base_accuracy`` (of the
            model on the scenes as they are), ``floor`` (doing nothing: 1 - base_accuracy) and ``relative_norm``, the
            norm of what is added over that of the pair's tokens. ``accuracy`` is the share of scenes whose answer is
            the flipped label, in all conditions. "flip": add the probe's row of the relation that the pair does not
            have. "agree" (the paper's control): add that of the relation it has. "shuffled" (ours): as "flip", with
            the control probe's direction, lengthened to the same norm.
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
    scenes: SceneTable,
    config: SteeringConfig | None = None,
    *,
    progress: bool = False,
) -> Steering:
    """Add ``alpha`` times a probe's weight row to the tokens of a pair, at the probe's layer, and read the answer.

    Raw rows without bias, as in the official code; a push is written where its probe read (with probes of
    compat="official", one block later). Success means that the model uses the direction, not only that it is there.

    Args:
        checkpoint: the classifier that the probes were fitted on, and its processor.
        probes: linear ones of "judgement".
        scenes: ``n`` scenes of the probes' task, not those that the probes were fitted to.
        config: see SteeringConfig.
        progress: show a bar.

    Raises:
        RelViTError: probes of another target, form, task, model or processor; scenes of another geometry; no scenes.
    """
    config = config or SteeringConfig()
    _check(checkpoint, probes, scenes)
    model = checkpoint.model
    geometry = checkpoint.geometry
    device = checkpoint.device
    model.eval()
    pairs = PAIRS[: scenes.relation.shape[1]]
    tokens = (
        torch.from_numpy(geometry.tokens(scenes.patches()))
        .reshape(len(scenes), len(pairs), -1)
        .to(device)
    )
    relation = torch.from_numpy(scenes.relation.astype(np.int64)).to(device)
    sites = {layer: Site("resid_post", layer) for layer in probes.layers}
    rows = {
        layer: {c: part.to(device) for c, part in probes.pushes(layer).items()}
        for layer in probes.layers
    }
    label = torch.from_numpy(scenes.label.astype(np.int64)).to(device)
    zero = torch.zeros(
        (), dtype=torch.int64, device=device
    )  # counts stay on the device, which nothing waits for
    flipped = {
        (layer, a, p, c): zero
        for layer in sites
        for a in config.alphas
        for p in pairs
        for c in CONDITIONS
    }
    norms = {(layer, pair): zero.double() for layer in sites for pair in pairs}
    base = zero
    for start in tqdm(
        range(0, len(scenes), config.batch_size), desc="steering", disable=not progress, leave=False
    ):
        batch = slice(start, start + config.batch_size)
        pixels = checkpoint.pixel_values(scenes[batch])
        goal = 1 - label[batch]
        states = capture(model, pixels, sites.values())
        first = sites[probes.layers[0]]
        base = base + (forward_from(model, first, states[first]).argmax(-1) != goal).sum()
        for layer, site in sites.items():
            residual = states[site]
            for i, pair in enumerate(pairs):
                where = tokens[batch, i][..., None].expand(-1, -1, residual.shape[-1])
                norms[layer, pair] = (
                    norms[layer, pair] + residual.gather(1, where).flatten(1).norm(dim=1).sum()
                )
                for condition, direction in rows[layer].items():
                    has = relation[batch, i]
                    push = direction[has if condition == "agree" else 1 - has].to(residual)
                    for alpha in config.alphas:
                        pushed = residual.scatter_add(1, where, alpha * push)
                        with torch.autocast(device.type, torch.bfloat16, enabled=config.bf16):
                            answer = forward_from(model, site, pushed).argmax(-1)
                        key = layer, alpha, pair, condition
                        flipped[key] = flipped[key] + (answer == goal).sum()
    frame = pd.DataFrame(list(flipped), columns=["layer", "alpha", "pair", "condition"])
    n, count = len(scenes), torch.stack(list(flipped.values())).cpu().numpy()
    low, high = wilson(count, n)
    length = {
        (layer, c): rows[layer][c].flatten(1).norm(dim=1).mean().item()
        for layer in rows
        for c in CONDITIONS
    }
    frame = frame.assign(accuracy=count / n, n=n, ci_low=low, ci_high=high)
    frame = frame.assign(base_accuracy=base.item() / n, floor=1 - base.item() / n)
    frame["relative_norm"] = [
        abs(row.alpha) * length[row.layer, row.condition] * n / norms[row.layer, row.pair].item()
        for row in frame.itertuples()
    ]
    facts = {
        "config": asdict(config),
        "probes": probes.facts,
        "split": scenes.split,
        "provenance": provenance(seed=scenes.seed, processor=checkpoint.processor.fingerprint),
    }
    return Steering(frame, facts)


def _check(checkpoint: Checkpoint, probes: Probes, scenes: SceneTable) -> None:
    facts, config = probes.facts, probes.facts["config"]
    if config["target"] != "judgement" or config["form"] != "linear":
        raise RelViTError(
            f"{config['form']} probes of {config['target']!r} cannot steer: fit linear ones of 'judgement'"
        )
    if not len(scenes) or scenes.task != facts["task"] or scenes.geometry.name != facts["geometry"]:
        raise RelViTError(
            f"{len(scenes)} scenes of {scenes.task} in geometry {scenes.geometry.name!r} for probes of "
            f"{facts['task']} in {facts['geometry']!r}: sample some like those"
        )
    checkpoint.check(scenes)
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
