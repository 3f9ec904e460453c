"""The common part of tables of scenes and of pairs of scenes: rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class RowTable:
    """A struct of columns, which are arrays or tables themselves, and of values that all rows share."""

    def columns(self) -> dict[str, Any]:
        """Name -> array or table, each with one entry per row."""
        values = vars(self).items()
        return {name: value for name, value in values if isinstance(value, np.ndarray | RowTable)}

    def __len__(self) -> int:
        first = next(iter(self.columns().values()))
        return len(first)

    def __getitem__(self, rows) -> Self:
        """A smaller table; an integer gives a table of one row."""
        if isinstance(rows, int | np.integer):
            rows = [rows]
        columns = self.columns().items()
        chosen = {name: column[rows] for name, column in columns}
        return dataclasses.replace(self, **chosen)

    @classmethod
    def concatenate(cls, tables: Sequence[Self]) -> Self:
        """Tables of one origin, one below the other."""
        joined = {}
        for name, column in tables[0].columns().items():
            join = np.concatenate
            if isinstance(column, RowTable):
                join = column.concatenate
            joined[name] = join([getattr(table, name) for table in tables])
        return dataclasses.replace(tables[0], **joined)
