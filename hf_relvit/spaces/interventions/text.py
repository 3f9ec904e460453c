"""What just happened, in plain words."""

from __future__ import annotations

from typing import Any

import numpy as np

from hf_relvit.stimuli.objects import COLOR_NAMES, SHAPE_NAMES
from hf_relvit.stimuli.scenes import LABELS

from .engine import Look, Outcome, swapped
from .served import Served
from .state import State, Thing

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


def name(thing: Thing) -> str:
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


def decision(served: Served, state: State, look: Look) -> str:
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


def attention(state: State, look: Look) -> str:
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


def outcome(served: Served, state: State, look: Look, result: Outcome) -> str:
    """What was done, what the answer should be, what it is, what the controls say, and what follows."""
    if np.isnan(result.same["edit"][state.layer]):
        return f"Nothing was fitted after layer {state.layer} for this: choose another layer."
    size = result.size[state.layer]
    if not size:
        return f"After layer {state.layer} the fit found no direction that carries the {state.prop}: nothing to edit."
    did, claim, so = _DID[state.action](
        state, look, f"{size} of {result.width} directions after layer {state.layer}"
    )
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
    if changes and hit:
        both = " and ".join(CONDITION_NAMES[c] for c in moved)
        last = (
            f"But {both} did the same, so this flip shows nothing." if moved else f"So here {so}."
        )
    elif changes:
        last = "So on this scene the answer does not hang on what was edited."
    else:
        last = ""
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


def _swap(state: State, look: Look, where: str) -> tuple[str, str, str]:
    thing, giver = state.scene[state.edited], state.source[state.giver]
    value = (COLOR_NAMES if state.prop == "color" else SHAPE_NAMES)[getattr(giver, state.prop)]
    a, x = state.name(state.edited), state.name(len(state.scene) + state.giver)
    did = f"You gave {a} ({name(thing)}) the {state.prop} of {x} ({value}), in {where}."
    new = name(swapped(state)[state.edited])
    claim = f"If the model keeps the {state.prop} there, {a} now counts as a {new} and the answer"
    return (
        did,
        claim,
        f"these directions carry the {state.prop}, and the answer is computed from them",
    )


def _steer(state: State, look: Look, where: str) -> tuple[str, str, str]:
    pair = "A and B" if state.pair == 0 else "C and D"
    relation = _pair_relation(state)
    read = f"the direction that a linear probe reads as “{LABELS[1 - relation]}”"
    did = f"You added {state.alpha:g} times {read} to the tokens of {pair}, after layer {state.layer}."
    return (
        did,
        "If the model uses what the probe reads, the answer",
        "the model uses this direction to judge",
    )


def _inject(state: State, look: Look, where: str) -> tuple[str, str, str]:
    pair = "A and B" if state.pair == 0 else "C and D"
    how = "different made-up values" if _pair_relation(state) else "the same made-up value"
    if state.method == "known":
        how = how.replace("made-up", "borrowed")
    did = f"You gave {pair} {how} of {state.prop} ({METHOD_NAMES[state.method]}), in {where}."
    claim = "If the model compares whatever stands there, the answer"
    new = "values it has seen elsewhere" if state.method == "known" else "values it has never seen"
    return did, claim, f"the comparison also works on {new}"


_DID = {"swap": _swap, "steer": _steer, "inject": _inject}


def _pair_relation(state: State) -> int:
    """Of the pair that is edited, 1 same."""
    pair = state.edited // 2 if state.action == "swap" else state.pair
    a, b = state.scene[2 * pair : 2 * pair + 2]
    return int((a.shape, a.color) == (b.shape, b.color))


def often(about: dict[str, Any], state: State) -> str:
    """How often it works over many scenes, from what was counted when the model was prepared."""
    rows = [row for row in measured(about, state) if row["layer"] == state.layer]
    edit = next((row for row in rows if row["condition"] == "edit"), None)
    if edit is None:
        return ""
    controls = [
        f"{percent(row['accuracy'])} with {CONDITION_NAMES[row['condition']]}"
        for row in rows
        if row is not edit
    ]
    interval = f"{edit['ci_low']:.0%} to {edit['ci_high']:.0%}".replace("%", " %")
    beside = f", {', '.join(controls)}" if controls else ""
    return (
        f"One scene proves little. Over {edit['n']} test scenes whose pair was {edit['before']}, "
        f"the answer changes as it should in "
        f"{percent(edit['accuracy'])} ({interval}){beside}, and in {percent(edit['floor'])} without doing anything."
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
