"""The rows of a dataset divided over processes and machines by index range, and joined again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from datasets import GeneratorBasedBuilder, SplitGenerator

from ..errors import RelViTError
from .workers import Workers

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


class Sharded(GeneratorBasedBuilder):
    """What the builders share: their splits in ranges of indices, for any number of processes, machines or both.

    Attributes:
        splits: names of the splits.
        together: rows that are made together, and so never parted.
        shard: the part of each split to make.
        finished: split -> the files that hold its rows in their order; these are then taken instead of made.
    """

    config: Any
    splits: tuple[str, ...]
    _make: Callable[..., Iterator[tuple[int, dict]]]
    """The keys and rows of some ranges of a split of so many indices."""
    together = 1
    shard = Shard()
    finished: dict[str, list[Path]] | None = None
    _workers: Workers | None = None

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

    def download_and_prepare(self, *arguments, num_proc: int | None = None, **options) -> None:
        """As in ``datasets``, with its arguments; its processes are forked, ours are spawned (see ``workers``)."""
        with Workers(num_proc or 1) as workers:
            self._workers = workers if (num_proc or 1) > 1 else None
            super().download_and_prepare(*arguments, **options)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_workers": None}

    def _prepare_split_single(
        self, gen_kwargs, fpath, file_format, max_shard_size, split_info, job_id
    ) -> Iterator[tuple[int, bool, Any]]:
        """Write the rows as files; with workers, each takes some of the ranges, and the files follow each other."""
        whole = super()._prepare_split_single
        options = {
            "file_format": file_format,
            "max_shard_size": max_shard_size,
            "split_info": split_info,
        }
        if self._workers is None:
            yield from whole(gen_kwargs, fpath, job_id=job_id, **options)
            return
        parts = _shared(gen_kwargs["ranges"], self._workers.count)
        jobs = [
            (
                self,
                {
                    **options,
                    "gen_kwargs": {**gen_kwargs, "ranges": part},
                    "fpath": fpath,
                    "job_id": number,
                },
            )
            for number, part in enumerate(parts)
        ]
        results = [None] * len(jobs)
        for number, (_, done, content) in self._workers.run(_prepare, jobs):
            if done:
                results[number] = content
            else:
                yield job_id, False, content
        yield job_id, True, self._follow_each_other(fpath, results)

    def _follow_each_other(self, fpath: str, results: list) -> tuple:
        """Number the files of all jobs as if one job had written them; returns what that job would have."""
        rows, size, features, files, lengths, sources, source_lengths = zip(*results)
        for number, own in enumerate(files):
            before = sum(files[:number])
            for file in range(own):
                name = fpath.replace("SSSSS", f"{file:05d}").replace("JJJJJ", f"{number:05d}")
                final = fpath.replace("SSSSS", f"{before + file:05d}").replace("JJJJJ", "00000")
                self._rename(name, final)
        return (
            sum(rows),
            sum(size),
            features[0],
            sum(files),
            list(chain.from_iterable(lengths)),
            sum(sources),
            list(chain.from_iterable(source_lengths)),
        )

    def _generate_examples(self, **kwargs: Any) -> Iterator[tuple[Any, dict]]:
        if self.finished is None:
            yield from self._make(**kwargs)
            return
        files = self.finished[kwargs["split"]]
        for first, last in kwargs["ranges"]:
            start, stop = first * self.together, last * self.together
            yield from enumerate(_stored_rows(files, start, stop), start)


def _prepare(builder: Sharded, options: dict) -> Iterator[tuple[int, bool, Any]]:
    return builder._prepare_split_single(**options)


def _shared(ranges: list, workers: int) -> list[list]:
    """The ranges in groups that follow each other, one for each worker, the first ones larger by one."""
    groups = min(workers, len(ranges))
    least, rest = divmod(len(ranges), groups)
    ends = [least * number + min(number, rest) for number in range(groups + 1)]
    return [ranges[start:end] for start, end in pairwise(ends)]


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
