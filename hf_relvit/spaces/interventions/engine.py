"""From a state to everything that the page shows of the model: pure functions, no Gradio."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import torch

from hf_relvit.analysis.activations import Site, capture, forward_from
from hf_relvit.analysis.attention import attention_maps, attention_shares
from hf_relvit.analysis.interchange import intervene
from hf_relvit.analysis.novel import novel_vectors
from hf_relvit.modeling.attention_mass import record_object_attention
from hf_relvit.stimuli.scenes import SceneTable

from .served import Served
from .state import Limits, PlacedObject, State

_running = threading.Lock()  # hooks belong to the model: one thread at a time


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the model makes of the scene.

    Attributes:
        same: probability of "same".
        truth: the right answer, 1 same.
        shares: attention of the first pair's tokens, float32 ``(layers, heads, kinds)``, see ``attention.KINDS``.
        maps: full attention maps, float32 ``(layers, heads, tokens, tokens)``.
    """

    same: float
    truth: int
    shares: np.ndarray
    maps: np.ndarray

    @property
    def answer(self) -> int:
        return int(self.same > 0.5)


@dataclass(frozen=True, eq=False)
class InterventionCurve:
    """What an intervention does after each layer.

    Attributes:
        goal: the answer to expect if the model keeps what is edited where it is edited, 1 same.
        same: probability of "same" by layer, NaN where nothing was fitted: "edit", and the controls "other" (property
            of the other source object), "random" (a random subspace of the same size) or "shuffled" (a probe of
            shuffled labels, lengthened to the same norm).
        size: directions that are edited, by layer.
        width: of the residual stream.
    """

    goal: int
    same: dict[str, np.ndarray]
    size: list[int | None]
    width: int


