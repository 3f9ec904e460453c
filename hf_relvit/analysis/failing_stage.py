"""From measurements to a verdict: which stage fails, by which evidence, and which loss the paper prescribes for it.

1. Turn tables into criteria, split by split: a value of the best layer, its interval (Bonferroni over the layers), a
   threshold and controls, read as "yes", "no", "unclear" or "silent".
2. Perceptual: can shape and color be read from an object's tokens, and does the answer follow when they are swapped?
3. Relational: can "same" be read from a pair's tokens, and does the answer follow steering along it?
4. Per split name the stages that fail; "undetermined" where intervals hold their thresholds. The whole verdict is that
   of all splits together.
5. Losses by stage (paper, Table 1): disentanglement for the perceptual one, pipeline for the relational one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..claims import exceeds_controls
from ..measurements import Measurement, random_weights
from ..statistics import wilson
from ..stimuli.splits import SPLITS
from ..tables import largest, records
from ..words import split_name

NAMES = {
    "answers": "answers are right",
    "depends_shape": "the answer depends on shape",
    "depends_color": "the answer depends on color",
    "readable_shape": "shape can be read",
    "readable_color": "color can be read",
    "readable_relation": "the relation can be read",
    "swap_shape": "swapping shape changes the answer",
    "swap_color": "swapping color changes the answer",
    "whole_shape": "the object's own tokens carry shape",
    "whole_color": "the object's own tokens carry color",
    "steering": "steering along the relation flips the answer",
}
"""Per key of a criterion, its name in reports. Rules, pages and figures look criteria up by the key."""
STAGES = {
    "answers": "behavior",
    "depends": "behavior",
    "readable": "perceptual",
    "readable_relation": "relational",
    "swap": "perceptual",
    "whole": "perceptual",
    "steering": "relational",
}
"""Key of a criterion, or the first word of it -> the stage that it is about."""
NEGLIGIBLE = 0.6
"""Below this accuracy on pairs that differ in one property only, the answer as good as ignores the property: a fifth
of the way from guessing to perfect (our choice)."""


@dataclass(frozen=True)
class Criterion:
    """One piece of evidence.

    Attributes:
        stage: "behavior", "perceptual" or "relational".
        name: the question for readers, one of NAMES.
        split: of the scenes.
        value, ci_low, ci_high: with its interval: 95 % over all layers (and methods) among which the best was taken
            (Wilson, Bonferroni).
        n: scenes or pairs.
        layer: the best one; -1 where layers play no part.
        threshold: half-way between a model without any stage and the best that is possible (our choice). "yes" if the
            whole interval is above, "no" if it is below.
        control, control_low, control_high: a further bound to exceed, with its interval; NaN if there is none.
        control_name: its name.
        reading: "yes", "no", "unclear" (the interval holds the threshold, or the control's interval), or "silent" (it
            cannot tell here).
        decides: whether the verdict rests on it; the others are for the reader.
        key: the question for programs, such as "swap_shape", see NAMES.
    """

    stage: str
    name: str
    split: str
    value: float
    ci_low: float
    ci_high: float
    n: int
    threshold: float
    reading: str
    layer: int = -1
    control: float = np.nan
    control_low: float = np.nan
    control_high: float = np.nan
    control_name: str = ""
    decides: bool = True
    key: str = ""

    @property
    def measured(self) -> Measurement:
        """The value with its interval."""
        return Measurement(self.name, self.value, self.ci_low, self.ci_high, self.n)

    @property
    def title(self) -> str:
        """The question; in brackets if it does not decide."""
        return self.name if self.decides else f"({self.name})"

    def __post_init__(self):
        if not self.key:  # a file of an older version, which named the question only for readers
            known = {name: key for key, name in NAMES.items()}
            object.__setattr__(self, "key", known.get(self.name, ""))


@dataclass(frozen=True)
class Verdict:
    """Conclusion from the evidence.

    Attributes:
        verdict: "none", "perceptual", "relational", "both" or "undetermined", over all splits.
        by_split: the same, split by split.
        criteria: the evidence.
        reasons: why, in sentences.
        losses: "disentanglement", "pipeline": the auxiliary losses to train with; empty for none.
        advice: next steps, in sentences.
    """

    verdict: str
    by_split: dict[str, str]
    criteria: tuple[Criterion, ...]
    reasons: tuple[str, ...]
    losses: tuple[str, ...]
    advice: tuple[str, ...]


def judge(
    task: str,
    accuracy: pd.DataFrame,
    probes: pd.DataFrame,
    alignments: pd.DataFrame,
    steering: pd.DataFrame,
    trained_with: tuple[str, ...] = (),
) -> Verdict:
    """Weigh the evidence. All rules and thresholds are ours; the stages, and the loss for each, are the
    paper's (section on failure modes, Table 1).

    For each split:

    1. A property *depends*: is the model right on pairs that differ in that property alone, or in nothing? If not, no
       swap of it can be expected to change the answer, and the swap is silent.
    2. The perceptual stage works for a property if swapping it in one object's tokens changes the answer as it should,
       more often than the wrong object's and than in a network of random weights; it fails if the model depends on
       the property and no such swap works, or if the property cannot be read from the object's tokens although random
       weights would let it be read. (That it can be read alone proves little: it can from the pixels.)
    3. The relational stage works if the answers are right. It fails if a property can be read that the answer ignores,
       or if answers are wrong although the properties work or the pair's relation can be read from its tokens.

    "undetermined" if intervals do not allow more, or if no measure tells the model from one of random weights.

    Args:
        task: such as "discrimination" or "rmts".
        accuracy: of ``evaluation.evaluate``.
        probes: of ``fit_probes``, with ``split``, ``weights`` ("trained", "random") and ``scenes`` (their number).
        alignments: of ``score_alignment``, with ``weights``; ``control`` may also be "whole_object".
        steering: of ``steer``.
        trained_with: auxiliary losses that the model was trained with.
    """
    splits = [split for split in SPLITS if (alignments.split == split).any()]
    criteria: list[Criterion] = []
    by_split: dict[str, str] = {}
    stages: set[str] = set()
    reasons: list[str] = []
    mixed = False
    untrained = False
    for split in splits:
        found = {c.key: c for c in _evidence(split, accuracy, probes, alignments, steering)}
        criteria += found.values()
        failing, why, unsure = _stages(found, split)
        if split == "test":
            untrained = _like_random_weights(found)
        if untrained:  # then the other splits cannot tell more
            failing, why, unsure = _UNTRAINED
        by_split[split] = _name(failing, unsure)
        stages |= failing
        reasons += why
        mixed |= "perceptual" in failing and _is_mixed(found)
    verdict = _name(stages, "undetermined" in by_split.values())
    if untrained:
        verdict = "undetermined"
    else:
        reasons += _CLOSING.get(verdict, [])
    losses = _losses(verdict, task, mixed)
    advice = _advice(verdict, task, losses, mixed, untrained, trained_with)
    once = dict.fromkeys(reasons)
    return Verdict(verdict, by_split, tuple(criteria), tuple(once), losses, tuple(advice))


_UNTRAINED: tuple[set[str], list[str], bool] = (
    set(),
    ["No measure tells this model from a network with random weights."],
    True,
)
"""Failing stages, why, and unsure, see ``_stages``."""
_CLOSING = {
    "none": ["Objects are held apart by shape and color, and their comparison is right."],
    "undetermined": ["The intervals do not allow a verdict."],
}


def _is_mixed(found: dict[str, Criterion]) -> bool:
    """Whether an object's own tokens do not carry a property."""
    whole = [found[f"whole_{prop}"] for prop in ("shape", "color")]
    return any(criterion.reading == "no" for criterion in whole)


