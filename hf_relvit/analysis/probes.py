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

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch

from ..errors import RelViTError
from ..modeling.checkpoints import Checkpoint
from ..progress import progress_bar
from ..provenance import provenance
from ..statistics import wilson
from ..stimuli.distribution import SceneDistribution
from ..stimuli.scenes import SceneTable
from ..stimuli.splits import Split
from ..tables import select
from .activations import ObjectStates, SceneCaptures, capture_object_states
from .alignment import fingerprint
from .choices import Compat, check_choices, check_counts
from .classifiers import fit, scores, shuffle
from .probe_units import Units, unit_inputs, units
from .result import Contents, TableResult

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
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

    def steering_vectors(
        self,
        layer: int,
    ) -> dict[str, Float[torch.Tensor, "2 tokens hidden"]]:
        """Vectors that each condition of steering adds, by relation: float32 ``(2, tokens, hidden)`` each.

        "flip" and "agree" are the trained rows; "shuffled" the control's, lengthened to the same norm.
        """
        trained = self.directions(layer)
        shuffled = self.directions(layer, "shuffled")
        norms = shuffled.flatten(1).norm(dim=1)
        goals = trained.flatten(1).norm(dim=1)
        longer = goals / norms.clamp_min(1e-12)
        lengthened = shuffled * longer[:, None, None]
        return {
            "flip": trained,
            "agree": trained,
            "shuffled": lengthened,
        }

    def right(
        self,
        read: ObjectStates,
        layer: int,
    ) -> Bool[np.ndarray, "scenes units"]:
        """Which units of other scenes the trained probe of a layer names rightly, bool ``(n, units)``.

        Args:
            read: states at that layer.
            layer: of a probe that was fitted.
        """
        config = ProbeConfig(**self.facts["config"])
        asked = units(read.scenes, config)
        inputs = unit_inputs(read.states[layer], asked.positions)
        prefix = f"{layer}.trained."
        fitted = {}
        for name, tensor in self.weights.items():
            if name.startswith(prefix):
                fitted[name.removeprefix(prefix)] = tensor[None].to(inputs.device)
        answers = scores(inputs, fitted)[0].argmax(-1)
        classes = np.array(self.facts["classes"])
        goals = _class_numbers(asked.labels, classes)
        named = answers.cpu().numpy()
        return named.reshape(goals.shape) == goals

    def at(self, layer: int) -> Probes:
        """The probes of one layer alone."""
        frame = select(self.frame, layer=layer)
        names = [name for name in self.weights if name.startswith(f"{layer}.")]
        weights = {name: self.weights[name] for name in names}
        return replace(self, frame=frame, weights=weights)

    def rounded(self, checkpoint: Checkpoint) -> Probes:
        """The same probes in bfloat16, of a model whose own weights were rounded."""
        weights = {name: tensor.bfloat16().float() for name, tensor in self.weights.items()}
        blocks = {str(layer): fingerprint(checkpoint.blocks[layer]) for layer in self.layers}
        facts = {**self.facts, "blocks": blocks}
        return replace(self, weights=weights, facts=facts)

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
    task = _Task.of(_scenes(train), _scenes(test), config)
    train_states = _states(checkpoint, train, config, progress)
    test_states = _states(checkpoint, test, config, progress)
    layers = sorted(train_states) if config.layers is None else list(config.layers)
    title = f"{config.form} probes: {config.target}"
    rows: list[dict[str, Any]] = []
    weights: dict[str, torch.Tensor] = {}
    for layer in progress_bar(layers, desc=title, disable=not progress, leave=False):
        fitted, right = task.fitted(train_states[layer], test_states[layer])
        rows += task.rows(layer, *right)
        for number, condition in enumerate(CONDITIONS):
            for name, value in fitted.items():
                weights[f"{layer}.{condition}.{name}"] = value[number].cpu().clone()
    facts = {
        **task.facts(layers),
        "hidden_size": train_states[layers[0]].shape[-1],
        "blocks": {str(layer): fingerprint(checkpoint.blocks[layer]) for layer in layers},
        "processor": checkpoint.processor.fingerprint,
        **_scene_facts(task.train_scenes, task.test_scenes, config.seed),
    }
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return Probes(frame, weights, facts)


