"""Tables: their files, read in one place with types and ranges of columns, and rows by the values of their columns."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from .errors import RelViTError

if TYPE_CHECKING:
    import pyarrow as pa


class Range(NamedTuple):
    """Numbers that a column may hold, besides none: ends included."""

    words: str
    low: float
    high: float = np.inf
    whole: bool = False


TEXT = "texts"
SHARE = Range("numbers from 0 to 1", 0, 1)
DIFFERENCE = Range("numbers from -1 to 1", -1, 1)
# Normal intervals of a share may reach a little beyond 0 and 1, and differences lie from -1.
END = Range("numbers from -1.25 to 1.25", -1.25, 1.25)
COUNT = Range("whole numbers from 0", 0, whole=True)
LAYER = Range("whole numbers from -1", -1, whole=True)  # -1: the embeddings
COLUMNS: dict[str, Range | str] = {
    "property": TEXT,
    "split": TEXT,
    "score": TEXT,
    "control": TEXT,
    "condition": TEXT,
    "weights": TEXT,
    "baseline": TEXT,
    "method": TEXT,
    "target": TEXT,
    "form": TEXT,
    "kind": TEXT,
    "measure": TEXT,
    "pair": TEXT,
    "heads": TEXT,
    "replacement": TEXT,
    "lost": DIFFERENCE,
    "lost_low": DIFFERENCE,
    "lost_high": DIFFERENCE,
    "accuracy": SHARE,
    "value": DIFFERENCE,
    "base_accuracy": SHARE,
    "train_accuracy": SHARE,
    "floor": SHARE,
    "auc": SHARE,
    "ci_low": END,
    "ci_high": END,
    "alpha": Range("numbers", -np.inf),
    "head": COUNT,
    "n": COUNT,
    "draws": COUNT,
    "size": COUNT,
    "layer": LAYER,
}
"""Content of the columns that readings look up, by name: a name means the same in all of our tables."""


def read_table(file: Path, columns: Sequence[str] = ()) -> pd.DataFrame:
    """A table from Parquet, or from CSV by the ending ``.csv``.

    Args:
        file: of the table.
        columns: that it must have.

    Raises:
        RelViTError: it cannot be read, lacks a column, as a table of an older version may, or holds values in a column
            of ``COLUMNS`` that cannot be.
    """
    with _one_line(file):
        table = pd.read_csv(file) if file.suffix == ".csv" else pd.read_parquet(file)
    for column in columns:
        if column not in table:
            raise RelViTError(
                f"{file} has no column {column}: it is of an older version, or no table of ours; make it again"
            )
    for column in COLUMNS.keys() & set(table.columns):
        _check_column(file, column, table[column])
    return table


def read_rows(file: Path) -> pa.Table:
    """A Parquet file of a dataset; RelViTError if it cannot be read."""
    import pyarrow.parquet as pq

    with _one_line(file):
        return pq.read_table(file)


@contextlib.contextmanager
def _one_line(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError, AttributeError, NotImplementedError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise RelViTError(f"cannot read the table {file} ({reason}): make it again") from error


def _check_column(file: Path, column: str, values: pd.Series) -> None:
    expected = COLUMNS[column]
    if isinstance(expected, Range):
        fits = values.dtype.kind in "iuf" and _within(values.to_numpy(dtype=float), expected)
        words = expected.words
    else:
        fits = all(isinstance(value, str) for value in values)
        words = expected
    if not fits:
        shown = ", ".join(map(str, values.iloc[:3]))
        raise RelViTError(
            f"{file} holds {column} {shown[:60]} ...: expected {words}; it is no table of ours, or make it again"
        )


def _within(values: np.ndarray, expected: Range) -> bool:
    """Whether all numbers are in a range; NaN stands for no measurement."""
    values = values[~np.isnan(values)]
    whole = not expected.whole or np.all(values % 1 == 0)
    return bool(whole and np.all((expected.low <= values) & (values <= expected.high)))


def select(table: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """The rows whose columns have these values: ``select(table, split="test", layer=2)``."""
    for column, value in values.items():
        table = table[table[column] == value]
    return table


def records(table: pd.DataFrame, **values: Any) -> list[dict[str, Any]]:
    """The same rows as dictionaries."""
    rows: Any = select(table, **values).to_dict("records")
    return rows


def named_rows(table: pd.DataFrame, **values: Any) -> Iterator[Any]:
    """The same rows, with an attribute for each column."""
    yield from select(table, **values).itertuples()


def largest(table: pd.DataFrame, column: str = "accuracy") -> Any:
    """The first row with the largest value of a column, as a Series; labels of rows may repeat."""
    return table.iloc[table[column].argmax()]