def _evidence(
    split: str,
    accuracy: pd.DataFrame,
    probes: pd.DataFrame,
    alignments: pd.DataFrame,
    steering: pd.DataFrame,
) -> Iterator[Criterion]:
    row = records(accuracy, split=split, condition="all")[0]
    answers = Measurement.from_row(row, "answers")
    yield _criterion("answers", split, Best(answers), 0.75, [random_weights(row)])
    for prop in ("shape", "color"):
        rows = alignments[
            (alignments.property == prop)
            & (alignments.split == split)
            & (alignments.condition == "all")
        ]
        own = rows[(rows.control == "none") & (rows.weights == "trained")]
        base = _best(own, "unedited", "base_accuracy", choices=1)
        depends = _criterion(f"depends_{prop}", split, base, NEGLIGIBLE)
        yield depends
        yield _readable(prop, split, probes)
        threshold = swap_threshold(base.measured.value)
        silent = depends.reading != "yes"
        yield _swap(prop, split, rows, threshold, silent)
        upper = _best(rows[rows.control == "whole_object"], "whole object")
        criterion = _criterion(f"whole_{prop}", split, upper, threshold, decides=False)
        yield replace(criterion, reading="silent") if silent else criterion
    yield _relation(split, probes)
    if split == "test" and len(steering):
        yield _steered(split, steering)


