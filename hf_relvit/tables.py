"""Rows of tables by the values of their columns."""

from __future__ import annotations

from typing import Any

import pandas as pd


def select(table: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """The rows whose columns have these values: ``select(table, split="test", layer=2)``."""
    for column, value in values.items():
        table = pd.DataFrame(table[table[column] == value])
    return table


def records(table: pd.DataFrame, **values: Any) -> list[dict[str, Any]]:
    """The same rows as dictionaries."""
    rows: Any = select(table, **values).to_dict("records")
    return rows
