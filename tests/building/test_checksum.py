"""The checksum of a data set is that of its rows, however many files hold them."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hf_relvit.building import checksum
from hf_relvit.building.checksum import rows_checksum

COLUMNS = {
    "text": pa.array([f"row {i}" for i in range(12)]),
    "number": pa.array(range(12)),
    "share": pa.array([i / 7 for i in range(12)]),
    "list": pa.array([[i, i + 1] for i in range(12)]),
}


def written(folder, table, pieces):
    paths = []
    size = -(-len(table) // pieces)
    for i in range(pieces):
        paths.append(folder / f"{pieces}-{i}.parquet")
        pq.write_table(table.slice(i * size, size), paths[-1])
    return paths


@pytest.mark.parametrize("column", COLUMNS)
def test_any_number_of_files_gives_onerows_checksum(tmp_path, column):
    table = pa.table({column: COLUMNS[column]})
    assert len({rows_checksum(written(tmp_path, table, pieces)) for pieces in (1, 2, 3, 12)}) == 1


def test_rows_are_looked_at_a_few_at_a_time(tmp_path, monkeypatch):
    """So a shard of any size is built in the same memory; the checksum does not depend on it."""
    (file,) = written(tmp_path, pa.table(COLUMNS), 1)
    whole = rows_checksum([file])
    looked_at = []

    def noted(column):
        looked_at.append(len(column))
        return bytes_of(column)

    bytes_of = checksum._bytes
    monkeypatch.setattr(checksum, "_bytes", noted)
    monkeypatch.setattr(checksum, "_ROWS", 5)
    assert rows_checksum([file]) == whole
    assert {*looked_at} >= {5, 2} and max(looked_at) <= 10  # a list of two numbers per row


def test_texts_that_only_join_alike_differ(tmp_path):
    one, other = (pa.table({"text": pa.array(t)}) for t in (["ab", "c"], ["a", "bc"]))
    assert rows_checksum(written(tmp_path, one, 2)) != rows_checksum(written(tmp_path, other, 2))
