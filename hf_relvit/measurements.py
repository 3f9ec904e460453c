"""A measured share with its interval, its number of scenes and its floor; ``claims`` says when it is an effect."""

from __future__ import annotations

from collections.abc import Mapping
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