def scene_table(things: tuple[PlacedObject, ...], limits: Limits, index: int = 0) -> SceneTable:
    """The composed scene as a table of one row; ``index`` keys the noise of its pixels."""
    rows = np.array(
        [[thing.shape, thing.color, thing.row, thing.column] for thing in things], dtype=np.int16
    )[None]
    return SceneTable.of(
        shape=rows[..., 0],
        color=rows[..., 1],
        corner=rows[..., 2:],
        jitter=np.full((1, len(things), 2), limits.geometry.max_jitter // 2, dtype=np.int16),
        index=np.array([index]),
        task=limits.task,
        split="test",
        seed=0,
        geometry=limits.geometry,
    )


def source_table(state: State, limits: Limits) -> SceneTable:
    """The source scene: its two objects and, in RMTS, the display pair of the scene."""
    return scene_table(state.source + state.scene[2:], limits, index=1)


@torch.no_grad()
def react(served: Served, state: State) -> tuple[Prediction, InterventionCurve]:
    """Run the model on a checked state: the scene as it is, and the intervention after every layer."""
    model, limits = served.model, served.limits
    table = scene_table(state.scene, limits)
    sites = [Site("resid_post", layer) for layer in range(limits.layers)]
    tokens = torch.from_numpy(model.config.geometry.tokens(table.patches()))
    with _running:
        with record_object_attention(tokens, model.config.geometry.prefix_tokens) as record:
            states = capture(model, _pixels(served, table), sites)
        same = _same(forward_from(model, sites[-1], states[sites[-1]]))[0]
        shares = np.stack(
            [
                attention_shares(mass, "corrected")[0].cpu().numpy()
                for mass in record.mass
                if mass is not None
            ]
        )
        look = Prediction(
            same, int(table.label[0]), shares, attention_maps(served.checkpoint, table)
        )
        curves = {name: np.full(limits.layers, np.nan) for name in CONTROLS[state.action]}
        size: list[int | None] = [None] * limits.layers
        for site, edits, directions in _ACTIONS[state.action](
            served, state, table, tokens[0], states
        ):
            size[site.layer] = directions
            for name, value in zip(curves, _same(forward_from(model, site, torch.cat(edits)))):
                curves[name][site.layer] = value
    return look, InterventionCurve(
        _goal(state, limits, look.truth), curves, size, model.config.hidden_size
    )


@torch.no_grad()
def answer(served: Served, picture: np.ndarray) -> float:
    """Probability of "same" for any picture of the model's size, uint8 ``(side, side, 3)``."""
    with _running:
        return _same(served.model(served.checkpoint.pixel_values(picture[None])).logits)[0]


CONTROLS = {
    "swap": ("edit", "other", "random"),
    "steer": ("edit", "shuffled"),
    "inject": ("edit", "random"),
}
"""What is computed for each action: the intervention, then its controls."""


def _swap(served: Served, state: State, table: SceneTable, tokens: torch.Tensor, states: dict):
    source = source_table(state, served.limits)
    theirs = torch.from_numpy(served.model.config.geometry.tokens(source.patches()))[0]
    found = {key: item for key, item in served.alignments.items() if key[0] == state.prop}
    given = capture(served.model, _pixels(served, source), [item.site for item in found.values()])
    for key, item in found.items():
        site, where = item.site, tokens[[state.edited]].to(states[item.site].device)
        giver, other = given[site][:, theirs[state.giver]], given[site][:, theirs[1 - state.giver]]
        operator = item.operator(where.device)
        edits = [
            intervene(states[site], where, value.to(states[site]), *operator)
            for value in (giver, other)
        ]
        edits.append(_into(states[site], where, giver, served.random_bases[key]))
        yield site, edits, item.size


def _steer(served: Served, state: State, table: SceneTable, tokens: torch.Tensor, states: dict):
    wanted = 1 - int(table.relation[0, state.pair])
    where = tokens[2 * state.pair : 2 * state.pair + 2].flatten()
    for layer in served.probes.layers:
        site, rows = Site("resid_post", layer), served.probes.pushes(layer)
        edits = []
        for condition in ("flip", "shuffled"):
            edited = states[site].clone()
            edited[:, where] += state.alpha * rows[condition][wanted].to(edited)
            edits.append(edited)
        yield site, edits, 1


def _inject(served: Served, state: State, table: SceneTable, tokens: torch.Tensor, states: dict):
    where = tokens[2 * state.pair : 2 * state.pair + 2].reshape(1, -1)
    second = torch.from_numpy(table.relation[:, state.pair].astype(np.int64))
    values, bank = served.bank.get(state.prop, (np.empty(0), {}))
    rng = np.random.default_rng(state.draw)
    four = rng.permutation(np.unique(values))[
        :4
    ]  # two vectors, each from two objects, all of different values
    chosen = [int(rng.choice(np.flatnonzero(values == value))) for value in four]
    generator = torch.Generator().manual_seed(state.draw)
    noise = torch.randn(1, 2, served.model.config.hidden_size, generator=generator)
    for site, known in bank.items():
        item, random = (
            served.alignments[state.prop, site.layer],
            served.random_bases[state.prop, site.layer],
        )
        drawn = torch.tensor(chosen).reshape(1, 2, 2)
        vectors = novel_vectors(
            known @ item.basis.T, state.method, drawn, noise[..., : item.size], second
        )
        places = where.to(states[site].device)
        yield (
            site,
            [
                _into(
                    states[site], places, vectors @ item.write_basis, item.basis, item.write_basis
                ),
                _into(states[site], places, vectors @ random, random),
            ],
            item.size,
        )


_ACTIONS = {"swap": _swap, "steer": _steer, "inject": _inject}


def _into(
    residual: torch.Tensor,
    where: torch.Tensor,
    value: torch.Tensor,
    basis: torch.Tensor,
    write: torch.Tensor | None = None,
) -> torch.Tensor:
    ones = torch.ones(len(basis), device=residual.device)
    written = (basis if write is None else write).to(residual.device)
    return intervene(residual, where, value.to(residual), basis.to(residual.device), ones, written)


def _goal(state: State, limits: Limits, truth: int) -> int:
    if state.action != "swap":
        return 1 - truth
    return int(scene_table(swapped(state), limits).label[0])


def swapped(state: State) -> tuple[PlacedObject, ...]:
    """The scene as it would be if the swap had been made to the objects themselves."""
    thing, giver = state.scene[state.edited], state.source[state.giver]
    values = {"shape": thing.shape, "color": thing.color} | {state.prop: getattr(giver, state.prop)}
    return state.with_thing(
        state.edited, PlacedObject(**values, row=thing.row, column=thing.column)
    ).scene


def _pixels(served: Served, table: SceneTable) -> torch.Tensor:
    return served.checkpoint.pixel_values(table)


def _same(logits: torch.Tensor) -> list[float]:
    return logits.softmax(-1)[:, 1].tolist()
