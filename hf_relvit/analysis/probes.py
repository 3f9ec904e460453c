"""What can be read, layer by layer: linear and quadratic probes with shuffled-label controls (paper, Fig. 5)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F
from tqdm.auto import tqdm

from ..errors import RelViTError
from ..modeling.checkpoints import Checkpoint
from ..provenance import provenance
from ..statistics import wilson
from ..stimuli.scenes import SceneTable
from ..stimuli.splits import SPLITS
from .activations import ObjectStates, object_states
from .alignment import fingerprint
from .choices import Compat, check_choices
from .result import Contents, TableResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Target = Literal["judgement", "shape", "color", "object", "same_object"]
Form = Literal["linear", "quadratic"]
CONDITIONS = ("trained", "shuffled")


@dataclass(frozen=True)
class ProbeConfig:
    """What is probed and how.

    Raises:
        RelViTError: a value that is not among the choices.
    """

    target: Target = "judgement"
    """"judgement": is this pair the same? Read from all tokens of the pair; sample and display pairs of RMTS pooled
    (paper). "shape", "color", "object" (shape and color together): of each object. "same_object": do two tokens of a
    scene belong to one object? (After Li et al. 2025, arXiv 2510.24709. Tokens of one object are neighbors, so read
    it against the first layers, where positions are all there is.)"""
    form: Form = "linear"
    """"linear" in the tokens; or "quadratic", a form x'Sy of the two things to compare, for judgement (the pair's
    objects) and same_object (the two tokens)."""
    unit: Literal["object", "token"] = "object"
    """For shape, color and object: read from all tokens of an "object" at once, or from each "token" alone."""
    compat: Compat = "corrected"
    """"official": the probe named L reads the input of block L (and steering still writes to its output), and the
    learning rate is constant, as in the official code."""
    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 1e-2
    rank: int = 32
    """Of the quadratic form: S has as many positive as negative directions, this many of each."""
    seed: int = 0
    cache_gb: float = 4.0
    """Memory for activations; the rest is on disk. Does not change the result."""

    def __post_init__(self):
        check_choices(self)
        if self.form == "quadratic" and self.target not in ("judgement", "same_object"):
            raise RelViTError(
                f"a quadratic probe compares two things, {self.target!r} is of one: use form 'linear'"
            )
        for name in ("epochs", "batch_size", "learning_rate", "rank"):
            if getattr(self, name) <= 0:
                raise RelViTError(f"{name} {getattr(self, name)}: expected a positive number")


@dataclass(frozen=True, eq=False)
class Probes(TableResult):
    """A probe and its control for each layer.

    Attributes:
        frame: a row a layer and condition ("trained"; "shuffled": fitted to shuffled labels): ``layer, target, form,
            condition, accuracy`` (on the test scenes)``, n, ci_low, ci_high`` (Wilson, 95 %, where all that one scene
            shows counts as one: never too narrow), ``train_accuracy`` (on the labels it was fitted to) and ``floor``
            (always saying the commonest class).
        weights: ``"{layer}.{condition}.weight"`` float32 ``(classes, inputs)`` and ``.bias (classes,)``; of quadratic
            probes also ``.form (2 * rank, inputs / 2)``, S's positive directions first.
        facts: config, classes, tokens and hidden size, task, fingerprints of the processor and the blocks, provenance.
    """

    TITLE: ClassVar[str] = "probes"
    STEM: ClassVar[str] = "probes"
    TABLES: ClassVar[tuple[str, ...]] = ("probes",)
    TENSORS: ClassVar[bool] = True
    EXAMPLE: ClassVar[str] = "probes/judgement"

    frame: pd.DataFrame
    weights: dict[str, torch.Tensor]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def layers(self) -> list[int]:
        return sorted(self.frame["layer"].unique().tolist())

    def directions(self, layer: int, condition: str = "trained") -> torch.Tensor:
        """Weight rows of a linear probe, one a class, token by token: float32 ``(classes, tokens, hidden)``.

        Raises:
            RelViTError: quadratic probes, or none at this layer.
        """
        key, form = f"{layer}.{condition}.weight", self.facts["config"]["form"]
        if form != "linear" or key not in self.weights:
            raise RelViTError(
                f"no linear probe of layer {layer}: these are {form} ones of layers {self.layers}; fit that one"
            )
        return self.weights[key].unflatten(1, (self.facts["tokens"], self.facts["hidden_size"]))

    def pushes(self, layer: int) -> dict[str, torch.Tensor]:
        """What each condition of steering adds, by relation: float32 ``(2, tokens, hidden)`` each.

        "flip" and "agree" are the trained rows; "shuffled" the control's, lengthened to the same norm.
        """
        trained = self.directions(layer)
        shuffled = self.directions(layer, "shuffled")
        norms = shuffled.flatten(1).norm(dim=1).clamp_min(1e-12)
        longer = trained.flatten(1).norm(dim=1) / norms
        return {"flip": trained, "agree": trained, "shuffled": shuffled * longer[:, None, None]}

    def figure(self) -> Figure:
        """Accuracy by layer, with control and floor."""
        from ..figures.causal import probe_figure

        return probe_figure(self.frame)

    def contents(self) -> Contents:
        return Contents(self.facts, {self.STEM: self.frame}, self.weights)

    @classmethod
    def restore(cls, contents: Contents) -> Probes:
        return cls(contents.tables[cls.STEM], contents.tensors, contents.values)


def fit_probes(
    checkpoint: Checkpoint,
    train: SceneTable | ObjectStates,
    test: SceneTable | ObjectStates,
    config: ProbeConfig | None = None,
    *,
    layers: list[int] | None = None,
    progress: bool = False,
) -> Probes:
    """Fit a probe and its shuffled-label control on each layer's output, and test both on other scenes.

    The optimizer is the paper's: AdamW, learning rate 1e-2, batches of 64, 10 epochs, for 4,000 scenes. Ours are the
    fall of the learning rate to 0 and the start of linear probes at 0, so that nothing random remains in directions
    to steer by. Chosen by measurement, on the quick model with 4,000 scenes (judgement, layers 1 to 5): constant rate
    .65 .91 .95 .95 .96, falling rate .75 .96 .97 .96 .97, both in 0.15 s a layer; scikit-learn's logistic regression
    reaches .76 .96 .96 .96 .97 with half the scenes, in 7 to 17 s a layer.

    Args:
        checkpoint: a classifier of any supported family, with its processor; it does not learn.
        train, test: scenes of the model's geometry and of one task; or their ``object_states``, which spare a pass
            for each further target.
        config: see ProbeConfig.
        layers: which; all by default. The probe of layer L reads ``Site("resid_post", L)``.
        progress: show bars.

    Raises:
        RelViTError: training labels of one class only, tasks or ``compat`` that differ, scenes of another geometry, a
            layer that the model does not have, "same_object" with objects of one token.
    """
    config = config or ProbeConfig()
    given = {"train": train, "test": test}
    scenes = {
        name: part if isinstance(part, SceneTable) else part.scenes for name, part in given.items()
    }
    if scenes["train"].task != scenes["test"].task:
        raise RelViTError(
            f"training scenes of {scenes['train'].task}, test scenes of {scenes['test'].task}: take both from one task"
        )
    index, label = {}, {}
    for name in given:
        index[name], label[name] = units(scenes[name], config)
    classes, fitted = np.unique(label["train"].reshape(-1), return_inverse=True)
    if len(classes) < 2:
        raise RelViTError(
            f"{len(classes)} class among the training labels of {config.target!r}: a probe needs two; add other scenes"
        )
    states = {}
    for name, part in given.items():
        if isinstance(part, SceneTable):
            options: dict[str, Any] = {"cache_gb": config.cache_gb, "progress": progress}
            part = object_states(checkpoint, part, layers, compat=config.compat, **options)
        if part.compat != config.compat:
            raise RelViTError(
                f"{part.compat} states for compat {config.compat!r}: read them with that compat"
            )
        states[name] = part.states
    truth = np.where(
        np.isin(label["test"], classes), np.searchsorted(classes, label["test"]), -1
    ).reshape(-1)
    goals = {
        "train": np.stack([fitted, shuffle(fitted, config.seed)]),
        "test": np.stack([truth, truth]),
    }
    floor = float((truth == np.bincount(fitted).argmax()).mean())

    rows, weights = [], {}
    layers = sorted(states["train"]) if layers is None else layers
    for layer in tqdm(
        layers, desc=f"{config.form} probes: {config.target}", disable=not progress, leave=False
    ):
        inputs = {name: unit_inputs(states[name][layer], index[name]) for name in given}
        probe = fit(inputs["train"], torch.from_numpy(goals["train"]), len(classes), config)
        correct = {
            name: scores(inputs[name], probe).argmax(-1).cpu().numpy() == goals[name]
            for name in given
        }
        for i, condition in enumerate(CONDITIONS):
            accuracy, n = correct["test"][i].mean(), len(scenes["test"])
            low, high = wilson(accuracy * n, n)
            rows.append(
                {
                    "layer": layer,
                    "target": config.target,
                    "form": config.form,
                    "condition": condition,
                    "accuracy": accuracy,
                    "n": len(truth),
                    "ci_low": float(low),
                    "ci_high": float(high),
                    "train_accuracy": correct["train"][i].mean(),
                    "floor": floor,
                }
            )
            weights |= {
                f"{layer}.{condition}.{name}": value[i].cpu().clone()
                for name, value in probe.items()
            }
    parts = checkpoint.blocks
    facts = {
        "config": asdict(config),
        "classes": classes.tolist(),
        "tokens": index["train"].shape[2],
        "hidden_size": states["train"][layers[0]].shape[-1],
        "task": scenes["train"].task,
        "geometry": scenes["train"].geometry.name,
        "n_train": len(scenes["train"]),
        "splits": [part.split for part in scenes.values()],
        "blocks": {str(layer): fingerprint(parts[layer]) for layer in layers},
        "processor": checkpoint.processor.fingerprint,
        "provenance": provenance(
            seed=config.seed, data_seeds=[part.seed for part in scenes.values()]
        ),
    }
    return Probes(pd.DataFrame(rows), weights, facts)


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
    flat = (
        torch.from_numpy(index).reshape(n, -1, 1).expand(-1, -1, states.shape[-1]).to(states.device)
    )
    return states.gather(1, flat).float().reshape(n * count, -1)


def scores(inputs: torch.Tensor, probe: dict[str, torch.Tensor]) -> torch.Tensor:
    """Logits of both conditions, ``(2, n, classes)``."""
    logits = torch.einsum("ni,sci->snc", inputs, probe["weight"]) + probe["bias"][:, None]
    if "form" in probe:
        x, y = torch.einsum("nhi,sri->hsnr", inputs.unflatten(1, (2, -1)), probe["form"])
        plus, minus = (x * y).chunk(2, -1)
        logits = logits + F.pad(
            (plus.sum(-1) - minus.sum(-1))[..., None], (1, 0)
        )  # speaks for class 1, "same"
    return logits


def fit(
    inputs: torch.Tensor, labels: torch.Tensor, classes: int, config: ProbeConfig
) -> dict[str, torch.Tensor]:
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
        start = (
            torch.randn(2 * config.rank, half, generator=generator)
            / half**0.5
            / (2 * config.rank) ** 0.25
        )
        probe["form"] = start.expand(2, -1, -1).clone().to(device)
        scale = inputs.square().mean().sqrt()  # a form grows with the square of its inputs
        inputs = inputs / scale
    with torch.enable_grad():
        parameters = [tensor.requires_grad_() for tensor in probe.values()]
        optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate)
        steps = config.epochs * -(-len(inputs) // config.batch_size)
        done = 0
        for _ in range(config.epochs):
            for rows in (
                torch.randperm(len(inputs), generator=generator).to(device).split(config.batch_size)
            ):
                if config.compat == "corrected":
                    optimizer.param_groups[0]["lr"] = config.learning_rate * (1 - done / steps)
                goal = labels[:, rows]
                logits = scores(inputs[rows], probe).flatten(0, 1)
                loss = 2 * F.cross_entropy(
                    logits, goal.flatten()
                )  # the sum of the conditions' means
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                done += 1
    return {
        name: tensor.detach() / (1 if name == "bias" else scale) for name, tensor in probe.items()
    }


def shuffle(labels: np.ndarray, seed: int) -> np.ndarray:
    """The labels in an order that says as good as nothing about the true ones: int64 ``(n,)``.

    Within each true class the labels are as frequent as over all (to within a few). A plain permutation leaves chance
    correlations, and a strong direction in the states turns these into a control above or below chance.
    """
    rows = np.lexsort([np.random.default_rng(seed).random(len(labels)), labels])
    spread = np.argsort(
        np.argsort(np.arange(len(labels)) * 0.6180339887498949 % 1)
    )  # golden ratio: even everywhere
    shuffled = np.empty_like(labels)
    shuffled[rows] = labels[rows][spread]
    return shuffled
