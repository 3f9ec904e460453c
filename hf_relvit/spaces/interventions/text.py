"""What just happened, in plain words."""

from __future__ import annotations

from typing import Any

import numpy as np

from hf_relvit.measurements import Measurement, exceeds_controls
from hf_relvit.stimuli.objects import COLOR_NAMES, SHAPE_NAMES
from hf_relvit.stimuli.scenes import LABELS

from .engine import InterventionCurve, Prediction, swapped
from .served import Served
from .state import PlacedObject, State

ACTION_NAMES = {
    "swap": "Swap a property",
    "steer": "Push along a probe",
    "inject": "Inject a made-up value",
}
METHOD_NAMES = {
    "known": "of one other object",
    "added": "sum of two others",
    "interpolated": "halfway between two others",
    "sampled": "drawn to look like others",
    "random": "pure noise",
}
CONDITION_NAMES = {
    "other": "the other source object",
    "random": "random directions",
    "shuffled": "shuffled probe",
}


def name(thing: PlacedObject) -> str:
    """Such as "cyan star"."""
    return f"{COLOR_NAMES[thing.color]} {SHAPE_NAMES[thing.shape]}"


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
    a, b = state.scene[2 * pair : 2 * pair + 2]
    differ = " and ".join(
        what for what in ("shape", "color") if getattr(a, what) != getattr(b, what)
    )
    if len(state.scene) == 2:
        return f"A and B differ in {differ}" if differ else "A and B are the same"
    who = ("the sample pair (A, B)", "the display pair (C, D)")[pair]
    return f"{who} differs in {differ}" if differ else f"{who} is the same"