@dataclass(frozen=True, eq=False)
class _Task:
    """Units and answers of training and test scenes, the same in all layers.

    Attributes:
        config: see ProbeConfig.
        train_scenes, test_scenes: whose states are read.
        train, test: their units, see ``probe_units``.
        goals: the answers.
    """

    config: ProbeConfig
    train_scenes: SceneTable
    test_scenes: SceneTable
    train: Units
    test: Units
    goals: _Goals

    @classmethod
    def of(
        cls,
        train_scenes: SceneTable,
        test_scenes: SceneTable,
        config: ProbeConfig,
    ) -> _Task:
        if train_scenes.task != test_scenes.task:
            raise RelViTError(
                f"training scenes of {train_scenes.task}, test scenes of {test_scenes.task}: take both from one task"
            )
        train = units(train_scenes, config)
        test = units(test_scenes, config)
        goals = _Goals.of(train.labels, test.labels, config)
        return cls(config, train_scenes, test_scenes, train, test, goals)

    def fitted(
        self,
        train_states: torch.Tensor,
        test_states: torch.Tensor,
    ) -> tuple[dict[str, torch.Tensor], tuple[np.ndarray, np.ndarray]]:
        """Both conditions of a layer's probe, and which training and test answers are right, bool ``(2, n)`` each."""
        goals = self.goals
        train_inputs = unit_inputs(train_states, self.train.positions)
        test_inputs = unit_inputs(test_states, self.test.positions)
        labels = torch.from_numpy(goals.train)
        fitted = fit(train_inputs, labels, len(goals.classes), self.config)
        train_right = _right(train_inputs, fitted, goals.train)
        test_right = _right(test_inputs, fitted, goals.test)
        return fitted, (train_right, test_right)

    def rows(
        self,
        layer: int,
        train_right: np.ndarray,
        test_right: np.ndarray,
    ) -> list[dict[str, Any]]:
        """The rows of one layer, a condition each; see ``Probes.frame``."""
        rows = []
        for condition, fitted, right in zip(CONDITIONS, train_right, test_right):
            row = {
                "layer": layer,
                "condition": condition,
                **_accuracy(right, len(self.test_scenes)),
                "train_accuracy": fitted.mean(),
                "target": self.config.target,
                "form": self.config.form,
                "n": len(right),
                "floor": self.goals.floor,
            }
            rows.append(row)
        return rows

    def facts(self, layers: list[int]) -> dict[str, Any]:
        """Settings and classes."""
        used = replace(
            self.config,
            train_scenes=len(self.train_scenes),
            scenes=len(self.test_scenes),
            split=self.test_scenes.split,
        )
        return {
            "config": {**asdict(used), "layers": layers},
            "classes": self.goals.classes.tolist(),
            "tokens": self.train.positions.shape[2],
        }


def _scene_facts(
    train: SceneTable,
    test: SceneTable,
    seed: int,
) -> dict[str, Any]:
    """Which scenes were looked at."""
    return {
        "task": train.task,
        "geometry": train.name,
        "n_train": len(train),
        "splits": [train.split, test.split],
        "provenance": provenance(seed=seed, data_seeds=[train.seed, test.seed]),
    }


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
        guessed = truth == commonest
        train_goals = np.stack([fitted, shuffled])
        test_goals = np.stack([truth, truth])
        return cls(classes, train_goals, test_goals, float(guessed.mean()))


def _scenes(part: SceneTable | ObjectStates) -> SceneTable:
    return part if isinstance(part, SceneTable) else part.scenes


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
