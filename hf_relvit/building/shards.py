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
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if match is not None:
            number, total = map(int, match.groups())
            if 1 <= number <= total:
                return cls(number, total)
        raise RelViTError(f"shard {text!r}: expected I/K with I from 1 to K, such as 2/8")

    def bounds(self, n: int) -> tuple[int, int]:
        """First index of the part and the one after its last, of n."""
        start = n * (self.number - 1) // self.of
        stop = n * self.number // self.of
        return start, stop

    def folder(self, out: Path, config: str) -> Path:
        """Where it lies until the shards are joined."""
        return shards_folder(out, config) / f"{self.number}-of-{self.of}"

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def shards_folder(out: Path, config: str) -> Path:
    return out / f"{config}.shards"


class Sharded(GeneratorBasedBuilder):
    """The common part of the builders: splits in ranges of indices, for any number of processes or machines.

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
        """The part of a split that this shard makes."""
        return range(*self.shard.bounds(self._number(split)))

    def _number(self, split: str) -> int:
        config = self.config
        rows = config.n_train if split == "train" else config.n_eval
        return rows // self.together

    def _split_generators(self, dl_manager) -> list[SplitGenerator]:
        generators = []
        for split in self.splits:
            wanted = self.indices(split)
            given = {
                "split": split,
                "n": self._number(split),
                "ranges": _ranges(wanted),
            }
            generator = SplitGenerator(split, given)
            rows = len(wanted) * self.together
            generator.split_info.num_examples = rows  # for the progress bar
            generators.append(generator)
        return generators

    def download_and_prepare(self, *arguments, num_proc: int | None = None, **options) -> None:
        """As in ``datasets``, with its arguments; its processes are forked, ours are spawned (see ``workers``)."""
        processes = num_proc or 1
        with Workers(processes) as workers:
            self._workers = workers if processes > 1 else None
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
        jobs = []
        for number, part in enumerate(parts):
            job = {
                **options,
                "gen_kwargs": {**gen_kwargs, "ranges": part},
                "fpath": fpath,
                "job_id": number,
            }
            jobs.append((self, job))
        results = [None] * len(jobs)
        for number, progress in self._workers.run(_prepare, jobs):
            _, done, content = progress
            if done:
                results[number] = content
            else:
                yield job_id, False, content
        whole_result = self._follow_each_other(fpath, results)
        yield job_id, True, whole_result

    def _follow_each_other(self, fpath: str, results: list) -> tuple:
        """Number the files of all jobs as if one job had written them; returns the files of that job."""
        rows, size, features, files, lengths, sources, source_lengths = zip(*results)
        before = 0
        for job, count in enumerate(files):
            for file in range(count):
                made = _numbered(fpath, job, file)
                final = _numbered(fpath, 0, before + file)
                self._rename(made, final)
            before += count
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
            start = first * self.together
            stop = last * self.together
            yield from enumerate(_stored_rows(files, start, stop), start)


def _ranges(wanted: range) -> list[tuple[int, int]]:
    """Some indices in pieces that follow each other: the first of each and the one after its last."""
    count = len(wanted)
    pieces = max(min(count, _RANGES), 1)
    ends = [wanted.start + count * i // pieces for i in range(pieces + 1)]
    return list(pairwise(ends))


def _numbered(fpath: str, job: int, file: int) -> str:
    """The name that ``datasets`` gives to a file of a job."""
    of_job = fpath.replace("JJJJJ", f"{job:05d}")
    return of_job.replace("SSSSS", f"{file:05d}")


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
            rows = file.metadata.row_group(group).num_rows
            last = first + rows
            low = max(start, first)
            high = min(stop, last)
            if low < high:
                table = file.read_row_group(group)
                wanted = table.slice(low - first, high - low)
                yield from wanted.to_pylist()
            first = last