def _criterion(
    key: str,
    split: str,
    best: Best,
    threshold: float,
    controls: Sequence[Measurement] = (),
    decides: bool = True,
) -> Criterion:
    """A criterion with its reading; of several controls it names the one that reaches highest."""
    effect = best.measured
    reading = _reading(effect, threshold)
    compared = bool(controls) or effect.floor is not None
    if reading == "yes" and compared and not exceeds_controls(effect, controls):
        reading = "unclear"
    criterion = Criterion(
        STAGES.get(key) or STAGES[key.partition("_")[0]],
        NAMES[key],
        split,
        effect.value,
        effect.low,
        effect.high,
        effect.n,
        threshold,
        reading,
        layer=best.layer,
        decides=decides,
        key=key,
    )
    return _beside(criterion, controls) if controls else criterion


def _beside(criterion: Criterion, controls: Sequence[Measurement]) -> Criterion:
    shown = max(controls, key=lambda control: control.high)
    return replace(
        criterion,
        control=shown.value,
        control_low=shown.low,
        control_high=shown.high,
        control_name=shown.name,
    )


def _readable(prop: str, split: str, probes: pd.DataFrame) -> Criterion:
    """A property is missing only if random weights would show it: else the pixels do not give it away either."""
    rows = probes[(probes.target == prop) & (probes.split == split)]
    fitted = rows[rows.condition == "trained"]
    trained = fitted[fitted.weights == "trained"]
    best = _best(trained, prop)
    random = _control(fitted[fitted.weights == "random"], "random weights")
    threshold = (1 + trained.floor.iloc[0]) / 2
    shuffled = rows[(rows.condition == "shuffled") & (rows.weights == "trained")]
    controls = [_control(shuffled, "shuffled labels")] if len(shuffled) else []
    criterion = _criterion(f"readable_{prop}", split, best, threshold, controls)
    if criterion.reading == "no" and not exceeds_controls(random, [best.measured]):
        criterion = replace(criterion, reading="unclear")
    return _beside(criterion, [random])


def _relation(split: str, probes: pd.DataFrame) -> Criterion:
    """The judgement is there only where it is read better than from shuffled labels."""
    rows = probes[(probes.target == "judgement") & (probes.split == split)]
    trained = rows[rows.condition == "trained"]
    shuffled = _control(rows[rows.condition == "shuffled"], "shuffled labels")
    threshold = (1 + trained.floor.iloc[0]) / 2
    best = _best(trained, "judgement")
    return _criterion("readable_relation", split, best, threshold, [shuffled])


def _swap(prop: str, split: str, rows: pd.DataFrame, threshold: float, silent: bool) -> Criterion:
    trained = rows[rows.weights == "trained"]
    others = {
        "other object": trained[trained.control == "wrong_object"],
        "random weights": rows[rows.weights == "random"],
    }
    controls = [_control(part, name) for name, part in others.items() if len(part)]
    best = _best(trained[trained.control == "none"], "swap")
    criterion = _criterion(f"swap_{prop}", split, best, threshold, controls)
    if silent:
        return replace(criterion, reading="silent")
    beaten = any(exceeds_controls(control, [best.measured]) for control in controls)
    if beaten and best.measured.low > threshold:
        return replace(criterion, reading="no")
    return criterion


