"""Readable properties, layer by layer: linear and quadratic probes with shuffled-label controls (paper, Fig. 5).

1. Draw scenes to fit on and others to test on, and capture the states of their object tokens at all layers in one
   pass: ``h (n, k objects * p tokens, hidden)``.
2. A *unit* gets one label: a pair (its 2p tokens; same?), an object (its p tokens; which shape?), or two
   tokens (of one object?). Its input ``x`` is the concatenation of its tokens.
3. Per layer fit ``Wx + b`` (linear), or with ``x'Sy`` added to the logit of "same" (quadratic, S of rank 2r), by
   cross-entropy; at the same time a control with the same inputs and shuffled labels.
4. Test both on the other scenes. The floor is the accuracy of always naming the commonest training label.

The optimizer is the paper's: AdamW, learning rate 1e-2, batches of 64, 10 epochs, for 4,000 scenes. Ours are the fall
of the learning rate to 0 and the start of linear probes at 0, so that nothing random remains in directions to steer
by. Chosen by measurement, on the quick model with 4,000 scenes (judgement, layers 1 to 5): constant rate .65 .91 .95
.95 .96, falling rate .75 .96 .97 .96 .97, both in 0.15 s per layer; scikit-learn's logistic regression reaches .76
.96 .96 .96 .97 with half the scenes, in 7 to 17 s per layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from ..errors import RelViTError
from ..modeling.checkpoints import Checkpoint
from ..progress import progress_bar
from ..provenance import provenance
from ..statistics import wilson
from ..stimuli.distribution import SceneDistribution
from ..stimuli.scenes import SceneTable
from ..stimuli.splits import SPLITS, Split
from ..tables import select
from .activations import ObjectStates, SceneCaptures, capture_object_states
from .alignment import fingerprint
from .choices import Compat, check_choices, check_counts
from .result import Contents, TableResult

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Int, Integer, Shaped
    from matplotlib.figure import Figure

Target = Literal["judgement", "shape", "color", "object", "same_object"]
Form = Literal["linear", "quadratic"]
CONDITIONS = ("trained", "shuffled")
COLUMNS = [
    "layer",
    "target",
    "form",
    "condition",
    "accuracy",
    "n",
    "ci_low",
    "ci_high",
    "train_accuracy",
    "floor",
]


@dataclass(frozen=True)
class ProbeConfig:
    """Target, layers and settings of a probe.

    Raises:
        RelViTError: a value that is not among the choices.
    """

    target: Target = "judgement"
    """"judgement": is this pair the same, or what else the task asks of a pair? Read from all tokens of the pair;
    sample and display pairs of RMTS pooled (paper). "shape", "color", "object" (shape and color together): of each
    object. "same_object": do two tokens of a scene belong to one object? (After Li et al. 2025, arXiv 2510.24709.
    Tokens of one object are neighbors, so read it against the first layers, where positions are all there is.)"""
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
    train_scenes: int = 4000
    """Scenes to fit on (the paper's number)."""
    scenes: int = 1000
    """Scenes to test on."""
    split: Split = "test"
    """Of the scenes to test on."""
    layers: tuple[int, ...] | None = None
    """Blocks that are read; all by default."""

    def __post_init__(self):
        check_choices(self)
        if self.form == "quadratic" and self.target not in ("judgement", "same_object"):
            raise RelViTError(
                f"a quadratic probe compares two things, {self.target!r} is of one: use form 'linear'"
            )
        check_counts(self)
        if not 0 < self.learning_rate < float("inf"):
            raise RelViTError(
                f"learning_rate {self.learning_rate}: expected a finite number above 0"
            )


@dataclass(frozen=True, eq=False)
class Probes(TableResult):
    """A probe and its control for each layer.

    Attributes:
        frame: one row per layer and condition ("trained"; "shuffled": fitted to shuffled labels): ``layer, target,
            form, condition, accuracy`` (on the test scenes)``, n, ci_low, ci_high`` (Wilson, 95 %, where all that one
            scene shows counts as one: never too narrow), ``train_accuracy`` (on the labels it was fitted to) and
            ``floor`` (always saying the commonest class).
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

    def directions(
        self, layer: int, condition: str = "trained"
    ) -> Float[torch.Tensor, "classes tokens hidden"]:
        """Weight rows of a linear probe, one per class, token by token: float32 ``(classes, tokens, hidden)``.

        Raises:
            RelViTError: quadratic probes, or none at this layer.
        """
        key = f"{layer}.{condition}.weight"
        form = self.facts["config"]["form"]
        if form != "linear" or key not in self.weights:
            raise RelViTError(
                f"no linear probe of layer {layer}: these are {form} ones of layers {self.layers}; fit that one"
            )
        by_token = (self.facts["tokens"], self.facts["hidden_size"])
        return self.weights[key].unflatten(1, by_token)

    def pushes(
        self,
        layer: int,
    ) -> dict[str, Float[torch.Tensor, "2 tokens hidden"]]:
        """Vectors that each condition of steering adds, by relation: float32 ``(2, tokens, hidden)`` each.

        "flip" and "agree" are the trained rows; "shuffled" the control's, lengthened to the same norm.
        """
        trained = self.directions(layer)
        shuffled = self.directions(layer, "shuffled")
        norms = shuffled.flatten(1).norm(dim=1).clamp_min(1e-12)
        longer = trained.flatten(1).norm(dim=1) / norms
        lengthened = shuffled * longer[:, None, None]
        return {"flip": trained, "agree": trained, "shuffled": lengthened}

    def at(self, layer: int) -> Probes:
        """The probes of one layer alone."""
        frame = select(self.frame, layer=layer)
        names = [name for name in self.weights if name.startswith(f"{layer}.")]
        return replace(self, frame=frame, weights={name: self.weights[name] for name in names})

    def rounded(self, checkpoint: Checkpoint) -> Probes:
        """The same probes in bfloat16, of a model whose own weights were rounded."""
        weights = {name: tensor.bfloat16().float() for name, tensor in self.weights.items()}
        found = {str(layer): fingerprint(checkpoint.blocks[layer]) for layer in self.layers}
        return replace(self, weights=weights, facts={**self.facts, "blocks": found})

    def figure(self) -> Figure:
        """Accuracy by layer, with control and floor."""
        from ..figures.causal import probe_figure

        frame = self.frame
        if "task" in self.facts:
            frame = frame.assign(task=self.facts["task"])
        return probe_figure(frame)

    def contents(self) -> Contents:
        return Contents(self.facts, {self.STEM: self.frame}, self.weights)

    @classmethod
    def restore(cls, contents: Contents) -> Probes:
        return cls(contents.tables[cls.STEM], contents.tensors, contents.values)


def probe(
    checkpoint: Checkpoint,
    distribution: SceneDistribution,
    config: ProbeConfig | None = None,
    *,
    captures: SceneCaptures | None = None,
    progress: bool = False,
) -> Probes:
    """Draw scenes, read their states and fit probes; see the head of this module.

    Args:
        checkpoint: a classifier of any supported family, with its processor; it does not learn.
        distribution: of the scenes; usually ``checkpoint.distribution()``.
        config: see ProbeConfig.
        captures: of the same checkpoint and distribution, where several calls share them.
        progress: show bars.

    Raises:
        RelViTError: as ``fit_probes``; a split that does not exist, numbers of scenes that cannot be balanced.
    """
    config = config or ProbeConfig()
    if captures is None:
        captures = SceneCaptures(
            checkpoint,
            distribution,
            config.layers,
            compat=config.compat,
            cache_gb=config.cache_gb / 2,
            progress=progress,
        )
    train = captures.get("train", config.train_scenes)
    test = captures.get(config.split, config.scenes)
    return fit_probes(checkpoint, train, test, config, progress=progress)


def fit_probes(
    checkpoint: Checkpoint,
    train: SceneTable | ObjectStates,
    test: SceneTable | ObjectStates,
    config: ProbeConfig | None = None,
    *,
    progress: bool = False,
) -> Probes:
    """Fit a probe and its shuffled-label control on each layer's output, and test both on other scenes.

    Args:
        checkpoint: a classifier of any supported family, with its processor; it does not learn.
        train, test: scenes of the model's geometry and of one task; or their ``capture_object_states``, which spare a
            pass for each further target. Their numbers and the test split are those of the facts, not the config's.
        config: see ProbeConfig. The probe of layer L reads ``Site("resid_post", L)``.
        progress: show bars.

    Raises:
        RelViTError: training labels of one class only, tasks or ``compat`` that differ, scenes of another geometry, a
            layer that the model does not have, "same_object" with objects of one token.
    """
    config = config or ProbeConfig()
    train_scenes = _scenes(train)
    test_scenes = _scenes(test)
    if train_scenes.task != test_scenes.task:
        raise RelViTError(
            f"training scenes of {train_scenes.task}, test scenes of {test_scenes.task}: take both from one task"
        )
    train_units = units(train_scenes, config)
    test_units = units(test_scenes, config)
    goals = _Goals.of(train_units.labels, test_units.labels, config)
    train_states = _states(checkpoint, train, config, progress)
    test_states = _states(checkpoint, test, config, progress)
    layers = sorted(train_states) if config.layers is None else list(config.layers)
    title = f"{config.form} probes: {config.target}"
    rows: list[dict[str, Any]] = []
    weights: dict[str, torch.Tensor] = {}
    for layer in progress_bar(layers, desc=title, disable=not progress, leave=False):
        train_inputs = unit_inputs(train_states[layer], train_units.positions)
        test_inputs = unit_inputs(test_states[layer], test_units.positions)
        labels = torch.from_numpy(goals.train)
        fitted = fit(train_inputs, labels, len(goals.classes), config)
        train_right = _right(train_inputs, fitted, goals.train)
        test_right = _right(test_inputs, fitted, goals.test)
        rows += _rows(layer, train_right, test_right, goals, len(test_scenes), config)
        for number, condition in enumerate(CONDITIONS):
            for name, value in fitted.items():
                weights[f"{layer}.{condition}.{name}"] = value[number].cpu().clone()
    used = replace(
        config,
        train_scenes=len(train_scenes),
        scenes=len(test_scenes),
        split=test_scenes.split,
    )
    facts = {
        "config": {**asdict(used), "layers": layers},
        "classes": goals.classes.tolist(),
        "tokens": train_units.positions.shape[2],
        "hidden_size": train_states[layers[0]].shape[-1],
        "blocks": {str(layer): fingerprint(checkpoint.blocks[layer]) for layer in layers},
        "processor": checkpoint.processor.fingerprint,
        **_scene_facts(train_scenes, test_scenes, config.seed),
    }
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return Probes(frame, weights, facts)


class _Goals(NamedTuple):
    """The answers that both conditions aim at.

    Attributes:
        classes: the training labels, sorted.
        train, test: numbers of classes, int64 ``(2 conditions, n)``; -1 for a class that training never showed.
        floor: accuracy on the test of always naming the commonest training label.
    """

    classes: np.ndarray
    train: np.ndarray
    test: np.ndarray
    floor: float

    @classmethod
    def of(
        cls,
        train: np.ndarray,
        test: np.ndarray,
        config: ProbeConfig,
    ) -> _Goals:
        classes, fitted = np.unique(train.reshape(-1), return_inverse=True)
        if len(classes) < 2:
            raise RelViTError(
                f"{len(classes)} class among the training labels of {config.target!r}: a probe needs two; "
                "add other scenes"
            )
        truth = _class_numbers(test.reshape(-1), classes)
        shuffled = shuffle(fitted, config.seed)
        commonest = np.bincount(fitted).argmax()
        floor = float((truth == commonest).mean())
        train_goals = np.stack([fitted, shuffled])
        test_goals = np.stack([truth, truth])
        return cls(classes, train_goals, test_goals, floor)


def _scenes(part: SceneTable | ObjectStates) -> SceneTable:
    return part if isinstance(part, SceneTable) else part.scenes


def _scene_facts(
    train: SceneTable,
    test: SceneTable,
    seed: int,
) -> dict[str, Any]:
    """Which scenes were looked at."""
    return {
        "task": train.task,
        "geometry": train.geometry.name,
        "n_train": len(train),
        "splits": [train.split, test.split],
        "provenance": provenance(seed=seed, data_seeds=[train.seed, test.seed]),
    }


def _rows(
    layer: int,
    train_right: np.ndarray,
    test_right: np.ndarray,
    goals: _Goals,
    scenes: int,
    config: ProbeConfig,
) -> list[dict[str, Any]]:
    """The rows of one layer, a condition each; see ``Probes.frame``."""
    rows = []
    for condition, fitted, right in zip(CONDITIONS, train_right, test_right):
        row = {
            "layer": layer,
            "condition": condition,
            **_accuracy(right, scenes),
            "train_accuracy": fitted.mean(),
            "target": config.target,
            "form": config.form,
            "n": len(right),
            "floor": goals.floor,
        }
        rows.append(row)
    return rows


def _states(
    checkpoint: Checkpoint, part: SceneTable | ObjectStates, config: ProbeConfig, progress: bool
) -> dict[int, torch.Tensor]:
    """Object tokens by layer, ``(n, k * p, hidden)``."""
    if isinstance(part, SceneTable):
        part = capture_object_states(
            checkpoint,
            part,
            config.layers,
            compat=config.compat,
            cache_gb=config.cache_gb,
            progress=progress,
        )
    if part.compat != config.compat:
        raise RelViTError(
            f"{part.compat} states for compat {config.compat!r}: read them with that compat"
        )
    return part.states


def _class_numbers(
    labels: np.ndarray,
    classes: np.ndarray,
) -> np.ndarray:
    """The place of each label among the sorted classes; -1 for one that training never showed."""
    known = np.isin(labels, classes)
    places = np.searchsorted(classes, labels)
    return np.where(known, places, -1)


def _right(
    inputs: torch.Tensor,
    fitted: dict[str, torch.Tensor],
    goals: np.ndarray,
) -> np.ndarray:
    """Which answers are right, by condition, bool ``(2, n)``."""
    answers = scores(inputs, fitted).argmax(-1)
    return answers.cpu().numpy() == goals


def _accuracy(
    right: np.ndarray,
    scenes: int,
) -> dict[str, float]:
    """With an interval in which all that one scene shows counts as one: never too narrow."""
    accuracy = right.mean()
    low, high = wilson(accuracy * scenes, scenes)
    return {"accuracy": accuracy, "ci_low": float(low), "ci_high": float(high)}


class Units(NamedTuple):
    """The units of each scene that are judged.

    Attributes:
        positions: among the scene's object tokens, int64 ``(n, units, tokens)``.
        labels: int64 ``(n, units)``.
    """

    positions: np.ndarray
    labels: np.ndarray


def units(scenes: SceneTable, config: ProbeConfig) -> Units:
    """Units of each scene that a probe of ``config.target`` judges."""
    n, objects = scenes.shape.shape
    tokens = scenes.geometry.object_patches**2
    positions = np.arange(objects * tokens)
    if config.target == "judgement":
        of_pairs = positions.reshape(1, -1, 2 * tokens)
        relation = scenes.judged.astype(np.int64)
        return Units(np.tile(of_pairs, (n, 1, 1)), relation)
    if config.target == "same_object":
        return _token_pairs(scenes, config.seed)
    labels = _properties(scenes)[config.target]
    if config.unit == "token":
        alone = positions.reshape(1, -1, 1)
        of_tokens = labels.repeat(tokens, axis=1)
        return Units(np.tile(alone, (n, 1, 1)), of_tokens)
    of_objects = positions.reshape(1, -1, tokens)
    return Units(np.tile(of_objects, (n, 1, 1)), labels)


def _token_pairs(scenes: SceneTable, seed: int) -> Units:
    """Of each pair of objects: two tokens of the first, two of the second, and twice one of each."""
    tokens = scenes.geometry.object_patches**2
    if tokens == 1:
        raise RelViTError(
            f"objects of geometry {scenes.geometry.name!r} are one token each: 'same_object' needs two, "
            "use a geometry with smaller patches, such as b16"
        )
    n, objects = scenes.shape.shape
    pairs = objects // 2
    split = SPLITS.index(scenes.split)
    rng = np.random.default_rng([seed, scenes.seed, split])
    drawn = rng.random((n, pairs, 4, tokens))
    order = np.argsort(drawn, axis=-1)
    two = order[..., :2]
    in_pair = np.array([[0, 0], [1, 1], [0, 1], [1, 0]])
    first = 2 * np.arange(pairs)[:, None, None]
    positions = (in_pair + first) * tokens + two
    of_one_object = np.tile([1, 1, 0, 0], (n, pairs))
    return Units(positions.reshape(n, -1, 2), of_one_object)


def _properties(scenes: SceneTable) -> dict[str, np.ndarray]:
    """Labels of the objects by target, int64 ``(n, k)``."""
    shape = scenes.shape.astype(np.int64)
    color = scenes.color.astype(np.int64)
    colors = 1 + int(np.iinfo(np.int16).max)
    return {"shape": shape, "color": color, "object": shape * colors + color}


def unit_inputs(
    states: Shaped[torch.Tensor, "scenes tokens hidden"],
    positions: Int[np.ndarray, "scenes units positions"],
) -> Float32[torch.Tensor, "inputs features"]:
    """``(n * units, tokens * hidden)`` float32."""
    n, count, _ = positions.shape
    rows = torch.from_numpy(positions).reshape(n, -1, 1)
    whole_rows = rows.expand(-1, -1, states.shape[-1])
    chosen = states.gather(1, whole_rows.to(states.device))
    return chosen.float().reshape(n * count, -1)


def scores(
    inputs: Float[torch.Tensor, "n features"],
    probe: dict[str, Float[torch.Tensor, " ..."]],
) -> Float[torch.Tensor, "2 n classes"]:
    """Logits of both conditions, ``(2, n, classes)``."""
    products = torch.einsum("ni,sci->snc", inputs, probe["weight"])
    logits = products + probe["bias"][:, None]
    if "form" in probe:
        things = inputs.unflatten(1, (2, -1))
        x, y = torch.einsum("nhi,sri->hsnr", things, probe["form"])
        plus, minus = (x * y).chunk(2, -1)
        form = plus.sum(-1) - minus.sum(-1)
        for_same = F.pad(form[..., None], (1, 0))  # class 1
        logits = logits + for_same
    return logits


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
    scale = torch.ones((), device=device)
    probe = {
        "weight": torch.zeros(2, classes, inputs.shape[1], device=device),
        "bias": torch.zeros(2, classes, device=device),
    }
    if config.form == "quadratic":
        width = inputs.shape[1] // 2
        start = _first_form(width, config.rank, generator)
        probe["form"] = start.to(device)
        scale = inputs.square().mean().sqrt()  # a form grows with the square of its inputs
        inputs = inputs / scale
    parameters = [tensor.requires_grad_() for tensor in probe.values()]
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate)
    batches = -(-len(inputs) // config.batch_size)
    steps = config.epochs * batches
    shuffled = _batches(len(inputs), config, generator, device)
    for step, rows in enumerate(shuffled):
        if config.compat == "corrected":
            left = 1 - step / steps
            optimizer.param_groups[0]["lr"] = config.learning_rate * left
        with torch.enable_grad():
            logits = scores(inputs[rows], probe).flatten(0, 1)
            truth = labels[:, rows].flatten()
            mean = F.cross_entropy(logits, truth)
            loss = 2 * mean  # the sum of the conditions' means
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
    fitted = {name: tensor.detach() / scale for name, tensor in probe.items()}
    fitted["bias"] = probe["bias"].detach()
    return fitted


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
    ties = np.random.default_rng(seed).random(len(labels))
    rows = np.lexsort([ties, labels])
    even = np.arange(len(labels)) * 0.6180339887498949 % 1  # golden ratio: even everywhere
    spread = np.argsort(np.argsort(even))
    shuffled = np.empty_like(labels)
    shuffled[rows] = labels[rows][spread]
    return shuffled
