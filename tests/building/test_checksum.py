"""The checksum of a data set is that of its rows, however many files hold them."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

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


def test_texts_that_only_join_alike_differ(tmp_path):
    one, other = (pa.table({"text": pa.array(t)}) for t in (["ab", "c"], ["a", "bc"]))
    assert rows_checksum(written(tmp_path, one, 2)) != rows_checksum(written(tmp_path, other, 2))
