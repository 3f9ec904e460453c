"""The rows of a dataset divided over processes and machines by index range, and joined again."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import multiprocess
import pyarrow.parquet as pq
from datasets import SplitGenerator

from ..errors import RelViTError

_RANGES = 64  # pieces of a split, so the most processes that can share it


@dataclass(frozen=True)
class Shard:
    """The ``number``-th of ``of`` parts of every split."""

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """A shard from "2/8".

        Raises:
            RelViTError: something else, or a number beyond its total.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise RelViTError(f"shard {text!r}: expected I/K with I from 1 to K, such as 2/8")
        return cls(int(found[1]), int(found[2]))

    def bounds(self, n: int) -> tuple[int, int]:
        """First index of the part and the one after its last, of n."""
        return n * (self.number - 1) // self.of, n * self.number // self.of

    def folder(self, out: Path, config: str) -> Path:
        """Where it lies until the shards are joined."""
        return shards_folder(out, config) / f"{self.number}-of-{self.of}"

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def shards_folder(out: Path, config: str) -> Path:
    return out / f"{config}.shards"


class Sharded:
    """What the builders share: their splits in ranges of indices, for any number of processes, machines or both.

    Attributes:
        splits: names of the splits.
        together: rows that are made together, and so never parted.
        shard: the part of each split to make.
        finished: split -> the files that hold its rows in their order; these are then taken instead of made.
    """

    config: Any
    splits: tuple[str, ...]
    _make: Callable[[str, int, list[tuple[int, int]]], Iterator[tuple[int, dict]]]
    """The keys and rows of some ranges of a split of so many indices."""
    together = 1
    shard = Shard()
    finished: dict[str, list[Path]] | None = None

    def check_shard(self) -> None:
        """Raise RelViTError if there is nothing for a shard of some split."""
        n = min(self._number(split) for split in self.splits)
        if self.shard.of > n:
            raise RelViTError(
                f"shard {self.shard}: expected at most {n} for a split of {n * self.together} rows"
            )

    def indices(self, split: str) -> range:
        """What this shard has to make of a split."""
        return range(*self.shard.bounds(self._number(split)))

    def _number(self, split: str) -> int:
        return (self.config.n_train if split == "train" else self.config.n_eval) // self.together

    def _split_generators(self, dl_manager) -> list[SplitGenerator]:
        generators = []
        for split in self.splits:
            n = self._number(split)
            wanted, pieces = self.indices(split), min(len(self.indices(split)), _RANGES)
            parts = [
                wanted[len(wanted) * i // pieces : len(wanted) * (i + 1) // pieces]
                for i in range(pieces)
            ]
            ranges = [(part.start, part.stop) for part in parts]
            generators.append(SplitGenerator(split, {"split": split, "n": n, "ranges": ranges}))
            generators[-1].split_info.num_examples = (
                len(wanted) * self.together
            )  # gives the progress bar its end
        return generators

    def _generate_examples(
        self, split: str, n: int, ranges: list[tuple[int, int]]
    ) -> Iterator[tuple[int, dict]]:
        if multiprocess.parent_process() is not None:
            _end_with_parent()
        if self.finished is None:
            yield from self._make(split, n, ranges)
            return
        for first, last in ranges:
            start, stop = first * self.together, last * self.together
            yield from enumerate(_stored_rows(self.finished[split], start, stop), start)


def _stored_rows(files: list[Path], start: int, stop: int) -> Iterator[dict]:
    first = 0
    for file in map(pq.ParquetFile, files):
        for group in range(file.num_row_groups):
            last = first + file.metadata.row_group(group).num_rows
            if first < stop and start < last:
                skipped = max(start - first, 0)
                yield from (
                    file.read_row_group(group)
                    .slice(skipped, min(stop, last) - first - skipped)
                    .to_pylist()
                )
            first = last


@cache
def _end_with_parent() -> None:
    """A worker of a pool whose owner was killed would wait for work forever."""
    parent = os.getppid()

    def follow() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
