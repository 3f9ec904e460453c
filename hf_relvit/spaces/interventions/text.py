"""The last event, in plain words."""

from __future__ import annotations

from typing import Any

import numpy as np

from hf_relvit.stimuli.objects import COLOR_NAMES, SHAPE_NAMES
from hf_relvit.stimuli.scenes import LABELS

from .counts import CONDITION_NAMES, EITHER, pair_relation, read_counts
from .engine import InterventionCurve, Prediction, swapped
from .served import Served
from .state import PlacedObject, State

ACTION_NAMES = {
    "swap": "Swap a property",
    "steer": "Steer along a probe",
    "inject": "Inject a made-up value",
}
METHOD_NAMES = {
    "known": "of one other object",
    "added": "sum of two others",
    "interpolated": "halfway between two others",
    "sampled": "drawn to look like others",
    "random": "pure noise",
}
_LARGE = 50
"""Million parameters of the smallest of the paper's models, about."""


def name(placed: PlacedObject) -> str:
    """Such as "cyan star"."""
    return f"{COLOR_NAMES[placed.color]} {SHAPE_NAMES[placed.shape]}"


def percent(p: float) -> str:
    """A probability for reading: never 0 % or 100 % unless it is."""
    if 0 < p < 0.01:
        return "under 1 %"
    if 0.99 < p < 1:
        return "over 99 %"
    return f"{p:.0%}".replace("%", " %")


def _saying(same: float) -> str:
    """The answer with its own probability."""
    answer = int(same > 0.5)
    return f"{LABELS[answer]} ({percent(same if answer else 1 - same)})"


def _relation(state: State, pair: int) -> str:
    """Such as "A and B differ in color", or of RMTS "the sample pair (A, B) differs in color"."""
    one, other = state.scene[2 * pair : 2 * pair + 2]
    parts = []
    if one.shape != other.shape:
        parts.append("shape")
    if one.color != other.color:
        parts.append("color")
    difference = " and ".join(parts)
    if len(state.scene) == 2:
        return f"A and B differ in {difference}" if difference else "A and B are the same"
    subject = ("the sample pair (A, B)", "the display pair (C, D)")[pair]
    return f"{subject} differs in {difference}" if difference else f"{subject} is the same"


