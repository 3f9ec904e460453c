"""Passes of a model over composed scenes, kept for the next click: most clicks change one of the two, or none."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from hf_relvit.analysis.activations import Site, capture, forward_from, replaced_forward
from hf_relvit.modeling.attention_mass import record_object_attention
from hf_relvit.modeling.stages import attention_shares
from hf_relvit.stimuli.scenes import SceneTable

from .served import Served
from .state import Limits, PlacedObject, State

SCENES = 8
"""Scenes whose passes are kept, of all visitors: 7 MB each for ViT-B/16."""
Objects = tuple[PlacedObject, ...]


@dataclass(frozen=True, eq=False)
class Pass:
    """One pass of the model over a scene.

    Attributes:
        scene: a table of one row.
        tokens: of its objects, int64 ``(objects, p)``.
        states: residual streams after each block, ``(1, tokens, hidden)``.
        same: probability of "same".
        shares: attention of the first pair's tokens, float32 ``(layers, heads, kinds)``, see ``attention.KINDS``.
    """

    scene: SceneTable
    tokens: torch.Tensor
    states: dict[Site, torch.Tensor]
    same: float
    shares: np.ndarray

    def pair_tokens(self, pair: int) -> torch.Tensor:
        """Of both objects of a pair, int64 ``(2 * p,)``."""
        return self.tokens[2 * pair : 2 * pair + 2].flatten()


def scene_table(objects: Objects, limits: Limits, index: int = 0) -> SceneTable:
    """The composed scene as a table of one row; ``index`` keys the noise of its pixels."""
    numbers = [dataclasses.astuple(placed) for placed in objects]
    columns = np.array([numbers], dtype=np.int16)
    middle = limits.geometry.max_jitter // 2
    return SceneTable.of(
        shape=columns[..., 0],
        color=columns[..., 1],
        corner=columns[..., 2:],
        jitter=np.full((1, len(objects), 2), middle, dtype=np.int16),
        index=np.array([index]),
        task=limits.task,
        split="test",
        seed=0,
        geometry=limits.geometry,
    )


def source_table(state: State, limits: Limits) -> SceneTable:
    """The source scene: its two objects and, in RMTS, the display pair of the scene."""
    return scene_table(state.source + state.scene[2:], limits, index=1)


def scene_pass(served: Served, state: State) -> Pass:
    """Over the scene of a state."""
    return _pass(served, state.scene, 0)


def source_pass(served: Served, state: State) -> Pass:
    """Over the source scene of a state."""
    return _pass(served, state.source + state.scene[2:], 1)


@lru_cache(maxsize=SCENES)
def _pass(served: Served, objects: Objects, index: int) -> Pass:
    scene = scene_table(objects, served.limits, index)
    layout = served.checkpoint.geometry
    tokens = torch.from_numpy(layout.tokens(scene.patches()))
    sites = [Site("resid_post", layer) for layer in range(served.limits.layers)]
    pixels = served.checkpoint.pixel_values(scene)
    with served.precision(), record_object_attention(tokens, layout.prefix_tokens) as record:
        states = capture(served.model, pixels, sites)
    shares = [attention_shares(mass, "corrected")[0] for mass in record.mass if mass is not None]
    same = probabilities(served, sites[-1], states[sites[-1]])
    return Pass(
        scene,
        tokens[0],
        states,
        same[0],
        torch.stack(shares).cpu().numpy(),
    )


def probabilities(served: Served, site: Site, streams: torch.Tensor) -> list[float]:
    """Of "same", for each residual stream ``(batch, tokens, hidden)`` at a site."""
    with served.precision():
        logits = forward_from(served.model, site, streams)
    return same_of(logits)


def same_of(logits: torch.Tensor) -> list[float]:
    """Probabilities of "same", of logits ``(batch, 2)``."""
    return logits.float().softmax(-1)[:, 1].tolist()


@lru_cache(maxsize=SCENES)
def patch_attention(served: Served, objects: Objects, layer: int) -> np.ndarray:
    """Attention of every patch on every patch in one layer: float32 ``(heads, patches, patches)``.

    Every patch counts as an object of its own, so that the recording of object tokens gives the whole map.
    """
    layout = served.checkpoint.geometry
    states = _pass(served, objects, 0).states
    patches = torch.arange(layout.prefix_tokens, layout.sequence_length)[None, :, None]
    later = served.checkpoint.blocks[layer + 1 :]
    with (
        served.precision(),
        record_object_attention(patches, layout.prefix_tokens, layers=[0]) as record,
        replaced_forward(later, lambda hidden, *args, **kwargs: hidden),
    ):
        if layer:  # the block is the first that runs
            before = Site("resid_post", layer - 1)
            forward_from(served.model, before, states[before])
        else:
            scene = scene_table(objects, served.limits)
            served.model(pixel_values=served.checkpoint.pixel_values(scene))
    mass = record.mass[0]
    assert mass is not None  # layer 0 of those that ran was asked for
    return mass[0, :, :, : patches.shape[1]].float().cpu().numpy()
