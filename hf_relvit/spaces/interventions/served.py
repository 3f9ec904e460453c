"""A model that the demo serves, with all that was fitted on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hf_relvit.analysis.activations import Site, residuals
from hf_relvit.analysis.alignment import Alignment
from hf_relvit.analysis.probes import Probes
from hf_relvit.geometry import geometry
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.schemas import SpaceFacts, read_as
from hf_relvit.stimuli.counterfactuals import PROPERTIES
from hf_relvit.stimuli.distribution import SceneDistribution
from hf_relvit.stimuli.objects import ObjectSet
from hf_relvit.stimuli.splits import allowed_objects

from .state import Limits

BANK = 64
"""Scenes whose objects give the vectors that are injected."""


@dataclass(frozen=True, eq=False)
class Served:
    """A model and what was fitted on it, from a folder that ``assets.build_assets`` wrote.

    Attributes:
        name: of the folder.
        about: its about.json: title, task, geometry, combinations, accuracy by split, how often interventions work.
        checkpoint: the model and its processor.
        alignments: by property and layer.
        probes: linear ones of "judgement", with their shuffled controls.
    """

    name: str
    about: dict[str, Any]
    checkpoint: Checkpoint
    alignments: dict[tuple[str, int], Alignment]
    probes: Probes

    @property
    def model(self) -> Any:
        return self.checkpoint.model

    @cached_property
    def limits(self) -> Limits:
        objects = ObjectSet.default()
        backbone = self.model.config.backbone_config
        return Limits(
            model=self.name,
            task=self.about["task"],
            geometry=geometry(self.about["geometry"]),
            shapes=len(objects.masks),
            colors=len(objects.palette),
            layers=self.checkpoint.depth,
            heads=backbone.num_attention_heads,
        )

    def distribution(self, seed: int) -> SceneDistribution:
        """Of the scenes that the model was trained on."""
        return SceneDistribution(
            self.limits.task,
            self.limits.geometry,
            self.about["combinations"],
            seed=seed,
        )

    @cached_property
    def seen(self) -> np.ndarray:
        """Which combinations the training showed, bool ``(shapes, colors)``."""
        return allowed_objects("train", self.about["combinations"], ObjectSet.default())

    @cached_property
    def random_bases(self) -> dict[tuple[str, int], torch.Tensor]:
        """A random subspace as large as each alignment's, the control."""
        return {key: item.random_directions().basis for key, item in self.alignments.items()}

    @cached_property
    def bank(self) -> dict[str, tuple[np.ndarray, dict[Site, torch.Tensor]]]:
        """By property: values of other objects ``(BANK,)``, and their states by site ``(BANK, tokens, hidden)``."""
        layers: dict[str, list[int]] = {}
        for prop, layer in self.alignments:
            layers.setdefault(prop, []).append(layer)
        return {prop: self._states(prop, layers[prop]) for prop in sorted(layers)}

    def _states(self, prop: str, layers: list[int]) -> tuple[np.ndarray, dict[Site, torch.Tensor]]:
        pairs = self.distribution(seed=0).pairs(prop, "validation", BANK)
        scenes = pairs.source
        giver = (np.arange(BANK), pairs.source_object)
        tokens = self.model.config.geometry.tokens(scenes.patches())
        states = residuals(
            self.checkpoint,
            scenes,
            [Site("resid_post", layer) for layer in layers],
            tokens=torch.from_numpy(tokens[giver]),
        )
        values = getattr(scenes, prop)[giver].astype(int)
        return values, {site: state.cpu() for site, state in states.items()}


def open_served(folder: Path, about: dict[str, Any] | None = None) -> Served:
    """Open a folder of ``assets.build_assets``.

    Args:
        folder: its name is the model's.
        about: what its about.json says, or will say.

    Raises:
        RelViTError: files that are missing, broken or of another model.
    """
    known: dict[str, Any] = about or read_as(folder / "about.json", SpaceFacts)
    checkpoint = Checkpoint.open(folder / "model")
    model = checkpoint.model
    model.set_attn_implementation("relvit")
    alignments = {}
    for prop, layer in product(PROPERTIES, range(checkpoint.depth)):
        path = folder / "alignments" / f"{prop}-{layer}"
        if path.is_dir():
            alignment = Alignment.from_pretrained(path)
            alignment.check(model)
            alignments[prop, layer] = alignment
    probes = Probes.load(folder / "probes")
    served = Served(folder.name, known, checkpoint, alignments, probes)
    _ = served.bank  # now, not at the first click
    return served
