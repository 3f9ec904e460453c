"""What can be read, layer by layer: linear and quadratic probes with shuffled-label controls (paper, Fig. 5)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from tqdm.auto import tqdm

from ..errors import RelViTError
from ..modeling.processing import PixelProcessor
from ..provenance import provenance, read_json, whole_file, write_json
from ..stimuli.objects import ObjectSet
from ..stimuli.scenes import SceneTable
from .activations import blocks
from .alignment import fingerprint
from .readouts import COMPATS, ObjectStates, fit, object_states, scores, shuffle, unit_inputs, units
from .statistics import wilson

TARGETS = ("judgement", "shape", "color", "object", "same_object")
FORMS = ("linear", "quadratic")
UNITS = ("object", "token")
CONDITIONS = ("trained", "shuffled")
_FILES = ("probes.parquet", "probes.safetensors", "probes.json")


@dataclass(frozen=True)
class ProbeConfig:
    """What is probed and how.

    Raises:
        RelViTError: a value that is not among the choices.
    """

    target: str = "judgement"
    """"judgement": is this pair the same? Read from all tokens of the pair; sample and display pairs of RMTS pooled
    (paper). "shape", "color", "object" (shape and color together): of each object. "same_object": do two tokens of a
    scene belong to one object? (After Li et al. 2025, arXiv 2510.24709. Tokens of one object are neighbors, so read
    it against the first layers, where positions are all there is.)"""
    form: str = "linear"
    """"linear" in the tokens; or "quadratic", a form x'Sy of the two things to compare, for judgement (the pair's
    objects) and same_object (the two tokens)."""
    unit: str = "object"
    """For shape, color and object: read from all tokens of an "object" at once, or from each "token" alone."""
    compat: str = "corrected"
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
        for name, choices in (("target", TARGETS), ("form", FORMS), ("unit", UNITS), ("compat", COMPATS)):
            if getattr(self, name) not in choices:
                raise RelViTError(f"unknown {name} {getattr(self, name)!r}: expected one of {', '.join(choices)}")
        if self.form == "quadratic" and self.target not in ("judgement", "same_object"):
            raise RelViTError(f"a quadratic probe compares two things, {self.target!r} is of one: use form 'linear'")
        for name in ("epochs", "batch_size", "learning_rate", "rank"):
            if getattr(self, name) <= 0:
                raise RelViTError(f"{name} {getattr(self, name)}: expected a positive number")


@dataclass(frozen=True, eq=False)
class Probes:
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

    def to_frame(self) -> pd.DataFrame:
        return self.frame

    def plot(self, path: Path) -> None:
        """Accuracy by layer, with control and floor, to a PNG or SVG file."""
        from .causal_figures import probe_figure
        from .figures import save_figure

        save_figure(probe_figure(self.frame), path)

    def save(self, folder: Path) -> None:
        table, tensors, facts = (Path(folder) / name for name in _FILES)
        with whole_file(table) as temporary:
            self.frame.to_parquet(temporary)
        with whole_file(tensors) as temporary:
            save_file({name: tensor.contiguous() for name, tensor in self.weights.items()}, temporary)
        write_json(facts, self.facts)

    @classmethod
    def load(cls, folder: Path) -> Probes:
        """RelViTError if files are missing or broken."""
        table, tensors, facts = (Path(folder) / name for name in _FILES)
        values = read_json(facts)
        return cls(pd.read_parquet(table), load_file(tensors), values)


def fit_probes(
    model: nn.Module,
    processor: PixelProcessor,
    train: SceneTable | ObjectStates,
    test: SceneTable | ObjectStates,
    config: ProbeConfig | None = None,
    *,
    layers: list[int] | None = None,
    objects: ObjectSet | None = None,
    progress: bool = False,
) -> Probes:
    """Fit a probe and its shuffled-label control on each layer's output, and test both on other scenes.

    The optimizer is the paper's: AdamW, learning rate 1e-2, batches of 64, 10 epochs, for 4,000 scenes. Ours are the
    fall of the learning rate to 0 and the start of linear probes at 0, so that nothing random remains in directions
    to steer by. Chosen by measurement, on the quick model with 4,000 scenes (judgement, layers 1 to 5): constant rate
    .65 .91 .95 .95 .96, falling rate .75 .96 .97 .96 .97, both in 0.15 s a layer; scikit-learn's logistic regression
    reaches .76 .96 .96 .96 .97 with half the scenes, in 7 to 17 s a layer.

    Args:
        model: a classifier of ours, of any supported family; it does not learn.
        processor: of the checkpoint.
        train, test: scenes of the model's geometry and of one task; or their ``object_states``, which spare a pass
            for each further target.
        config: see ProbeConfig.
        layers: which; all by default. The probe of layer L reads ``Site("resid_post", L)``.
        objects: the shapes and colors of the scenes.
        progress: show bars.

    Raises:
        RelViTError: training labels of one class only, tasks or ``compat`` that differ, scenes of another geometry, a
            layer that the model does not have, "same_object" with objects of one token.
    """
    config = config or ProbeConfig()
    given = {"train": train, "test": test}
    scenes = {name: part if isinstance(part, SceneTable) else part.scenes for name, part in given.items()}
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
            bar = f"{name} scenes" if progress else ""
            options: dict[str, Any] = {"objects": objects, "cache_gb": config.cache_gb, "progress": bar}
            part = object_states(model, processor, part, layers, compat=config.compat, **options)
        if part.compat != config.compat:
            raise RelViTError(f"{part.compat} states for compat {config.compat!r}: read them with that compat")
        states[name] = part.states
    truth = np.where(np.isin(label["test"], classes), np.searchsorted(classes, label["test"]), -1).reshape(-1)
    goals = {"train": np.stack([fitted, shuffle(fitted, config.seed)]), "test": np.stack([truth, truth])}
    floor = float((truth == np.bincount(fitted).argmax()).mean())

    rows, weights = [], {}
    layers = sorted(states["train"]) if layers is None else layers
    for layer in tqdm(layers, desc=f"{config.form} probes: {config.target}", disable=not progress, leave=False):
        inputs = {name: unit_inputs(states[name][layer], index[name]) for name in given}
        probe = fit(inputs["train"], torch.from_numpy(goals["train"]), len(classes), config)
        correct = {name: scores(inputs[name], probe).argmax(-1).cpu().numpy() == goals[name] for name in given}
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
            weights |= {f"{layer}.{condition}.{name}": value[i].cpu().clone() for name, value in probe.items()}
    parts = blocks(model)
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
        "processor": processor.fingerprint,
        "provenance": provenance(seed=config.seed, data_seeds=[part.seed for part in scenes.values()]),
    }
    return Probes(pd.DataFrame(rows), weights, facts)