def decision(served: Served, state: State, prediction: Prediction) -> str:
    """The model's answer to the scene, whether it is right and why, and the parts that are new to it."""
    relations = [_relation(state, pair) for pair in range(len(state.scene) // 2)]
    why = (", and " if prediction.truth else ", but ").join(relations)
    right = "That is right"
    if prediction.answer != prediction.truth:
        right = f"That is wrong, it should say {LABELS[prediction.truth]}"
    said = _saying(prediction.same)
    return f"The model says {said}. {right}: {why}.{_new_combinations(served, state)}"


def _new_combinations(served: Served, state: State) -> str:
    """Which objects of the scene the training never showed; empty if there are none."""
    letters = []
    for index, placed in enumerate(state.scene):
        if not served.seen[placed.shape, placed.color]:
            letters.append(state.name(index))
    if not letters:
        return ""
    verb = "are combinations"
    names = letters[-1]
    if len(letters) == 1:
        verb = "is a combination"
    else:
        names = f"{', '.join(letters[:-1])} and {names}"
    return f" {names} {verb} of shape and color that training never showed."


def attention(state: State, prediction: Prediction) -> str:
    """Where the attention of the first pair's tokens goes in the chosen layer and head."""
    heads = prediction.shares[state.attention_layer]
    if state.attention_head < 0:
        who = "all heads together"
        shares = heads.mean(0)
    else:
        who = f"head {state.attention_head}"
        shares = heads[state.attention_head]
    targets = {
        "themselves": shares[0],
        "the other object of the pair": shares[1],
        "the display pair": shares[2],
        "the background": shares[3],
        "the class token": shares[4],
    }
    if len(state.scene) == 2:
        del targets["the display pair"]
    sent = ", ".join(f"{percent(share)} to {target}" for target, share in targets.items())
    return f"Layer {state.attention_layer}, {who}: A and B send {sent}."


def outcome(
    served: Served,
    state: State,
    prediction: Prediction,
    result: InterventionCurve,
) -> str:
    """The action on this scene, the expected answer, the model's own, and those of the controls.

    It claims nothing about the model: one scene has no interval. See :func:`often`.
    """
    after = {name: curve[state.layer] for name, curve in result.same.items()}
    edit = after.pop("edit")
    if np.isnan(edit):
        return f"Nothing was fitted after layer {state.layer} for this: choose another layer."
    size = result.size[state.layer]
    if not size:
        return f"After layer {state.layer} the fit found no direction that carries the {state.prop}: nothing to edit."
    where = f"{size} of {result.width} directions after layer {state.layer}"
    did, claim = _DID[state.action](state, where)
    before = prediction.answer
    should = "should stay" if result.goal == before else "should become"
    verdict = _verdict(prediction, result.goal, edit)
    told = "; ".join(
        f"with {CONDITION_NAMES[name]}, {_saying(same)}" for name, same in after.items()
    )
    sentences = [f"{did} {claim} {should} {LABELS[result.goal]}.", verdict, f"Controls: {told}."]
    flips = result.goal != before and int(edit > 0.5) == result.goal
    moved = _moved_controls(state, before, after)
    if flips and moved:
        sentences.append(f"But {' and '.join(moved)} did the same, so this flip shows nothing.")
    return " ".join(sentences)


def _moved_controls(state: State, before: int, after: dict[str, Any]) -> list[str]:
    """Names of the controls after which the answer is another one than before."""
    return [
        CONDITION_NAMES[name]
        for name, same in after.items()
        if int(same > 0.5) != before and _is_control(state, name)
    ]


def _verdict(prediction: Prediction, goal: int, edit: float) -> str:
    """Whether the answer after the edit is the one to expect."""
    said = _saying(edit)
    if int(edit > 0.5) != goal:
        still = "still " if goal != prediction.answer else ""
        return f"It does not: {still}{said}."
    if goal == prediction.answer:
        return f"It does: {said}."
    return f"It does: {said} instead of {_saying(prediction.same)}."


def _is_control(state: State, condition: str) -> bool:
    """Whether a control should leave the answer alone: the other source object may have the same value."""
    if condition != "other":
        return True
    partner = getattr(state.scene[state.edited ^ 1], state.prop)
    before = getattr(state.scene[state.edited], state.prop)
    after = getattr(state.source[1 - state.giver], state.prop)
    return (before == partner) == (after == partner)


def _swap(state: State, where: str) -> tuple[str, str]:
    placed = state.scene[state.edited]
    giver = state.source[state.giver]
    names = COLOR_NAMES if state.prop == "color" else SHAPE_NAMES
    value = names[getattr(giver, state.prop)]
    letter = state.name(state.edited)
    given_by = state.name(len(state.scene) + state.giver)
    did = (
        f"You gave {letter} ({name(placed)}) the {state.prop} of {given_by} ({value}), in {where}."
    )
    new = name(swapped(state)[state.edited])
    claim = (
        f"If the model keeps the {state.prop} there, {letter} now counts as a {new} and the answer"
    )
    return did, claim


def _steer(state: State, where: str) -> tuple[str, str]:
    relation = pair_relation(state)
    read = f"the direction that a linear probe reads as “{LABELS[1 - relation]}”"
    moved = f"{state.alpha:g} times {read}"
    did = f"You added {moved} to the tokens of {_pair(state)}, after layer {state.layer}."
    return did, "If the model uses the direction of the probe, the answer"


def _inject(state: State, where: str) -> tuple[str, str]:
    values = "different made-up values" if pair_relation(state) else "the same made-up value"
    if state.method == "known":
        values = values.replace("made-up", "borrowed")
    drawn = METHOD_NAMES[state.method]
    did = f"You gave {_pair(state)} {values} of {state.prop} ({drawn}), in {where}."
    return did, "If the model compares whatever stands there, the answer"


def _pair(state: State) -> str:
    return "C and D" if state.pair else "A and B"


_DID = {"swap": _swap, "steer": _steer, "inject": _inject}


def often(about: dict[str, Any], state: State) -> str:
    """How often it works over many scenes, and whether that is an effect, by the rule of all our reports.

    An effect is claimed only where its interval lies above those of all controls; see ``Reading.conclusion``.

    Args:
        about: of the model; its "measured" was counted when the model was prepared.
        state: the chosen intervention.
    """
    reading = read_counts(about, state)
    if reading is None:
        return "This was not counted over many scenes, so no effect is claimed."
    effect = reading.effect
    controls = [
        f"{percent(control.value)} with {control.name}" for control in reading.measured_controls()
    ]
    interval = f"{effect.low:.0%} to {effect.high:.0%}".replace("%", " %")
    doing_nothing = f"and in {percent(effect.floor or 0)} without doing anything"
    told = ", ".join([f"{percent(effect.value)} ({interval})", *controls, doing_nothing])
    whose = "" if reading.subject == EITHER else f" whose pair was {reading.subject}"
    conclusion = reading.conclusion(f"that lies above all controls: {_claim(state)}")
    return (
        f"One scene proves little. Over {effect.n} test scenes{whose}, the answer changes as it should in "
        f"{told}. {conclusion[0].upper()}{conclusion[1:].replace('%', ' %')}."
    )


def _claim(state: State) -> str:
    """The meaning of an effect of the chosen intervention."""
    if state.action == "swap":
        return f"in these scenes the answer is computed from the {state.prop} in these directions"
    if state.action == "steer":
        return "in these scenes the model uses this direction to judge"
    new = "values it has seen elsewhere" if state.method == "known" else "values it has never seen"
    return f"in these scenes the comparison also works on {new}"


def scope(served: Served) -> str:
    """How far the page's results reach: the size of the model beside the paper's."""
    parameters = served.parameters / 1e6
    side = served.limits.geometry.image_size
    size = f"This model has {parameters:.1f} million parameters and sees drawings of {side} pixels"
    if parameters >= _LARGE:
        beside = "it is one network of the size that the paper is about"
    else:
        beside = "the pretrained models that the paper is about, such as CLIP and DINOv2, have about 86 million"
    return f"{size}; {beside}. Findings in one need not hold in another."


def changed(before: State, after: State) -> str:
    """The person's changes to the scenes."""
    for index, (old, new) in enumerate(zip(before.placed_objects, after.placed_objects)):
        if old == new:
            continue
        letter = after.name(index)
        if (old.row, old.column) != (new.row, new.column):
            return f"You moved {letter} to row {new.row + 1}, column {new.column + 1}."
        return f"{letter} is now a {name(new)}."
    if before.selected == after.selected:
        return ""
    selected = after.placed(after.selected)
    return f"{after.name(after.selected)} is selected, a {name(selected)}."
