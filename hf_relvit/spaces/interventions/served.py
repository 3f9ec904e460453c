"""A model that the demo serves, with all that was fitted on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hf_relvit.analysis.activations import Site, residuals
from hf_relvit.analysis.alignment import Alignment
from hf_relvit.analysis.probes import Probes
from hf_relvit.analysis.subspaces import random_rotation
from hf_relvit.geometry import geometry
from hf_relvit.modeling.blocks import blocks
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.schemas import SpaceFacts, read_as
from hf_relvit.stimuli.counterfactuals import PROPERTIES, sample_counterfactuals
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
        objects, config = ObjectSet.default(), self.model.config
        heads = config.backbone_config.num_attention_heads
        sizes = len(objects.masks), len(objects.palette), len(blocks(self.model)), heads
        return Limits(self.name, self.about["task"], geometry(self.about["geometry"]), *sizes)

    @cached_property
    def seen(self) -> np.ndarray:
        """Which combinations the training showed, bool ``(shapes, colors)``."""
        return allowed_objects("train", self.about["combinations"], ObjectSet.default())

    @cached_property
    def random_bases(self) -> dict[tuple[str, int], torch.Tensor]:
        """A random subspace as large as each alignment's, the control."""
        return {
            key: random_rotation(
                item.size, item.width, torch.Generator().manual_seed(item.site.layer)
            )
            for key, item in self.alignments.items()
        }

    @cached_property
    def bank(self) -> dict[str, tuple[np.ndarray, dict[Site, torch.Tensor]]]:
        """By property: values of other objects ``(BANK,)``, and their states by site ``(BANK, tokens, hidden)``."""
        found = {}
        for prop in sorted({prop for prop, _ in self.alignments}):
            limits, combinations = self.limits, self.about["combinations"]
            options = dict(combinations=combinations, seed=0)
            table = sample_counterfactuals(
                limits.task, limits.geometry, prop, "validation", BANK, **options
            )
            giver = np.arange(BANK), table.source_object
            tokens = torch.from_numpy(
                self.model.config.geometry.tokens(table.source.patches())[giver]
            )
            sites = [Site("resid_post", layer) for of, layer in self.alignments if of == prop]
            states = residuals(self.checkpoint, table.source, sites, tokens=tokens)
            found[prop] = (
                getattr(table.source, prop)[giver].astype(int),
                {at: x.cpu() for at, x in states.items()},
            )
        return found


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
    for prop in PROPERTIES:
        for layer in range(len(blocks(model))):
            if (path := folder / "alignments" / f"{prop}-{layer}").is_dir():
                alignments[prop, layer] = Alignment.from_pretrained(path)
                alignments[prop, layer].check(model)
    served = Served(folder.name, known, checkpoint, alignments, Probes.load(folder / "probes"))
    _ = served.bank  # now, not at the first click
    return served
