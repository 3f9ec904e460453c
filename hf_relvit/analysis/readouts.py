"""What probes read and how they are fitted: states of object tokens, the units to judge, two forms of read-out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ..errors import RelViTError
from ..modeling.processing import PixelProcessor
from ..stimuli.objects import ObjectSet
from ..stimuli.scenes import SceneTable
from ..stimuli.splits import SPLITS
from .activations import Site, _instead, blocks, residuals

if TYPE_CHECKING:
    from .probes import ProbeConfig

COMPATS = ("corrected", "official")


@dataclass(frozen=True, eq=False)
class ObjectStates:
    """Object tokens of scenes at some layers, captured once for any number of probes.

    Attributes:
        scenes: ``n`` scenes with k objects of p tokens.
        states: by layer, ``(n, k * p, hidden)``.
        compat: "corrected", the outputs of the blocks; "official", their inputs.
    """

    scenes: SceneTable
    states: dict[int, torch.Tensor]
    compat: str


def object_states(
    model: nn.Module,
    processor: PixelProcessor,
    scenes: SceneTable,
    layers: list[int] | None = None,
    *,
    compat: str = "corrected",
    objects: ObjectSet | None = None,
    cache_gb: float = 4.0,
    progress: str = "",
) -> ObjectStates:
    """Read the object tokens of scenes in one pass.

    Args:
        layers: which; all by default.
        compat: see ObjectStates.
        model, processor, objects, cache_gb, progress: as in ``activations.residuals``.

    Raises:
        RelViTError: scenes of another geometry, a layer that the model does not have, an unknown compat.
    """
    if compat not in COMPATS:
        raise RelViTError(f"unknown compat {compat!r}: expected one of {', '.join(COMPATS)}")
    parts, geometry = blocks(model), model.config.geometry  # pyright: ignore
    layers = list(range(len(parts))) if layers is None else layers
    options: dict[str, Any] = {"objects": objects, "cache_gb": cache_gb, "progress": progress}

    def read(sites: list[Site]) -> dict[int, torch.Tensor]:
        tokens = torch.from_numpy(geometry.tokens(scenes.patches())).flatten(1)
        return {
            site.layer: found
            for site, found in residuals(model, processor, scenes, sites, tokens=tokens, **options).items()
        }

    if compat == "corrected":
        return ObjectStates(scenes, read([Site("resid_post", layer) for layer in layers]), compat)
    states = {layer + 1: found for layer, found in read([Site("resid_post", i - 1) for i in layers if i > 0]).items()}
    if 0 in layers:  # the input of block 0 is the output of a block 0 that does nothing
        with _instead(parts[:1], lambda hidden, *args, **kwargs: hidden):
            states |= read([Site("resid_post", 0)])
    return ObjectStates(scenes, states, compat)


def units(scenes: SceneTable, config: ProbeConfig) -> tuple[np.ndarray, np.ndarray]:
    """What is judged: positions among a scene's object tokens ``(n, units, tokens)``, labels ``(n, units)``; int64."""
    n, k = scenes.shape.shape
    p = scenes.geometry.object_patches**2
    positions = np.arange(k * p)
    if config.target == "judgement":
        return np.tile(positions.reshape(1, -1, 2 * p), (n, 1, 1)), scenes.relation.astype(np.int64)
    if config.target == "same_object":
        if p == 1:
            raise RelViTError(
                f"objects of geometry {scenes.geometry.name!r} are one token each: 'same_object' needs two, "
                "use a geometry with smaller patches, such as b16"
            )
        # of each pair: two tokens of the first object, two of the second, and twice one of each
        rng = np.random.default_rng([config.seed, scenes.seed, SPLITS.index(scenes.split)])
        two = np.argsort(rng.random((n, k // 2, 4, p)), axis=-1)[..., :2]
        objects = np.array([[0, 0], [1, 1], [0, 1], [1, 0]]) + 2 * np.arange(k // 2)[:, None, None]
        return (objects * p + two).reshape(n, -1, 2), np.tile([1, 1, 0, 0], (n, k // 2))
    colors = 1 + int(np.iinfo(np.int16).max)
    shape, color = scenes.shape.astype(np.int64), scenes.color.astype(np.int64)
    label = {"shape": shape, "color": color, "object": shape * colors + color}[config.target]
    if config.unit == "token":
        return np.tile(positions.reshape(1, -1, 1), (n, 1, 1)), label.repeat(p, axis=1)
    return np.tile(positions.reshape(1, -1, p), (n, 1, 1)), label


def unit_inputs(states: torch.Tensor, index: np.ndarray) -> torch.Tensor:
    """``(n * units, tokens * hidden)`` float32."""
    n, count, _ = index.shape
    flat = torch.from_numpy(index).reshape(n, -1, 1).expand(-1, -1, states.shape[-1]).to(states.device)
    return states.gather(1, flat).float().reshape(n * count, -1)


def scores(inputs: torch.Tensor, probe: dict[str, torch.Tensor]) -> torch.Tensor:
    """Logits of both conditions, ``(2, n, classes)``."""
    logits = torch.einsum("ni,sci->snc", inputs, probe["weight"]) + probe["bias"][:, None]
    if "form" in probe:
        x, y = torch.einsum("nhi,sri->hsnr", inputs.unflatten(1, (2, -1)), probe["form"])
        plus, minus = (x * y).chunk(2, -1)
        logits = logits + F.pad((plus.sum(-1) - minus.sum(-1))[..., None], (1, 0))  # speaks for class 1, "same"
    return logits


def fit(inputs: torch.Tensor, labels: torch.Tensor, classes: int, config: ProbeConfig) -> dict[str, torch.Tensor]:
    """Both conditions at once. Labels ``(2, n)``; each tensor of the result has the conditions first."""
    generator = torch.Generator().manual_seed(config.seed)
    device = inputs.device
    probe = {
        "weight": torch.zeros(2, classes, inputs.shape[1], device=device),
        "bias": torch.zeros(2, classes, device=device),
    }
    scale, labels = torch.ones((), device=device), labels.to(device)
    if config.form == "quadratic":
        half = inputs.shape[1] // 2
        start = torch.randn(2 * config.rank, half, generator=generator) / half**0.5 / (2 * config.rank) ** 0.25
        probe["form"] = start.expand(2, -1, -1).clone().to(device)
        scale = inputs.square().mean().sqrt()  # a form grows with the square of its inputs
        inputs = inputs / scale
    with torch.enable_grad():
        parameters = [tensor.requires_grad_() for tensor in probe.values()]
        optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate)
        steps = config.epochs * -(-len(inputs) // config.batch_size)
        done = 0
        for _ in range(config.epochs):
            for rows in torch.randperm(len(inputs), generator=generator).to(device).split(config.batch_size):
                if config.compat == "corrected":
                    optimizer.param_groups[0]["lr"] = config.learning_rate * (1 - done / steps)
                goal = labels[:, rows]
                logits = scores(inputs[rows], probe).flatten(0, 1)
                loss = 2 * F.cross_entropy(logits, goal.flatten())  # the sum of the conditions' means
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                done += 1
    return {name: tensor.detach() / (1 if name == "bias" else scale) for name, tensor in probe.items()}


def shuffle(labels: np.ndarray, seed: int) -> np.ndarray:
    """The labels in an order that says as good as nothing about the true ones: int64 ``(n,)``.

    Within each true class the labels are as frequent as over all (to within a few). A plain permutation leaves chance
    correlations, and a strong direction in the states turns these into a control above or below chance.
    """
    rows = np.lexsort([np.random.default_rng(seed).random(len(labels)), labels])
    spread = np.argsort(np.argsort(np.arange(len(labels)) * 0.6180339887498949 % 1))  # golden ratio: even everywhere
    shuffled = np.empty_like(labels)
    shuffled[rows] = labels[rows][spread]
    return shuffled
