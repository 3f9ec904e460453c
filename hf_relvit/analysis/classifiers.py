"""Linear and quadratic classifiers of many inputs, beside one of shuffled labels.

Symbols: x ``(n, features)``; W ``(classes, features)``; b ``(classes,)``; of the quadratic form y and z, the halves
of x, and S of rank 2r. Everything has the two conditions "trained" and "shuffled" first.

1. Logits are ``Wx + b``; the quadratic form adds ``y'Sz`` to that of class 1, "same".
2. W and b start at 0, S at random; AdamW on the cross-entropy of both conditions at once.
3. The learning rate falls to 0, or stays as in the official code.
4. ``shuffle`` deals the labels of the control so that they say nothing about the true ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from jaxtyping import Float, Int, Integer

    from .probes import ProbeConfig

GOLDEN = 0.6180339887498949
"""The golden ratio: its multiples, less their whole parts, are even everywhere."""


def fit(
    inputs: Float[torch.Tensor, "n features"],
    labels: Int[torch.Tensor, "2 n"],
    classes: int,
    config: ProbeConfig,
) -> dict[str, Float[torch.Tensor, "2 ..."]]:
    """Both conditions at once. Labels ``(2, n)``; each tensor of the result has the conditions first."""
    generator = torch.Generator().manual_seed(config.seed)
    device = inputs.device
    labels = labels.to(device)
    n, width = inputs.shape
    scale = torch.ones((), device=device)
    probe = {
        "weight": torch.zeros(2, classes, width, device=device),
        "bias": torch.zeros(2, classes, device=device),
    }
    if config.form == "quadratic":
        start = _first_form(width // 2, config.rank, generator)
        probe["form"] = start.to(device)
        scale = inputs.square().mean().sqrt()  # a form grows with the square of its inputs
        inputs = inputs / scale
    parameters = [tensor.requires_grad_() for tensor in probe.values()]
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate)
    batches = -(-n // config.batch_size)
    steps = config.epochs * batches
    for step, rows in enumerate(_batches(n, config, generator, device)):
        if config.compat == "corrected":
            left = 1 - step / steps
            optimizer.param_groups[0]["lr"] = config.learning_rate * left
        with torch.enable_grad():
            logits = scores(inputs[rows], probe)
            truth = labels[:, rows]
            mean = F.cross_entropy(logits.flatten(0, 1), truth.flatten())
            loss = 2 * mean  # the sum of the conditions' means
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
    fitted = {name: tensor.detach() / scale for name, tensor in probe.items()}
    fitted["bias"] = probe["bias"].detach()
    return fitted


def scores(
    inputs: Float[torch.Tensor, "n features"],
    probe: dict[str, Float[torch.Tensor, " ..."]],
) -> Float[torch.Tensor, "conditions n classes"]:
    """Logits of each condition that the probe has, ``(conditions, n, classes)``."""
    products = torch.einsum("ni,sci->snc", inputs, probe["weight"])
    bias = probe["bias"]
    logits = products + bias[:, None]
    if "form" in probe:
        halves = inputs.unflatten(1, (2, -1))
        y, z = torch.einsum("nhi,sri->hsnr", halves, probe["form"])
        products = y * z
        plus, minus = products.chunk(2, -1)
        form = plus.sum(-1) - minus.sum(-1)
        for_same = F.pad(form[..., None], (1, 0))  # class 1
        logits = logits + for_same
    return logits


def _first_form(
    width: int,
    rank: int,
    generator: torch.Generator,
) -> torch.Tensor:
    """Where the form starts, both conditions alike: float32 ``(2, 2 * rank, width)``."""
    drawn = torch.randn(2 * rank, width, generator=generator)
    start = drawn / width**0.5 / (2 * rank) ** 0.25
    return start.expand(2, -1, -1).clone()


def _batches(
    n: int,
    config: ProbeConfig,
    generator: torch.Generator,
    device: torch.device,
) -> Iterator[torch.Tensor]:
    for _ in range(config.epochs):
        order = torch.randperm(n, generator=generator).to(device)
        yield from order.split(config.batch_size)


def shuffle(
    labels: Integer[np.ndarray, " n"],
    seed: int,
) -> Integer[np.ndarray, " n"]:
    """The labels in an order that says as good as nothing about the true ones: int64 ``(n,)``.

    Within each true class the labels are as frequent as over all (to within a few). A plain permutation leaves chance
    correlations, and a strong direction in the states turns these into a control above or below chance.
    """
    n = len(labels)
    ties = np.random.default_rng(seed).random(n)
    rows = np.lexsort([ties, labels])
    even = np.arange(n) * GOLDEN % 1
    order = np.argsort(even)
    spread = np.argsort(order)
    by_class = labels[rows]
    shuffled = np.empty_like(labels)
    shuffled[rows] = by_class[spread]
    return shuffled
