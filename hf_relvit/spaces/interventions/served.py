"""A model that the demo serves, with all that was fitted on it."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hf_relvit.analysis.activations import Site, capture_residuals
from hf_relvit.analysis.alignment import Alignment
from hf_relvit.analysis.probes import Probes
from hf_relvit.geometry import geometry
from hf_relvit.modeling.adapters import is_adapter
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.modeling.finite import FiniteWatch
from hf_relvit.report.run_folder import RunFolder
from hf_relvit.schemas import SpaceFacts, read_as
from hf_relvit.stimuli.distribution import SceneDistribution
from hf_relvit.stimuli.objects import ObjectSet
from hf_relvit.stimuli.splits import allowed_objects

from .state import Limits

ABOUT = "about.json"
"""In a run folder: how the demo shows it."""
JUDGEMENT = "judgement"
"""The target of the probes along which pairs are steered."""
BANK = 64
"""Scenes whose objects give the vectors that are injected."""
_BF16 = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
_LARGE = 20e6
"""Parameters."""


@dataclass(frozen=True, eq=False)
class Served:
    """A model and its alignments and probes.

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

    @cached_property
    def parameters(self) -> int:
        return count_parameters(self.checkpoint)

    @property
    def on_cpu(self) -> bool:
        return self.checkpoint.device.type == "cpu"

    @property
    def at_once(self) -> bool:
        """Whether all layers of an intervention are computed before a visitor sees the first."""
        return self.parameters < _LARGE or not self.on_cpu

    @cached_property
    def bf16(self) -> bool:
        """Whether matrices are multiplied in bfloat16: in large models, on processors that can.

        Twice as fast for ViT-B/16. The residual stream and every edit stay in float32.
        """
        large_on_cpu = self.parameters >= _LARGE and self.on_cpu
        return large_on_cpu and any(_asks_processor(name) for name in _BF16)

    def precision(self) -> AbstractContextManager[Any]:
        """The context in which the model runs."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.bf16)

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
        states = capture_residuals(
            self.checkpoint,
            scenes,
            [Site("resid_post", layer) for layer in layers],
            tokens=torch.from_numpy(tokens[giver]),
            bf16=self.bf16,
        )
        values = getattr(scenes, prop)[giver].astype(int)
        return values, {site: state.cpu() for site, state in states.items()}


def is_large(checkpoint: Checkpoint) -> bool:
    """Whether a pass takes more than a few hundredths of a second on two cores."""
    return count_parameters(checkpoint) >= _LARGE


def count_parameters(checkpoint: Checkpoint) -> int:
    return sum(parameter.numel() for parameter in checkpoint.model.parameters())


def _asks_processor(name: str) -> bool:
    """One of torch's questions to the processor; a version that lacks it says no."""
    question = getattr(torch.cpu, name, None)
    return question is not None and question()


def open_served(
    folder: Path, about: dict[str, Any] | None = None, *, base: str | os.PathLike | None = None
) -> Served:
    """Open a run folder with an about.json of ``assets.build_assets``.

    Args:
        folder: its name is the model's.
        about: content of its about.json, also before that is written.
        base: folder of an adapter's backbone; by default the Hub's, of the revision that the adapter names.

    Raises:
        RelViTError: files that are missing, broken or of another model; answers that are not finite.
    """
    run = RunFolder(folder)
    known: dict[str, Any] = about or read_as(folder / ABOUT, SpaceFacts)
    checkpoint = open_model(run.training.model, base)
    alignments = {}
    for cell in run.alignment_folders():
        alignment = Alignment.from_pretrained(cell)
        alignment.check(checkpoint.model)
        alignments[alignment.property, alignment.site.layer] = alignment
    served = Served(
        folder.name,
        known,
        checkpoint,
        alignments,
        run.probes(JUDGEMENT),
    )
    _ = served.bank  # now, not at the first click
    _check_answers(served)
    return served


@torch.no_grad()
def _check_answers(served: Served) -> None:
    """RelViTError for a head whose answers are no numbers; the bank looked at the blocks."""
    watch = FiniteWatch(f"answers of {served.name}")
    scene = served.distribution(seed=0).sample("test", 4)
    pixels = served.checkpoint.pixel_values(scene)
    watch.see(served.model(pixels).logits)
    watch.check()


def open_model(folder: Path, base: str | os.PathLike | None = None) -> Checkpoint:
    """Ready to record attention. Only an adapter takes a base."""
    checkpoint = Checkpoint.open(folder, base=base if is_adapter(folder) else None)
    checkpoint.model.set_attn_implementation("relvit")
    return checkpoint
