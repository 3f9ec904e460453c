"""A checksum of rows and pixels: the same for any number of files, zlib and pyarrow."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..stimuli.png import pixel_checksum

_ROWS = 1_024  # looked at together: pyarrow's 65,536 take 300 MB of the smallest pictures


def rows_checksum(files: list[Path]) -> str:
    """16 hexadecimal digits of all columns and pixels of Parquet files, in their order."""
    digests = {}
    for name, column in _columns(files):
        if name not in digests:
            digests[name] = hashlib.sha256(name.encode())
        elif pa.types.is_string(column.type):
            digests[name].update(b"\0")  # as between the texts of one batch
        digests[name].update(_bytes(column))
    whole = hashlib.sha256()
    for digest in digests.values():
        whole.update(digest.digest())
    return whole.hexdigest()[:16]


def _columns(files: list[Path]) -> Iterator[tuple[str, pa.Array]]:
    """The columns of all files, batch by batch."""
    for file in files:
        parquet = pq.ParquetFile(file)
        for group in range(parquet.num_row_groups):  # read together, pyarrow holds all of them
            for batch in parquet.iter_batches(_ROWS, row_groups=[group]):
                yield from zip(batch.schema.names, batch.columns)


def _bytes(column: pa.Array) -> bytes:
    kind = column.type
    if pa.types.is_struct(kind):  # images
        images = column.to_pylist()
        checksums = [pixel_checksum(image["bytes"]) for image in images]
        return np.array(checksums, dtype="<i8").tobytes()
    if pa.types.is_string(kind):
        return "\0".join(column.to_pylist()).encode()
    if pa.types.is_list(kind):
        return _bytes(column.flatten())
    number = "<f8" if pa.types.is_floating(kind) else "<i8"
    values = column.to_numpy(zero_copy_only=False)
    return values.astype(number).tobytes()
