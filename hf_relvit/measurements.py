"""Measured shares beside their controls, and the one rule of claims from them.

An effect is claimed where its interval lies above those of all of its controls (``exceeds_controls``). Reports, cards,
the Space and verdicts ask this rule and know no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .statistics import wilson

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Measurement:
    """One share of scenes or pairs, 0 to 1.

    Attributes:
        name: in words.
        low, high: 95 % interval.
        n: scenes or pairs.
        base: the same in the network with random weights; None if that was not measured.
        floor: the value of guessing or doing nothing; None where there is no such thing.
        base_floor: the floor of the network with random weights; None if it is the same, or was not measured.
    """

    name: str
    value: float
    low: float
    high: float
    n: int
    base: float | None = None
    floor: float | None = None
    base_floor: float | None = None

    @property
    def interval(self) -> str:
        """As all tables show it, such as "0.975–0.995"."""
        return f"{self.low:.3f}–{self.high:.3f}"

    def to_row(self) -> dict[str, Any]:
        """The columns of a table of accuracies."""
        return {
            "accuracy": self.value,
            "ci_low": self.low,
            "ci_high": self.high,
            "n": self.n,
            "base_accuracy": self.base,
            "floor": self.floor,
        }

    @classmethod
    def from_row(
        cls, row: Mapping[str, Any] | pd.Series, name: str, base: Any = None
    ) -> Measurement:
        """Of a row of a table: ``accuracy, ci_low, ci_high, n`` and, where there is one, ``floor``.

        Args:
            row: of a table, or of JSON.
            name: in words.
            base: the row of the network with random weights.
        """
        floor = row.get("floor")
        return cls(
            name,
            row["accuracy"],
            row["ci_low"],
            row["ci_high"],
            int(row["n"]),
            base=None if base is None else base["accuracy"],
            floor=floor,
            base_floor=None if base is None or base["floor"] == floor else base["floor"],
        )


def exceeds_controls(effect: Measurement, controls: Iterable[Measurement]) -> bool:
    """Whether an effect may be claimed: its interval lies above the intervals of all of its controls.

    Doing nothing (``effect.floor``) counts as a control. Without any control nothing is claimed. Our choice; intervals
    that do not touch are a stricter test than a difference at the 5 % level.

    Args:
        effect: over many scenes; a single scene has no interval that could lie above another.
        controls: the same measurement where the effect must not appear.
    """
    limits = [control.high for control in controls]
    if effect.floor is not None:
        limits.append(effect.floor)
    return bool(limits) and all(effect.low > limit for limit in limits)


@dataclass(frozen=True)
class Reading:
    """An analysis of one subject on one split, at the layer where its effect is largest on the IID test.

    Attributes:
        subject: property, target of a probe, or pair.
        split: of the scenes.
        layer: of the model.
        parts: key -> measurement; "effect" is the analysis's own.
        controls: keys of the parts in which the effect must not appear.
        strength: how hard a steered model was pushed; 0 for other analyses.
    """

    subject: str
    split: str
    layer: int
    parts: Mapping[str, Measurement]
    controls: tuple[str, ...]
    strength: float = 0.0

    @property
    def effect(self) -> Measurement:
        return self.parts["effect"]

    def share(self, part: str) -> str:
        """Of one part, such as "83%"; tables of others may lack the rows of a control."""
        measured = self.parts.get(part)
        return "not measured" if measured is None else f"{measured.value:.0%}"

    def measured_controls(self) -> list[Measurement]:
        """The controls that were measured."""
        return [self.parts[key] for key in self.controls if key in self.parts]

    def holds(self) -> bool:
        """Whether the effect may be claimed; see ``exceeds_controls``."""
        return exceeds_controls(self.effect, self.measured_controls())

    def conclusion(self, claim: str) -> str:
        """``claim`` if it may be made; else which control forbids it.

        Args:
            claim: a clause, such as "the answer follows it more often than all controls".
        """
        if self.holds():
            return claim
        low = self.effect.low
        reached = [each for each in self.measured_controls() if not low > each.high]
        if reached:
            strongest = max(reached, key=lambda control: control.high)
            limit = f"{strongest.name}, up to {strongest.high:.0%}"
            return f"no effect is claimed: its interval does not lie above the control ({limit})"
        if self.effect.floor is None:
            return "no effect is claimed: no control was measured"
        return "no effect is claimed: its interval does not lie above doing nothing"


def random_weights(
    row: Mapping[str, Any] | pd.Series, independent: int | None = None
) -> Measurement:
    """The accuracy of the network with random weights, as a control of the accuracy in the same row.

    Args:
        row: of a table of accuracies.
        independent: number of scenes that are independent of each other; all by default.
    """
    base = row["base_accuracy"]
    n = int(row["n"]) if independent is None else independent
    low, high = wilson(base * n, n)
    return Measurement("random weights", base, float(low), float(high), n)