def _steered(split: str, steering: pd.DataFrame) -> Criterion:
    flips = steering[steering.condition == "flip"]
    top = largest(flips)
    same_push = (
        (steering.layer == top.layer) & (steering.alpha == top.alpha) & (steering.pair == top.pair)
    )
    others = steering[same_push & (steering.condition != "flip")]
    names = {"agree": "own relation", "shuffled": "shuffled probe"}
    controls = [
        _control(rows, names[str(condition)], choices=len(others))
        for condition, rows in others.groupby("condition")
    ]
    threshold = 0.5  # half-way between doing nothing, 1 - accuracy, and the model's accuracy
    return _criterion("steering", split, _best(flips, "flip"), threshold, controls, decides=False)


def swap_threshold(base_accuracy: float) -> float:
    """Half-way between an object that is spoiled, which makes its pair different, right for half, and the model."""
    return (0.5 + base_accuracy) / 2


def swaps_follow(rows: pd.DataFrame) -> bool:
    """Whether the best swap follows the source beyond doubt, so that no further search is needed.

    Args:
        rows: of ``score_alignment`` on all pairs of a split, without a control, one per alignment.
    """
    best = _best(rows, "swap")
    return best.measured.low > swap_threshold(rows.base_accuracy.max())


def _stages(found: dict[str, Criterion], split: str) -> tuple[set[str], list[str], bool]:
    """Failing stages, why, and whether something that decides is unclear."""
    where = split_name(split)
    failing: set[str] = set()
    why: list[str] = []
    states: list[str] = []
    for prop in ("shape", "color"):
        state, fact = _property_state(found, prop)
        states.append(state)
        if state in _FAILING:
            stage = _FAILING[state]
            failing.add(stage)
            why.append(f"{stage.capitalize()} stage, {where}: {fact}.")
    unsure = "unclear" in states
    answers = found["answers"]
    if answers.reading == "no" and "relational" not in failing:
        fact = _wrong_relation(found, states)
        if fact:
            failing.add("relational")
            why.append(f"Relational stage, {where}: {fact}.")
        else:
            unsure = True
    return failing, why, unsure or answers.reading == "unclear"


_FAILING = {"fails": "perceptual", "unused": "relational"}
"""State of a property -> the stage that it shows to fail."""


def _property_state(found: dict[str, Criterion], prop: str) -> tuple[str, str]:
    """Whether a property works, fails, is unused or unclear, and the fact that shows a failure."""
    swap = found[f"swap_{prop}"]
    read = found[f"readable_{prop}"]
    depends = found[f"depends_{prop}"]
    if swap.reading == "no" or (swap.reading == "silent" and read.reading == "no"):
        if swap.reading == "silent":
            fact, shown = f"{prop} cannot be read from the objects' tokens", read
        elif swap.value > swap.threshold:
            fact, shown = f"a swap of {prop} does no more than its control", swap
        else:
            fact, shown = f"a swap of {prop} between objects does not change the answer", swap
        return "fails", f"{fact} ({_numbers(shown)})"
    if swap.reading == "silent" and depends.reading == "no" and read.reading == "yes":
        return "unused", f"{prop} can be read, but the answer ignores it ({_numbers(depends)})"
    return "works" if swap.reading == "yes" else "unclear", ""


def _wrong_relation(found: dict[str, Criterion], states: list[str]) -> str:
    """The evidence that wrong answers come from the relational stage; "" if there is none."""
    answers = found["answers"]
    relation = found["readable_relation"]
    if relation.reading == "yes":
        return (
            f"the relation can be read from the pair's tokens ({_numbers(relation)}), "
            f"yet the answers are wrong ({_numbers(answers)})"
        )
    if states == ["works", "works"]:
        return f"swaps work, yet answers are wrong ({_numbers(answers)})"
    return ""


