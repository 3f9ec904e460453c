"""A checksum of rows and pixels: the same for any number of files, zlib and pyarrow."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..stimuli.png import pixel_checksum


def rows_checksum(files: list[Path]) -> str:
    """16 hexadecimal digits of all columns and pixels of Parquet files, in their order."""
    digests = {}
    for file in files:
        for batch in pq.ParquetFile(file).iter_batches():
            for name, column in zip(batch.schema.names, batch.columns):
                if name not in digests:
                    digests[name] = hashlib.sha256(name.encode())
                elif pa.types.is_string(column.type):
                    digests[name].update(b"\0")  # as between the texts of one batch
                digests[name].update(_bytes(column))
    whole = b"".join(digest.digest() for digest in digests.values())
    return hashlib.sha256(whole).hexdigest()[:16]


def _bytes(column: pa.Array) -> bytes:
    if pa.types.is_struct(column.type):  # images
        checksums = [pixel_checksum(image["bytes"]) for image in column.to_pylist()]
        return np.array(checksums, dtype="<i8").tobytes()
    if pa.types.is_string(column.type):
        return "\0".join(column.to_pylist()).encode()
    while pa.types.is_list(column.type):
        column = column.flatten()
    kind = "<f8" if pa.types.is_floating(column.type) else "<i8"
    return column.to_numpy(zero_copy_only=False).astype(kind).tobytes()
