"""A dataset folder that plain ``load_dataset`` opens: built whole or not at all.

    build(BuildConfig("rmts", "b16-32"), "data/rmts")        # data/rmts/b16-32/*.parquet, data/rmts/README.md

1. Make the builder, which checks the settings, and compare them with the content of the folder.
2. Write the rows under a temporary name; for a shard those of its range, for a join those of the finished shards.
3. Name every file with its checksums in a manifest, and put the folder in place.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ..dataset_builders.counterfactuals.builder import Counterfactuals
from ..dataset_builders.photorealistic.builder import Photorealistic
from ..dataset_builders.scenes.builder import Scenes
from ..errors import RelViTError
from ..files import causes, file_lock, is_full_disk, tidy_after_kill, write_json
from ..limits import check_disk
from ..owned import clear_partials, move, partial_folder, remove_ours, replace_folder
from ..schemas import DataManifest, read_as
from ..stimuli.tasks import TASKS
from .card import check_card, rebuild_command, write_card
from .checksum import rows_checksum
from .dataset_folder import MANIFEST, dataset_files, find_damage, sha256
from .farm import STASH_FILES
from .settings import BuildConfig
from .shards import Shard, shards_folder

Builder = Scenes | Counterfactuals | Photorealistic
_OTHERS: dict[str, type[Counterfactuals | Photorealistic]] = {
    builder.task: builder for builder in (Counterfactuals, Photorealistic)
}
BUILDERS: dict[str, type[Builder]] = {**dict.fromkeys(TASKS, Scenes), **_OTHERS}
"""By the name of the data set, in the order of publishing."""
_LEAST_ROW = 500
"""Bytes on the disk, from below: rows of the smallest images of ours take about 1,070."""


def build(
    settings: BuildConfig,
    out: str | Path,
    *,
    shard: str | None = None,
    processes: int = 1,
    say: Callable[[str], object] = print,
) -> Path:
    """Write a stimulus set as ``<out>/<config>/<split>-0000x-of-0000n.parquet`` and the card ``<out>/README.md``.

    Several configs of one task may share ``out``, built one after the other. A folder appears under its name only
    when it is whole; leftovers of a killed build are removed by the next. A finished build of the same settings
    is kept if its files are sound, and made again if they are not or if the code that draws the scenes has changed.

    Several machines may share the work by index range: each builds its ``shard``, in any order, into
    ``<out>/<config>.shards/I-of-K``, and a last call without one joins them into the folder of a single machine, file
    by file. Machines without a shared disk build anywhere; bring their folders together before the last call.

    Args:
        settings: all that decides the rows.
        out: folder for all configs of the task.
        shard: "I/K" for the I-th of K parts of every split; by default all, or the parts that are there, joined.
        processes: the rows do not depend on it, only how many files hold them.
        say: is told, in one line, when there was nothing to do or why a dataset is made again.

    Returns:
        The folder of the config, or of the shard.

    Raises:
        RelViTError: bad settings; ``out`` holds something else, or shards of other settings; shards are missing;
            another process builds the same; the disk is full.
    """
    out = Path(out)
    with _one_line_errors(out / settings.config), tempfile.TemporaryDirectory() as scratch:
        builder = open_builder(settings, scratch)  # its lock goes there
        part = None if shard is None else Shard.parse(shard)
        if part is not None:
            builder.shard = part
            builder.check_shard()
        work = _Work(settings, builder, out, say)
        check_card(out, settings.task)
        if work.is_whole():
            return work.folder
        return work.join(processes) if part is None else work.make_shard(part, processes)


def open_builder(settings: BuildConfig, cache_dir: str | Path) -> Builder:
    """The builder of a stimulus set: of any task in ``stimuli.tasks``, of counterfactuals or photorealistic scenes.

    Raises:
        RelViTError: unknown task, bad settings.
    """
    given = settings.given()
    if settings.task in TASKS:
        return Scenes(str(cache_dir), settings.config, task=settings.task, **given)
    if settings.task not in _OTHERS:
        known = ", ".join([*TASKS, *_OTHERS])
        raise RelViTError(f"unknown task {settings.task!r}: expected one of {known}")
    return _OTHERS[settings.task](str(cache_dir), settings.config, **given)


@dataclass
class _Work:
    """One call of ``build``."""

    settings: BuildConfig
    builder: Builder
    out: Path
    say: Callable[[str], object]

    @property
    def folder(self) -> Path:
        return self.out / self.settings.config

    @property
    def shards(self) -> Path:
        return shards_folder(self.out, self.settings.config)

    @cached_property
    def request(self) -> dict[str, Any]:
        """Fields of a manifest that must be equal for its rows to be the wanted ones."""
        config = self.builder.config
        request = {
            "task": self.settings.task,
            "config": self.settings.config,
            "n_train": config.n_train,
            "n_eval": config.n_eval,
            "seed": config.seed,
            "objects": self.builder.objects.fingerprint(),
        }
        if isinstance(self.builder, Photorealistic):
            request["variant"] = self.builder.config.variant
            request["options"] = self.settings.options()
        return request

    @property
    def own_objects(self) -> bool:
        return self.builder.config.masks is not None

    def is_whole(self) -> bool:
        """Whether the config is there; the rest of a killed build is then done."""
        if not self._is_finished(self.folder, self.request):
            return False
        with file_lock(self.folder):
            clear_partials(self.out, self.folder.name)
            self._finish()
        return True

    def make_shard(self, shard: Shard, processes: int) -> Path:
        """Make a part of each split."""
        self._built_shards()
        folder = shard.folder(self.out, self.settings.config)
        request = {**self.request, "shard": str(shard)}
        if self._is_finished(folder, request):
            tidy_after_kill(folder, partial(_remove_stash, folder))
            return folder
        self._check_disk()
        with file_lock(folder):
            self._write(folder, request, processes)
        return folder

    def join(self, processes: int) -> Path:
        """Make the whole config, from its shards if there are any."""
        built = self._built_shards()
        if self.shards.exists():
            self.builder.finished = self._shard_files(built)
        self._check_disk()
        with file_lock(self.folder):
            self._write(self.folder, self.request, processes)
            self._finish()
        return self.folder

    def _check_disk(self) -> None:
        builder = self.builder
        rows = sum(len(builder.indices(split)) * builder.together for split in builder.splits)
        check_disk("rows", rows, _LEAST_ROW, self.out)

    def _write(self, folder: Path, request: dict, processes: int) -> None:
        """Make the rows, and put them in place with their manifest."""
        with partial_folder(folder) as work:
            if isinstance(self.builder, Photorealistic) and self.builder.finished is None:
                self.builder.render(str(_stash(folder)), processes)
            self.builder.download_and_prepare(
                str(work / "parquet"), file_format="parquet", num_proc=processes
            )
            self._collect(work / "parquet", work / "whole", request)
            ours = dataset_files(folder / MANIFEST)
            replace_folder(work / "whole", folder, last=MANIFEST, ours=ours)
            _remove_stash(folder)

    def _finish(self) -> None:
        """Write the card, and remove the shards that were joined, and their folder unless others' files are there."""
        write_card(self.out, self.settings.config)
        _remove_stash(self.folder)
        for manifest in sorted(self.shards.glob(f"*/{MANIFEST}")):
            shard = manifest.parent
            clear_partials(self.shards, shard.name)
            tidy_after_kill(shard, partial(_remove_stash, shard))
            remove_ours(shard, dataset_files(manifest))
        remove_ours(self.shards, ())

    def _is_finished(self, folder: Path, request: dict) -> bool:
        if not folder.exists():
            return False
        if not (folder / MANIFEST).exists():
            raise RelViTError(
                f"{folder} exists and is no finished dataset: delete it, or choose another --out"
            )
        manifest = read_as(folder / MANIFEST, DataManifest)
        _check_request(folder, manifest, request)
        if manifest["generator"] != self.builder.hash:
            self.say(f"{folder} was drawn by another version of the generator: making it again")
            return False
        if damage := find_damage(folder, manifest):
            self.say(f"{damage}: making all of {folder} again")
            return False
        self.say(f"{folder} is finished and sound: nothing to do")
        return True

    def _built_shards(self) -> dict[Shard, dict]:
        """The manifests of the shards that are built; RelViTError if one has other settings."""
        built = {}
        for path in sorted(self.shards.glob(f"[0-9]*/{MANIFEST}")):
            manifest = read_as(path, DataManifest)
            _check_request(path.parent, manifest, self.request)
            built[Shard.parse(manifest["shard"])] = manifest
        return built

    def _shard_files(self, built: dict[Shard, dict]) -> dict[str, list[Path]]:
        """The files of all shards by split, in the order of the rows; RelViTError unless all are there and sound."""
        totals = {shard.of for shard in built}
        command = rebuild_command({**self.request, "own_objects": self.own_objects}, self.out)
        if len(totals) != 1:
            listed = ", ".join(map(str, sorted(totals)))
            state = f"shards of different totals, {listed}" if totals else "no finished shard"
            raise RelViTError(
                f"{self.shards} holds {state}: build all with `{command} --shard I/K`, or remove the folder",
                page="missing-shards",
            )
        (total,) = totals
        wanted = [Shard(number, total) for number in range(1, total + 1)]
        missing = [str(shard) for shard in wanted if not self._is_sound(shard, built.get(shard))]
        if missing:
            raise RelViTError(
                f"{self.shards} lacks the shards {', '.join(missing)} (not built, damaged, or drawn by another "
                f"version of the generator): build each, the first with `{command} --shard {missing[0]}`, "
                "or bring it there",
                page="missing-shards",
            )
        files: dict[str, list[Path]] = {split: [] for split in self.builder.splits}
        for shard in wanted:
            folder = shard.folder(self.out, self.settings.config)
            for part in built[shard]["splits"]:
                files[part["name"]] += [folder / name for name in part["files"]]
        return files

    def _is_sound(self, shard: Shard, manifest: dict | None) -> bool:
        if manifest is None or manifest["generator"] != self.builder.hash:
            return False
        return not find_damage(shard.folder(self.out, self.settings.config), manifest)

    def _collect(self, parquet: Path, whole: Path, request: dict) -> None:
        """Give the files their final names and write the manifest beside them."""
        whole.mkdir()
        files = {}
        splits = []
        for split in self.builder.splits:
            made = _files_of(parquet, f"{self.builder.task}-{split}")
            names = [f"{split}-{i:05d}-of-{len(made):05d}.parquet" for i in range(len(made))]
            for file, name in zip(made, names):
                move(file, whole / name)
                files[name] = _facts(whole / name)
            rows = sum(files[name]["rows"] for name in names)
            checksum = rows_checksum([whole / name for name in names])
            splits.append({"name": split, "rows": rows, "checksum": checksum, "files": names})
        info = self.builder.info
        info.download_size = sum(facts["bytes"] for facts in files.values())
        info.write_to_directory(str(whole))
        manifest = {
            **request,
            "own_objects": self.own_objects,
            "version": str(self.builder.config.version),
            "generator": self.builder.hash,
            "hf_relvit": version("hf_relvit"),
            "splits": splits,
            "files": files,
        }
        write_json(whole / MANIFEST, manifest, owned=True)