def decision(served: Served, state: State, look: Prediction) -> str:
    """What the model says about the scene, whether it is right and why, and what is new to it."""
    link = ", and " if look.truth else ", but "
    why = link.join(_relation(state, pair) for pair in range(len(state.scene) // 2))
    right = (
        "That is right"
        if look.answer == look.truth
        else f"That is wrong, it should say {LABELS[look.truth]}"
    )
    new = [
        state.name(j)
        for j, thing in enumerate(state.scene)
        if not served.seen[thing.shape, thing.color]
    ]
    note = ""
    if new:
        is_are = "is a combination" if len(new) == 1 else "are combinations"
        names = " and ".join(filter(None, [", ".join(new[:-1]), new[-1]]))
        note = f" {names} {is_are} of shape and color that training never showed."
    return f"The model says {_saying(look.same)}. {right}: {why}.{note}"


def attention(state: State, look: Prediction) -> str:
    """Where the attention of the first pair's tokens goes in the chosen layer and head."""
    shares = look.shares[state.look_layer]
    own, pair, display, far, cls, _ = (
        shares.mean(0) if state.look_head < 0 else shares[state.look_head]
    )
    parts = [f"{percent(own)} to themselves", f"{percent(pair)} to the other object of the pair"]
    if len(state.scene) == 4:
        parts.append(f"{percent(display)} to the display pair")
    parts += [f"{percent(far)} to the background", f"{percent(cls)} to the class token"]
    who = "all heads together" if state.look_head < 0 else f"head {state.look_head}"
    return f"Layer {state.look_layer}, {who}: A and B send {', '.join(parts)}."


def outcome(served: Served, state: State, look: Prediction, result: InterventionCurve) -> str:
    """What was done to this scene, what the answer should be, what it is, and what the controls say.

    It claims nothing about the model: one scene has no interval. See :func:`often`.
    """
    if np.isnan(result.same["edit"][state.layer]):
        return f"Nothing was fitted after layer {state.layer} for this: choose another layer."
    size = result.size[state.layer]
    if not size:
        return f"After layer {state.layer} the fit found no direction that carries the {state.prop}: nothing to edit."
    where = f"{size} of {result.width} directions after layer {state.layer}"
    did, claim = _DID[state.action](state, where)
    after = result.same["edit"][state.layer]
    changes = result.goal != look.answer
    hit = int(after > 0.5) == result.goal
    should = "should become" if changes else "should stay"
    verdict = {
        (True, True): f"It does: {_saying(after)} instead of {_saying(look.same)}.",
        (True, False): f"It does not: still {_saying(after)}.",
        (False, True): f"It does: {_saying(after)}.",
        (False, False): f"It does not: {_saying(after)}.",
    }[changes, hit]
    controls = [c for c in result.same if c != "edit"]
    moved = [
        c
        for c in controls
        if int(result.same[c][state.layer] > 0.5) != look.answer and _is_control(state, c)
    ]
    told = "; ".join(
        f"with {CONDITION_NAMES[c]}, {_saying(result.same[c][state.layer])}" for c in controls
    )
    last = ""
    if changes and hit and moved:
        both = " and ".join(CONDITION_NAMES[c] for c in moved)
        last = f"But {both} did the same, so this flip shows nothing."
    return (
        f"{did} {claim} {should} {LABELS[result.goal]}. {verdict} Controls: {told}. {last}".strip()
    )


def _is_control(state: State, condition: str) -> bool:
    """Whether a control should leave the answer alone: the other source object may have the same value."""
    if condition != "other":
        return True
    thing, giver = state.scene[state.edited], state.source[1 - state.giver]
    partner = state.scene[state.edited ^ 1]
    was = getattr(thing, state.prop) == getattr(partner, state.prop)
    return was == (getattr(giver, state.prop) == getattr(partner, state.prop))


def _swap(state: State, where: str) -> tuple[str, str]:
    thing, giver = state.scene[state.edited], state.source[state.giver]
    value = (COLOR_NAMES if state.prop == "color" else SHAPE_NAMES)[getattr(giver, state.prop)]
    a, x = state.name(state.edited), state.name(len(state.scene) + state.giver)
    did = f"You gave {a} ({name(thing)}) the {state.prop} of {x} ({value}), in {where}."
    new = name(swapped(state)[state.edited])
    claim = f"If the model keeps the {state.prop} there, {a} now counts as a {new} and the answer"
    return did, claim


def _steer(state: State, where: str) -> tuple[str, str]:
    pair = "A and B" if state.pair == 0 else "C and D"
    relation = _pair_relation(state)
    read = f"the direction that a linear probe reads as “{LABELS[1 - relation]}”"
    did = f"You added {state.alpha:g} times {read} to the tokens of {pair}, after layer {state.layer}."
    return did, "If the model uses what the probe reads, the answer"


def _inject(state: State, where: str) -> tuple[str, str]:
    pair = "A and B" if state.pair == 0 else "C and D"
    how = "different made-up values" if _pair_relation(state) else "the same made-up value"
    if state.method == "known":
        how = how.replace("made-up", "borrowed")
    did = f"You gave {pair} {how} of {state.prop} ({METHOD_NAMES[state.method]}), in {where}."
    claim = "If the model compares whatever stands there, the answer"
    return did, claim


_DID = {"swap": _swap, "steer": _steer, "inject": _inject}


def _pair_relation(state: State) -> int:
    """Of the pair that is edited, 1 same."""
    pair = state.edited // 2 if state.action == "swap" else state.pair
    a, b = state.scene[2 * pair : 2 * pair + 2]
    return int((a.shape, a.color) == (b.shape, b.color))


def often(about: dict[str, Any], state: State) -> str:
    """How often it works over many scenes, and whether that is an effect, by the rule of all our reports.

    An effect is claimed only where its interval lies above those of all controls; see ``readings.exceeds_controls``.

    Args:
        about: of the model; its "measured" was counted when the model was prepared.
        state: the chosen intervention.
    """
    rows = [row for row in measured(about, state) if row["layer"] == state.layer]
    parts = {row["condition"]: Measurement.from_row(row, row["condition"]) for row in rows}
    effect = parts.pop("edit", None)
    if effect is None:
        return "This was not counted over many scenes, so no effect is claimed."
    controls = [f"{percent(part.value)} with {CONDITION_NAMES[key]}" for key, part in parts.items()]
    interval = f"{effect.low:.0%} to {effect.high:.0%}".replace("%", " %")
    told = "".join(f"{control}, " for control in controls)
    before = LABELS[_pair_relation(state)]
    if exceeds_controls(effect, parts.values()):
        conclusion = f"That lies above all controls: {_claim(state)}."
    else:
        conclusion = "That does not lie above all controls, so no effect is claimed."
    return (
        f"One scene proves little. Over {effect.n} test scenes whose pair was {before}, the answer changes as it "
        f"should in {percent(effect.value)} ({interval}), {told}and in {percent(effect.floor or 0)} without doing "
        f"anything. {conclusion}"
    )


def _claim(state: State) -> str:
    """What an effect of the chosen intervention means."""
    if state.action == "swap":
        return f"in these scenes the answer is computed from the {state.prop} in these directions"
    if state.action == "steer":
        return "in these scenes the model uses this direction to judge"
    new = "values it has seen elsewhere" if state.method == "known" else "values it has never seen"
    return f"in these scenes the comparison also works on {new}"


def scope(served: Served) -> str:
    """How far what the page shows reaches: the size of the model beside the paper's."""
    parameters = sum(parameter.numel() for parameter in served.model.parameters()) / 1e6
    side = served.limits.geometry.image_size
    return (
        f"This model has {parameters:.1f} million parameters and sees drawings of {side} pixels; the pretrained "
        "models that the paper is about, such as CLIP and DINOv2, have about 86 million. What holds in one need not "
        "hold in another."
    )


def measured(about: dict[str, Any], state: State) -> list[dict[str, Any]]:
    """The rows of about.json that belong to the chosen intervention; for steering those of the nearest alpha."""
    before = LABELS[_pair_relation(state)]
    rows = [
        row
        for row in about["measured"]
        if row["action"] == state.action and row["before"] == before
    ]
    if state.action == "swap":
        return [row for row in rows if row["what"] == state.prop]
    if state.action == "inject":
        return [row for row in rows if row["what"] == f"{state.prop} {state.method}"]
    pair = ("sample", "display")[state.pair]
    rows = [row for row in rows if row["what"].startswith(pair)]
    nearest = min(
        {row["what"] for row in rows},
        key=lambda what: abs(float(what.split()[1]) - state.alpha),
        default="",
    )
    return [row for row in rows if row["what"] == nearest]


def changed(before: State, after: State) -> str:
    """What the person did to the scenes."""
    for j, (old, new) in enumerate(zip(before.things, after.things)):
        if old == new:
            continue
        if (old.row, old.column) != (new.row, new.column):
            return f"You moved {after.name(j)} to row {new.row + 1}, column {new.column + 1}."
        return f"{after.name(j)} is now a {name(new)}."
    if before.selected != after.selected:
        return f"{after.name(after.selected)} is selected, a {name(after.things[after.selected])}."
    return ""