def _like_random_weights(found: dict[str, Criterion]) -> bool:
    """At chance, properties as readable as in the twin, and the relation no better than from shuffled labels."""
    answers = found["answers"]
    relation = found["readable_relation"]
    if answers.ci_low > 0.5 or answers.reading != "no" or relation.ci_low > relation.control_high:
        return False
    reads = [found[f"readable_{prop}"] for prop in ("shape", "color")]
    return all(c.ci_low <= c.control_high and c.control_low <= c.ci_high for c in reads)


def _losses(verdict: str, task: str, mixed: bool) -> tuple[str, ...]:
    if verdict in ("none", "undetermined"):
        return ()
    if verdict == "both" or (task == "rmts" and verdict == "perceptual") or mixed:
        return ("disentanglement", "pipeline")
    return ("disentanglement",) if verdict == "perceptual" else ("pipeline",)


def _train_first(task: str) -> Iterator[str]:
    yield "Train it first, or longer: these tasks tend to be learned late and suddenly."
    if task == "rmts":
        yield "From scratch, the paper finds that this task takes both auxiliary losses (Table 1)."


def _advice(
    verdict: str,
    task: str,
    losses: tuple[str, ...],
    mixed: bool,
    untrained: bool,
    trained_with: tuple[str, ...],
) -> Iterator[str]:
    if untrained:
        yield from _train_first(task)
        return
    if verdict == "undetermined":
        yield "Take more scenes and pairs (--scenes, --pairs), or a model that answers better."
    elif verdict == "none":
        yield "No auxiliary loss is called for."
    if "disentanglement" in losses and verdict != "relational":
        yield "The paper's remedy for the perceptual stage is the disentanglement loss."
    if verdict in ("relational", "both"):
        yield "The remedy for the relational stage is the pipeline loss: form objects first, compare them later."
    if mixed:
        yield (
            "An object's own tokens no longer decide the answer in the layers looked at: objects are compared, or "
            "spread over other tokens, before they are formed. The pipeline loss keeps the stages apart (our reading)."
        )
    if task == "rmts" and losses:
        yield "From scratch, the paper finds that this task takes both losses (Table 1)."
    if already := [loss for loss in losses if loss in trained_with]:
        yield (
            f"It was trained with {' and '.join(already)} already: train longer, on more combinations, or apply the "
            "loss at another layer (our advice)."
        )


def _name(failing: set[str], unsure: bool) -> str:
    if not failing:
        return "undetermined" if unsure else "none"
    return "both" if len(failing) == 2 else next(iter(failing))


class Best(NamedTuple):
    """A measurement and the layer that it is of; -1 where layers play no part."""

    measured: Measurement
    layer: int = -1


def _best(
    rows: pd.DataFrame, name: str, column: str = "accuracy", choices: int | None = None
) -> Best:
    """The row with the highest value, with an interval that allows for the choice.

    Args:
        rows: to choose from.
        name: of the measurement.
        column: of the values.
        choices: among how many it was chosen; all rows by default, and with 1 the layer plays no part.
    """
    top = largest(rows, column)
    n = int(top.get("scenes", top.n))
    level = 1 - 0.05 / (choices or len(rows))
    low, high = wilson(top[column] * n, n, level)
    floor = top.get("floor") if column == "accuracy" else None  # it is of the edit
    value = float(top[column])
    measured = Measurement(name, value, float(low), float(high), n, floor=floor)
    return Best(measured, -1 if choices == 1 else int(top.layer))


def _control(rows: pd.DataFrame, name: str, choices: int | None = None) -> Measurement:
    """The best of a control; its own floor plays no part."""
    best = _best(rows, name, choices=choices)
    return replace(best.measured, floor=None)


def _reading(effect: Measurement, threshold: float) -> str:
    if effect.low > threshold:
        return "yes"
    return "no" if effect.high < threshold else "unclear"


def _numbers(criterion: Criterion) -> str:
    c = criterion
    control = f"; {c.control_name} {c.control:.0%}" if c.control_name else ""
    layer = f", layer {c.layer}" if c.layer >= 0 else ""
    return (
        f"{c.value:.0%}, 95 % interval {c.ci_low:.0%} to {c.ci_high:.0%}, n = {c.n}{layer}; "
        f"threshold {c.threshold:.0%}{control}"
    )
