"""From a state to everything that the page shows of the model: pure functions, no Gradio."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
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


def scene_table(objects: tuple[PlacedObject, ...], limits: Limits, index: int = 0) -> SceneTable:
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


@torch.no_grad()
def react(served: Served, state: State) -> tuple[Prediction, InterventionCurve]:
    """Run the model on a checked state: the scene as it is, and the intervention after every layer."""
    limits = served.limits
    scene = scene_table(state.scene, limits)
    with _running:
        captured = Captured.of(served, scene)
        prediction = captured.prediction()
        curves = {name: np.full(limits.layers, np.nan) for name in CONTROLS[state.action]}
        size: list[int | None] = [None] * limits.layers
        for site, edited, directions in _ACTIONS[state.action](captured, state):
            size[site.layer] = directions
            logits = forward_from(served.model, site, torch.cat(edited))
            for curve, same in zip(curves.values(), _same(logits)):
                curve[site.layer] = same
    goal = _goal(state, limits, prediction.truth)
    width = served.model.config.hidden_size
    return prediction, InterventionCurve(goal, curves, size, width)


@dataclass(frozen=True, eq=False)
class Captured:
    """One pass of the model over a scene.

    Attributes:
        scene: a table of one row.
        tokens: of its objects, int64 ``(objects, p)``.
        states: residual streams after each block, ``(1, tokens, hidden)``.
        mass: attention of each block's object tokens, as ``record_object_attention`` records it.
    """

    served: Served
    scene: SceneTable
    tokens: torch.Tensor
    states: dict[Site, torch.Tensor]
    mass: list[torch.Tensor | None]

    @classmethod
    def of(cls, served: Served, scene: SceneTable) -> Captured:
        geometry = served.model.config.geometry
        tokens = torch.from_numpy(geometry.tokens(scene.patches()))
        sites = [Site("resid_post", layer) for layer in range(served.limits.layers)]
        with record_object_attention(tokens, geometry.prefix_tokens) as record:
            states = capture(served.model, _pixels(served, scene), sites)
        return cls(served, scene, tokens[0], states, record.mass)

    def prediction(self) -> Prediction:
        last = list(self.states)[-1]
        logits = forward_from(self.served.model, last, self.states[last])
        shares = [
            attention_shares(mass, "corrected")[0].cpu().numpy()
            for mass in self.mass
            if mass is not None
        ]
        return Prediction(
            same=_same(logits)[0],
            truth=int(self.scene.label[0]),
            shares=np.stack(shares),
            maps=attention_maps(self.served.checkpoint, self.scene),
        )

    def pair_tokens(self, pair: int) -> torch.Tensor:
        """Of both objects of a pair, int64 ``(2 * p,)``."""
        return self.tokens[2 * pair : 2 * pair + 2].flatten()


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


_Edits = Iterator[tuple[Site, list[torch.Tensor], int]]
"""Site, residual streams after the edit and after each control, number of directions."""


def _swap(captured: Captured, state: State) -> _Edits:
    served = captured.served
    source = source_table(state, served.limits)
    tokens = torch.from_numpy(served.model.config.geometry.tokens(source.patches()))[0]
    alignments = {key: item for key, item in served.alignments.items() if key[0] == state.prop}
    sites = [item.site for item in alignments.values()]
    states = capture(served.model, _pixels(served, source), sites)
    places = captured.tokens[[state.edited]]
    for key, alignment in alignments.items():
        site = alignment.site
        residual = captured.states[site]
        giver = states[site][:, tokens[state.giver]]
        other = states[site][:, tokens[1 - state.giver]]
        where = places.to(residual.device)
        operator = alignment.operator(residual.device)
        edited = [
            intervene(residual, where, giver, *operator),
            intervene(residual, where, other, *operator),
            _into(residual, places, giver, served.random_bases[key]),
        ]
        yield site, edited, alignment.size


def _steer(captured: Captured, state: State) -> _Edits:
    probes = captured.served.probes
    wanted = 1 - int(captured.scene.relation[0, state.pair])
    places = captured.pair_tokens(state.pair)
    for layer in probes.layers:
        site = Site("resid_post", layer)
        directions = probes.pushes(layer)
        edited = []
        for condition in ("flip", "shuffled"):
            residual = captured.states[site].clone()
            push = directions[condition][wanted].to(residual)
            residual[:, places] += state.alpha * push
            edited.append(residual)
        yield site, edited, 1


def _inject(captured: Captured, state: State) -> _Edits:
    served = captured.served
    if state.prop not in served.bank:
        return
    values, bank = served.bank[state.prop]
    places = captured.pair_tokens(state.pair)[None]
    relation = captured.scene.relation[:, state.pair]
    second = torch.from_numpy(relation.astype(np.int64))
    drawn = _drawn_objects(values, state.draw)
    generator = torch.Generator().manual_seed(state.draw)
    noise = torch.randn(1, 2, served.model.config.hidden_size, generator=generator)
    for site, known in bank.items():
        key = (state.prop, site.layer)
        alignment = served.alignments[key]
        vectors = novel_vectors(
            known @ alignment.basis.T,
            state.method,
            drawn,
            noise[..., : alignment.size],
            second,
        )
        residual = captured.states[site]
        write = alignment.write_basis
        random = served.random_bases[key]
        edited = [
            _into(residual, places, vectors @ write, alignment.basis, write),
            _into(residual, places, vectors @ random, random),
        ]
        yield site, edited, alignment.size


def _drawn_objects(values: np.ndarray, seed: int) -> torch.Tensor:
    """Objects of the bank for two vectors, each from two objects, all of different values: int64 ``(1, 2, 2)``."""
    rng = np.random.default_rng(seed)
    four = rng.permutation(np.unique(values))[:4]
    chosen = [int(rng.choice(np.flatnonzero(values == value))) for value in four]
    return torch.tensor(chosen).reshape(1, 2, 2)


_ACTIONS = {"swap": _swap, "steer": _steer, "inject": _inject}


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


def _goal(state: State, limits: Limits, truth: int) -> int:
    if state.action != "swap":
        return 1 - truth
    return int(scene_table(swapped(state), limits).label[0])


def swapped(state: State) -> tuple[PlacedObject, ...]:
    """The scene as it would be if the swap had been made to the objects themselves."""
    giver = state.source[state.giver]
    given = {state.prop: getattr(giver, state.prop)}
    changed = dataclasses.replace(state.scene[state.edited], **given)
    return state.with_object(state.edited, changed).scene


def _pixels(served: Served, table: SceneTable) -> torch.Tensor:
    return served.checkpoint.pixel_values(table)


def _same(logits: torch.Tensor) -> list[float]:
    return logits.softmax(-1)[:, 1].tolist()
