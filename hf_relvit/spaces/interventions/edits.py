"""The actions on the residual stream after one layer, beside their controls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from hf_relvit.analysis.activations import Site
from hf_relvit.analysis.interchange import intervene
from hf_relvit.analysis.novel import novel_vectors

from .passes import scene_pass, source_pass
from .served import Served
from .state import State

CONTROLS = {
    "swap": ("edit", "other", "random"),
    "steer": ("edit", "shuffled"),
    "inject": ("edit", "random"),
}
"""Computations for each action: the intervention, then its controls."""


@dataclass(frozen=True, eq=False)
class Edit:
    """Residual streams after the edit and after each control.

    Attributes:
        site: where.
        streams: ``(1, tokens, hidden)`` each, in the order of ``CONTROLS``.
        directions: how many are edited.
    """

    site: Site
    streams: list[torch.Tensor]
    directions: int


def edit(served: Served, state: State, layer: int) -> Edit | None:
    """The chosen intervention and its controls after a layer; None where nothing was fitted."""
    return _ACTIONS[state.action](served, state, Site("resid_post", layer))


def _swap(served: Served, state: State, site: Site) -> Edit | None:
    key = (state.prop, site.layer)
    if key not in served.alignments:
        return None
    alignment = served.alignments[key]
    scene = scene_pass(served, state)
    source = source_pass(served, state)
    residual = scene.states[site]
    device = residual.device
    places = scene.tokens[[state.edited]].to(device)
    giver = source.states[site][:, source.tokens[state.giver]]
    other = source.states[site][:, source.tokens[1 - state.giver]]
    operator = alignment.operator(device)
    streams = [
        intervene(residual, places, giver, *operator),
        intervene(residual, places, other, *operator),
        _into(residual, places, giver, served.random_bases[key]),
    ]
    return Edit(site, streams, alignment.size)


def _steer(served: Served, state: State, site: Site) -> Edit | None:
    if site.layer not in served.probes.layers:
        return None
    scene = scene_pass(served, state)
    places = scene.pair_tokens(state.pair)
    wanted = 1 - int(scene.scene.relation[0, state.pair])
    directions = served.probes.steering_vectors(site.layer)
    streams = []
    for condition in ("flip", "shuffled"):
        residual = scene.states[site].clone()
        step = directions[condition][wanted].to(residual)
        residual[:, places] += state.alpha * step
        streams.append(residual)
    return Edit(site, streams, directions=1)


def _inject(served: Served, state: State, site: Site) -> Edit | None:
    key = (state.prop, site.layer)
    if key not in served.alignments:
        return None
    alignment = served.alignments[key]
    scene = scene_pass(served, state)
    places = scene.pair_tokens(state.pair)[None]
    relation = scene.scene.relation[:, state.pair]
    vectors = _drawn_vectors(served, state, site, relation)
    residual = scene.states[site]
    write = alignment.write_basis
    random = served.random_bases[key]
    streams = [
        _into(
            residual,
            places,
            vectors @ write,
            alignment.basis,
            write,
        ),
        _into(residual, places, vectors @ random, random),
    ]
    return Edit(site, streams, alignment.size)


_ACTIONS: dict[str, Callable[[Served, State, Site], Edit | None]] = {
    "swap": _swap,
    "steer": _steer,
    "inject": _inject,
}


def _drawn_vectors(
    served: Served,
    state: State,
    site: Site,
    relation: np.ndarray,
) -> torch.Tensor:
    """Novel values of a pair in coordinates of the subspace, ``(1, 2, directions)``, by the state's seed."""
    alignment = served.alignments[state.prop, site.layer]
    values, bank = served.bank[state.prop]
    generator = torch.Generator().manual_seed(state.draw)
    noise = torch.randn(
        1,
        2,
        alignment.width,
        generator=generator,
    )
    return novel_vectors(
        bank[site] @ alignment.basis.T,
        state.method,
        _drawn_objects(values, state.draw),
        noise[..., : alignment.size],
        torch.from_numpy(relation.astype(np.int64)),
    )


def _drawn_objects(values: np.ndarray, seed: int) -> torch.Tensor:
    """Objects of the bank for two vectors, each from two objects, all of different values: int64 ``(1, 2, 2)``."""
    rng = np.random.default_rng(seed)
    four = rng.permutation(np.unique(values))[:4]
    chosen = [int(rng.choice(np.flatnonzero(values == value))) for value in four]
    return torch.tensor(chosen).reshape(1, 2, 2)


def _into(
    residual: torch.Tensor,
    places: torch.Tensor,
    value: torch.Tensor,
    basis: torch.Tensor,
    write: torch.Tensor | None = None,
) -> torch.Tensor:
    """``value`` at the tokens ``places (1, p)`` as far as ``basis`` reads it, by ``write`` if it is given."""
    device = residual.device
    every_direction = torch.ones(len(basis), device=device)
    written = basis if write is None else write
    return intervene(
        residual,
        places.to(device),
        value.to(residual),
        basis.to(device),
        every_direction,
        written.to(device),
    )
