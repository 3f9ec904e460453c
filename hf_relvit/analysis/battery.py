"""What do the tokens of a frozen backbone know about objects and their relations? A battery of usual measurements.

Symbols: n scenes of k objects with p tokens each; h_b ``(n, k * p, hidden)``, the object tokens after block b.

1. Draw training, validation and test scenes and read h_b of all blocks, once.
2. Attention stages of the test scenes: perceptual and relational score (``attention``).
3. Probes of shape, color, the relation of each pair (linear) and "are two tokens of one object?" (quadratic), each
   beside one of shuffled labels (``probes``). Validation scenes choose the block, test scenes give the number.
4. The same two-token probe from the places of the tokens alone, ``(n, k * p, patches)`` with a single 1: tokens of one
   object are neighbors, so a backbone binds objects only as far as it does better (our control).
5. Likeness: the cosine of the mean tokens of the two objects of a pair, as an AUC for "same" (``similarity``); the
   block again by validation scenes. Nothing is fitted.

A frozen backbone never learned the task, so its answers are not asked; call it with ``randomly_initialized`` for the
same numbers without any training. Our choice of measurements; each is described, with its source, in its own module.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import cosine_similarity

from ..doors import check_choice
from ..errors import RelViTError
from ..geometry import Placement, matching_geometry
from ..modeling.checkpoints import Checkpoint
from ..provenance import provenance
from ..statistics import cluster_bootstrap
from ..stimuli.counterfactuals import CounterfactualTable
from ..stimuli.distribution import SceneDistribution
from ..stimuli.own_pictures import OwnPictures
from ..stimuli.scenes import SceneTable
from ..stimuli.styles import open_objects
from ..stimuli.tasks import task_of
from ..tables import largest, records, select
from ..training.precision import computes_bf16
from .activations import ObjectStates, capture_object_states
from .attention import measure_attention
from .choices import check_counts
from .probes import Form, ProbeConfig, Target, fit_probes
from .result import TableResult
from .similarity import aucs

if TYPE_CHECKING:
    from jaxtyping import Float32
    from matplotlib.figure import Figure

PROBES: dict[Target, Form] = {
    "shape": "linear",
    "color": "linear",
    "judgement": "linear",
    "same_object": "quadratic",
}
SCORES = ("perceptual_score", "relational_score")
COLUMNS = (
    *("measure", "condition", "split", "layer", "value"),
    *("n", "ci_low", "ci_high", "floor", "chosen"),
)


@dataclass(frozen=True)
class BatteryConfig:
    """How many scenes a battery takes.

    Raises:
        RelViTError: a number below 1.
    """

    train_scenes: int = 1000
    """Scenes to fit each probe on."""
    validation_scenes: int = 256
    """Scenes to choose the block on."""
    scenes: int = 512
    """Scenes to test on."""
    attention_scenes: int = 128
    """Of these, those whose attention is measured."""
    combinations: int = 256
    """Combinations of shape and color that scenes are made of."""
    draws: int = 500
    """Of the bootstrap of likeness."""
    bf16: bool | None = None
    """Run the blocks in bfloat16; by default where the device multiplies in it."""
    seed: int = 0
    """Of scenes, probes and bootstrap."""

    def __post_init__(self):
        check_counts(self)

    @property
    def in_bf16(self) -> bool:
        """Whether the blocks run in bfloat16 here."""
        return computes_bf16() if self.bf16 is None else self.bf16


@dataclass(frozen=True)
class Battery(TableResult):
    """The measurements of one set of weights on one task.

    Attributes:
        frame: one row per measure, condition, split and layer: ``measure`` ("shape", "color", "judgement",
            "same_object": accuracy; "likeness": AUC; "perceptual_score", "relational_score"), ``condition``
            ("trained", "shuffled", "places"), ``split`` ("validation", "test"), ``layer`` (-1: all), ``value, n,
            ci_low, ci_high, floor`` (NaN for scores), ``chosen`` (a number of the record: of the layer that
            validation scenes chose, on test scenes).
        facts: config, task, geometry, fingerprint of the processor, provenance.
    """

    TITLE: ClassVar[str] = "battery"
    STEM: ClassVar[str] = "battery"
    TABLES: ClassVar[tuple[str, ...]] = ("battery",)
    EXAMPLE: ClassVar[str] = "discrimination/trained"

    frame: pd.DataFrame
    facts: dict[str, Any] = field(default_factory=dict)

    def figure(self) -> Figure:
        """Each measure by layer, with its controls."""
        from ..figures.battery import battery_figure

        return battery_figure(self.frame.assign(weights="this", task=self.facts["task"]))


def measure_battery(
    checkpoint: Checkpoint,
    task: str,
    config: BatteryConfig | None = None,
    *,
    style: str | None = None,
    placement: Placement = "grid",
    progress: bool = False,
) -> Battery:
    """Run the battery on one set of weights; see the head of this module.

    Args:
        checkpoint: a backbone with its processor, such as ``Checkpoint.of_backbone``; it does not learn.
        task: one of ``stimuli.tasks``; scenes are those of ``geometry.matching_geometry``.
        config: see BatteryConfig.
        style: of the objects (``stimuli.styles``); ours by default.
        placement: of the objects (``geometry.SceneGeometry``); off the grid their mean states are read, and binding is
            not asked.
        progress: show bars.

    Raises:
        RelViTError: no scenes for the model's image and patch size; states or attention that are not finite.
    """
    subject = subject_of_task(
        checkpoint,
        task,
        config,
        style=style,
        placement=placement,
        progress=progress,
    )
    return subject.battery()


def subject_of_task(
    checkpoint: Checkpoint,
    task: str,
    config: BatteryConfig | None = None,
    *,
    style: str | None = None,
    placement: Placement = "grid",
    progress: bool = False,
) -> Subject:
    """A backbone and scenes of a task, of which nothing is read yet; arguments as ``measure_battery``."""
    config = config or BatteryConfig()
    check_choice("placement", placement, Placement)
    geometry = matching_geometry(checkpoint.geometry).with_placement(placement)
    objects = open_objects(style=style)
    distribution = SceneDistribution(task, geometry, config.combinations, objects, config.seed)
    counts = {
        "train": config.train_scenes,
        "validation": config.validation_scenes,
        "test": config.scenes,
    }
    parts = {split: distribution.sample(split, count) for split, count in counts.items()}
    return Subject(
        checkpoint,
        parts,
        config,
        progress,
        task,
        geometry.name,
        style,
        distribution,
    )


def measure_pictures(
    checkpoint: Checkpoint,
    pictures: OwnPictures,
    config: BatteryConfig | None = None,
    *,
    progress: bool = False,
) -> Battery:
    """The battery on your own pictures: attention, whether "same" can be read, and likeness.

    Objects have no known shape and color and any number of tokens, so there are no other probes, and the states of an
    object are the mean of its tokens. The numbers of scenes are those of ``pictures.parts``.

    Args:
        checkpoint: a backbone with its processor.
        pictures: read for the model's geometry.
        config: see BatteryConfig.
        progress: show bars.

    Raises:
        RelViTError: too few pictures (``OwnPictures.parts``), or states or attention that are not finite.
    """
    return subject_of_pictures(checkpoint, pictures, config, progress=progress).battery()


def subject_of_pictures(
    checkpoint: Checkpoint,
    pictures: OwnPictures,
    config: BatteryConfig | None = None,
    *,
    progress: bool = False,
) -> Subject:
    """A backbone and pictures, of which nothing is read yet; arguments as ``measure_pictures``."""
    config = config or BatteryConfig()
    parts = pictures.parts(config.seed)
    used = replace(
        config,
        train_scenes=len(parts["train"]),
        validation_scenes=len(parts["validation"]),
        scenes=len(parts["test"]),
    )
    return Subject(checkpoint, parts, used, progress, pictures.task, pictures.name)


@dataclass(frozen=True)
class Subject:
    """A model and its scenes; their states are read when they are asked for, and once.

    Attributes:
        checkpoint: the model, with its processor.
        parts: split -> its scenes or pictures.
        config: of the battery.
        progress: whether bars are shown.
        task, geometry, style: of the scenes, for results.
        distribution: that scenes come from; None for pictures.
    """

    checkpoint: Checkpoint
    parts: dict[str, Any]
    config: BatteryConfig
    progress: bool
    task: str
    geometry: str
    style: str | None = None
    distribution: SceneDistribution | None = None

    @cached_property
    def states(self) -> dict[str, ObjectStates]:
        """By split; read once."""
        return {split: self._read(scenes) for split, scenes in self.parts.items()}

    def _read(self, scenes: Any) -> ObjectStates:
        return capture_object_states(
            self.checkpoint,
            scenes,
            bf16=self.config.in_bf16,
            progress=self.progress,
        )

    @cached_property
    def places(self) -> dict[str, ObjectStates]:
        """The same scenes with the place of each token in place of its state."""
        return {split: _places(scenes) for split, scenes in self.parts.items()}

    @property
    def swapped(self) -> tuple[str, ...]:
        """The properties whose swap changes the answer; none of pictures, nor of objects at any pixel."""
        task = task_of(self.task) if self.distribution else None
        if self.distribution is None or task is None or task.swaps is None:
            return ()
        return task.swapped if self.distribution.geometry.on_grid else ()

    def pairs(self, prop: str, split: str = "test") -> CounterfactualTable | None:
        """Pairs of scenes about a property, as many as scenes whose attention is measured.

        None of pictures, and where the shapes and colors of a style are too few for them.
        """
        if self.distribution is None:
            return None
        step = task_of(self.task).swaps or 1
        count = max(1, self.config.attention_scenes // step) * step
        try:
            return self.distribution.pairs(prop, split, count)
        except RelViTError:
            return None

    def battery(self) -> Battery:
        """All measurements; see the head of this module."""
        rows = [*self.attention()]
        for target, form in self._probes().items():
            rows += self.probed(target, form, self.states, "trained")
            if target == "same_object":
                rows += self.probed(target, form, self.places, "places")
        rows += self.likeness()
        facts = {
            "config": asdict(self.config),
            "task": self.task,
            "geometry": self.geometry,
            "style": self.style,
            "processor": self.checkpoint.processor.fingerprint,
            "provenance": provenance(seed=self.config.seed),
        }
        return Battery(pd.DataFrame(rows, columns=list(COLUMNS)), facts)

    def _probes(self) -> dict[Target, Form]:
        """Those that can be asked: of pictures the relation alone, of objects of one token not whether two are one."""
        if self.distribution is None:
            return {"judgement": "linear"}
        asked = dict(PROBES)
        if self.parts["test"].tokens_per_object == 1:
            del asked["same_object"]
        if self.distribution.objects.n_colors == 1:
            del asked["color"]
        return asked

    def attention(self) -> Iterator[dict[str, Any]]:
        """A row per score of the attention stages."""
        some = self.parts["test"][: self.config.attention_scenes]
        device = self.checkpoint.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.config.in_bf16):
            stages = measure_attention(self.checkpoint, some, progress=self.progress)
        for score in SCORES:
            row = {
                "measure": score,
                "condition": "trained",
                "split": "test",
                "layer": -1,
                "value": stages.scores[score],
                "n": len(some),
                "ci_low": stages.scores[f"{score}_ci_low"],
                "ci_high": stages.scores[f"{score}_ci_high"],
                "floor": np.nan,
                "chosen": True,
            }
            yield row

    def probed(
        self,
        target: Target,
        form: Form,
        states: dict[str, ObjectStates],
        condition: str,
    ) -> list[dict[str, Any]]:
        """Rows of a probe: every layer on validation scenes, the best of them on test scenes."""
        config = ProbeConfig(target, form, seed=self.config.seed)
        validation = self._fitted(config, states, "validation")
        best = int(largest(select(validation, condition="trained")).layer)
        at_best = ProbeConfig(target, form, seed=self.config.seed, layers=(best,))
        test = self._fitted(at_best, states, "test")
        table = pd.concat([validation, test], ignore_index=True)
        if condition != "trained":
            table = select(table, condition="trained").assign(condition=condition)
        named = table.assign(measure=target, value=table.accuracy)
        return records(named)

    def _fitted(
        self,
        config: ProbeConfig,
        states: dict[str, ObjectStates],
        split: str,
    ) -> pd.DataFrame:
        probes = fit_probes(
            self.checkpoint,
            states["train"],
            states[split],
            config,
            progress=self.progress,
        )
        return probes.frame.assign(split=split, chosen=split == "test")

    def likeness(self) -> list[dict[str, Any]]:
        """Rows of the AUC of likeness: every layer on validation scenes, the best of them on test scenes."""
        validation = self._likeness("validation")
        best = max(validation, key=lambda row: row["value"])
        test = self._likeness("test")
        return [*validation, test[best["layer"]]]

    def _likeness(self, split: str) -> list[dict[str, Any]]:
        read = self.states[split]
        scenes = read.scenes
        pairs = scenes.judged.shape[1]
        label = scenes.judged.reshape(-1, 1)
        values = np.hstack([label, pair_likeness(read)])
        clusters = np.repeat(scenes.clusters, pairs)
        draws, seed = self.config.draws, self.config.seed
        bounds = np.stack(cluster_bootstrap(values, clusters, aucs, draws, seed))
        rows = []
        for layer, (value, low, high) in enumerate(zip(aucs(values), *bounds)):
            row = {
                "measure": "likeness",
                "condition": "trained",
                "split": split,
                "layer": layer,
                "value": value,
                "n": len(values),
                "ci_low": low,
                "ci_high": high,
                "floor": 0.5,
                "chosen": split == "test",
            }
            rows.append(row)
        return rows


def _places(scenes: SceneTable) -> ObjectStates:
    """Object tokens that hold their patch alone, ``(n, k * p, patches)``, as if they were the states of block 0."""
    patches = torch.from_numpy(scenes.patches()).flatten(1)
    count = scenes.geometry.grid**2
    one_hot = torch.nn.functional.one_hot(patches, count).float()
    return ObjectStates(scenes, {0: one_hot}, "corrected")


def pair_likeness(read: ObjectStates) -> Float32[np.ndarray, "pairs layers"]:
    """Cosine of the mean tokens of the two objects of each judged pair, float32 ``(n * pairs, layers)``."""
    k = read.scenes.patches().shape[1]
    judged = 2 * read.scenes.judged.shape[1]
    by_layer = []
    for layer in sorted(read.states):
        tokens = read.states[layer].float().unflatten(1, (k, -1))
        means = tokens.mean(2)[:, :judged]
        first, second = means.unflatten(1, (-1, 2)).unbind(2)
        likeness = cosine_similarity(first, second, dim=-1)
        by_layer.append(likeness.flatten())
    return torch.stack(by_layer, 1).cpu().numpy()
