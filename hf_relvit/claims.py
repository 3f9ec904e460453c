"""The one rule of claims: an effect is claimed where its interval lies above those of all of its controls.

Reports, cards, the Space and verdicts ask this rule and know no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .measurements import Measurement


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
        strength: how hard a model was steered; 0 for other analyses.
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