def _stash(folder: Path) -> Path:
    """Where rendered scenes wait for their rows, so that a killed build goes on."""
    return folder.with_name(f".{folder.name}.rendered")


def _remove_stash(folder: Path) -> None:
    remove_ours(_stash(folder), STASH_FILES)


def _files_of(parquet: Path, name: str) -> list[Path]:
    """Files that ``datasets`` wrote for a split, in the order of the rows."""
    return sorted([*parquet.glob(f"{name}.parquet"), *parquet.glob(f"{name}-*.parquet")])


def _facts(file: Path) -> dict[str, Any]:
    rows = pq.read_metadata(file).num_rows
    return {"rows": rows, "bytes": file.stat().st_size, "sha256": sha256(file)}


def _check_request(folder: Path, manifest: dict, request: dict) -> None:
    for key, wanted in request.items():
        built = manifest.get(key, {})  # no options: a set made before there were any
        if built != wanted:
            raise RelViTError(
                f"{folder} was built with {key} {built}, not {wanted}: delete it, or choose another --out",
                page="other-settings",
            )


@contextlib.contextmanager
def _one_line_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        for cause in causes(error):
            if is_full_disk(cause):
                state = f"the disk is full while writing {folder}, nothing half-written is left"
                raise RelViTError(f"{state}: free some space and run again") from error
            if not isinstance(cause, Exception):
                raise cause from None  # an interrupt, hidden by what followed in `datasets`
        if isinstance(error, OSError):
            raise RelViTError(
                f"{folder} cannot be written ({error}): choose another --out"
            ) from error
        raise
