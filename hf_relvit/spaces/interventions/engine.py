"""From a state to everything that the page shows of the model: pure functions, no Gradio."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from .edits import CONTROLS, edit
from .passes import patch_attention, probabilities, same_of, scene_pass, scene_table
from .served import Served
from .state import Limits, PlacedObject, State
from .turns import Turns

EDITS = 4096
"""Layers of interventions whose outcome is kept, of all visitors: three numbers each."""
_turns = Turns()


@dataclass(frozen=True, eq=False)
class Prediction:
    """The model's answer to the scene.

    Attributes:
        same: probability of "same".
        truth: the right answer, 1 same.
        shares: attention of the first pair's tokens, float32 ``(layers, heads, kinds)``, see ``attention.KINDS``.
    """

    same: float
    truth: int
    shares: np.ndarray

    @property
    def answer(self) -> int:
        return int(self.same > 0.5)


@dataclass(frozen=True, eq=False)
class InterventionCurve:
    """The effect of an intervention after each layer.

    Attributes:
        goal: the answer to expect if the model keeps the property where it is edited, 1 same.
        same: probability of "same" by layer, NaN where nothing was fitted or not computed yet: "edit", and the
            controls "other" (property of the other source object), "random" (a random subspace of the same size) or
            "shuffled" (a probe of shuffled labels, lengthened to the same norm).
        size: directions that are edited, by layer.
        width: of the residual stream.
    """

    goal: int
    same: dict[str, np.ndarray]
    size: list[int | None]
    width: int


def react(
    served: Served, state: State, layers: Iterable[int] | None = None
) -> tuple[Prediction, InterventionCurve]:
    """Run the model on a checked state: the scene as it is, and the intervention after layers.

    Args:
        layers: which; all by default.
    """
    wanted = range(served.limits.layers) if layers is None else layers
    with _turns.answer(), torch.no_grad():
        scene = scene_pass(served, state)
        outcomes = {layer: _outcome(served, _edited(state), layer) for layer in wanted}
    prediction = Prediction(scene.same, int(scene.scene.label[0]), scene.shares)
    return prediction, _curve(served, state, prediction.truth, outcomes)


def compute_later(served: Served, state: State, layer: int) -> None:
    """Run an intervention after a layer, once nobody waits for an answer; :func:`react` then has it at once."""
    with _turns.curve(), torch.no_grad():
        _outcome(served, _edited(state), layer)


def attention_on_patches(served: Served, state: State) -> np.ndarray:
    """Attention in the chosen layer: float32 ``(heads, patches, patches)``."""
    with _turns.answer(), torch.no_grad():
        return patch_attention(served, state.scene, state.attention_layer)


def answer(served: Served, picture: np.ndarray) -> float:
    """Probability of "same" for any picture of the model's size, uint8 ``(side, side, 3)``."""
    pixels = served.checkpoint.pixel_values(picture[None])
    with _turns.answer(), torch.no_grad(), served.precision():
        return same_of(served.model(pixels).logits)[0]


def swapped(state: State) -> tuple[PlacedObject, ...]:
    """The scene as it would be if the swap had been made to the objects themselves."""
    giver = state.source[state.giver]
    given = {state.prop: getattr(giver, state.prop)}
    changed = dataclasses.replace(state.scene[state.edited], **given)
    return state.with_object(state.edited, changed).scene


_Outcome = tuple[dict[str, float], int]
"""Probability of "same" after the edit and after each control, and how many directions were edited."""


@lru_cache(maxsize=EDITS)
def _outcome(served: Served, edited: State, layer: int) -> _Outcome | None:
    made = edit(served, edited, layer)
    if made is None:
        return None
    same = probabilities(served, made.site, torch.cat(made.streams))
    return dict(zip(CONTROLS[edited.action], same)), made.directions


def _edited(state: State) -> State:
    """The state without the choices of the view, so that looking elsewhere computes nothing anew."""
    return dataclasses.replace(
        state,
        selected=0,
        attention_layer=0,
        attention_head=-1,
        layer=0,
    )


def _curve(
    served: Served, state: State, truth: int, outcomes: dict[int, _Outcome | None]
) -> InterventionCurve:
    limits = served.limits
    curves = {name: np.full(limits.layers, np.nan) for name in CONTROLS[state.action]}
    size: list[int | None] = [None] * limits.layers
    for layer, outcome in outcomes.items():
        if outcome is None:
            continue
        after, size[layer] = outcome
        for name, same in after.items():
            curves[name][layer] = same
    width = served.model.config.hidden_size
    return InterventionCurve(
        _goal(state, limits, truth),
        curves,
        size,
        width,
    )


def _goal(state: State, limits: Limits, truth: int) -> int:
    if state.action != "swap":
        return 1 - truth
    return int(scene_table(swapped(state), limits).label[0])
