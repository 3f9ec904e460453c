"""A dataset folder that plain ``load_dataset`` opens: built whole or not at all, and checked before it is read."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..dataset_builders.counterfactuals.builder import Counterfactuals
from ..dataset_builders.discrimination.builder import Discrimination
from ..dataset_builders.photorealistic.builder import Photorealistic
from ..dataset_builders.rmts.builder import RMTS
from ..errors import RelViTError
from ..files import file_lock, write_json
from ..limits import check_disk
from ..owned import clear_partials, move, partial_folder, remove_ours, replace_folder
from ..schemas import DataManifest, read_as
from ..stimuli.png import pixel_checksum
from .card import check_card, rebuild_command, write_card
from .common import SceneBuilder
from .farm import STASH_FILES
from .folder import dataset_files, find_damage, sha256
from .shards import Shard, shards_folder

_Builder = SceneBuilder | Photorealistic
_BUILDERS: dict[str, type[_Builder]] = {
    builder.task: builder for builder in (Discrimination, RMTS, Counterfactuals, Photorealistic)
}
_LEAST_ROW = 500
"""Bytes on the disk, from below: rows of the smallest images of ours take about 1,070."""
_REQUEST = ("task", "config", "n_train", "n_eval", "seed", "objects")


def build(
    task: str,
    config: str,
    out: str | Path,
    *,
    n_train: int | None = None,
    n_eval: int | None = None,
    seed: int = 0,
    num_proc: int = 1,
    masks: str | Path | None = None,
    palette: str | Path | None = None,
    variant: str | None = None,
    options: Mapping[str, Any] | None = None,
    shard: str | None = None,
    say: Callable[[str], object] = print,
) -> Path:
    """Write a stimulus set as ``<out>/<config>/<split>-0000x-of-0000n.parquet`` and the card ``<out>/README.md``.

    Several configs of one task may share ``out``, built one after the other. A folder appears under its name only
    when it is whole; what a killed build leaves behind is removed by the next. A finished build of the same request
    is kept if its files are sound, and made again if they are not or if the code that draws the scenes has changed.

    Several machines may share the work by index range: each builds its ``shard``, in any order, into
    ``<out>/<config>.shards/I-of-K``, and a last call without one joins them into what a single machine writes, file
    by file. Machines without a shared disk build anywhere; bring their folders together before the last call.

    Args:
        task: "discrimination", "rmts", "counterfactuals" or "photorealistic".
        config: "<geometry>-<combinations>", such as "b16-32"; of counterfactuals "<task>-b16-32"; of photorealistic
            scenes "default" or "tiny".
        out: folder for all configs of the task.
        n_train, n_eval: rows in the training split and in each other split; the task's own numbers by default.
        seed: of everything random.
        num_proc: processes; the rows do not depend on it, only how many files hold them.
        masks, palette: your own shapes and colors (``ObjectSet.from_folder``); for photorealistic scenes, ``masks``
            is the folder of your own objects (``Library.from_folder``).
        variant: of the renderer of photorealistic scenes, "scalar" (the default) or "llvm". What is rendered already
            is kept when a build is killed.
        options: further fields of ``PhotoConfig`` for photorealistic scenes, such as ``full_rotation``; None is the
            config's own.
        shard: "I/K" for the I-th of K parts of every split; by default all, or the parts that are there, joined.
        say: is told, in one line, when there was nothing to do or why a dataset is made again.

    Returns:
        The folder of the config, or of the shard.

    Raises:
        RelViTError: bad parameters; ``out`` holds something else, or shards of other settings; shards are missing;
            another process builds the same; the disk is full.
    """
    if task not in _BUILDERS:
        raise RelViTError(f"unknown task {task!r}: expected one of {', '.join(_BUILDERS)}")
    changed = {key: value for key, value in (options or {}).items() if value is not None}
    if task != Photorealistic.task and (changed or variant is not None):
        what = ", ".join([*changed, *(["variant"] if variant is not None else [])])
        raise RelViTError(
            f"{what} for {task}: expected none, as these are for photorealistic scenes alone"
        )
    out = Path(out)
    folder = out / config
    with _one_line_errors(folder), contextlib.ExitStack() as stack:
        # only the builder's lock goes there
        scratch = stack.enter_context(tempfile.TemporaryDirectory())
        given = {"n_train": n_train, "n_eval": n_eval, "masks": masks, "palette": palette}
        if task == Photorealistic.task:
            given |= changed | {"variant": variant}
        builder = _BUILDERS[task](scratch, config, seed=seed, **given)
        if shard is not None:
            builder.shard = Shard.parse(shard)
            builder.check_shard()
        sizes = builder.config.n_train, builder.config.n_eval
        request = dict(zip(_REQUEST, (task, config, *sizes, seed, builder.objects.fingerprint())))
        if isinstance(builder, Photorealistic):
            request |= {"variant": builder.config.variant, "options": changed}
        check_card(out, task)
        if folder.exists() and _is_finished(folder, request, builder.hash, say):
            with file_lock(folder):  # in case the last build was killed before these
                clear_partials(folder.parent, folder.name)
                write_card(out, config)
                _remove_shards(shards_folder(out, config))
            return folder
        shards = _shards(out, config, request)
        if shard is not None:
            folder, request = builder.shard.folder(out, config), request | {"shard": shard}
            if folder.exists() and _is_finished(folder, request, builder.hash, say):
                return folder
        elif shards_folder(out, config).exists():
            builder.finished = _complete(builder, out, request, shards)
        rows = sum(len(builder.indices(split)) * builder.together for split in builder.splits)
        check_disk("rows", rows, _LEAST_ROW, out)
        stack.enter_context(file_lock(folder))
        work = stack.enter_context(partial_folder(folder))
        stash = folder.parent / f".{folder.name}.rendered"
        if isinstance(builder, Photorealistic) and builder.finished is None:
            builder.render(str(stash), num_proc)
        builder.download_and_prepare(
            str(work / "parquet"), file_format="parquet", num_proc=num_proc
        )
        _collect(builder, work / "parquet", work / "whole", request)
        replace_folder(
            work / "whole",
            folder,
            last="manifest.json",
            ours=dataset_files(folder / "manifest.json"),
        )
        remove_ours(stash, STASH_FILES)
        if shard is None:
            write_card(out, config)
            _remove_shards(shards_folder(out, config))
    return folder


def _remove_shards(shards: Path) -> None:
    """Remove the shards that were joined, and their folder if nothing of others is in it."""
    for manifest in sorted(shards.glob("*/manifest.json")):
        clear_partials(shards, manifest.parent.name)
        remove_ours(manifest.parent, dataset_files(manifest))
    remove_ours(shards, ())


def _shards(out: Path, config: str, request: dict) -> dict[Shard, dict]:
    """The manifests of the shards that are built; RelViTError if one has other settings."""
    found = {}
    for path in sorted(shards_folder(out, config).glob("[0-9]*/manifest.json")):
        manifest = read_as(path, DataManifest)
        _check_request(path.parent, manifest, request)
        found[Shard.parse(manifest["shard"])] = manifest
    return found


def _complete(
    builder: _Builder, out: Path, request: dict, shards: dict[Shard, dict]
) -> dict[str, list[Path]]:
    """The files of all shards by split, in the order of the rows; RelViTError unless all are there and sound."""
    config, totals = request["config"], {shard.of for shard in shards}
    where = shards_folder(out, config)
    command = rebuild_command(request | {"own_objects": builder.config.masks is not None}, out)
    if len(totals) != 1:
        state = (
            f"shards of different totals, {', '.join(map(str, sorted(totals)))}"
            if totals
            else "no finished shard"
        )
        raise RelViTError(
            f"{where} holds {state}: build all with `{command} --shard I/K`, or remove the folder"
        )
    wanted = [Shard(number, *totals) for number in range(1, max(totals) + 1)]
    missing = [
        str(shard)
        for shard in wanted
        if shard not in shards
        or shards[shard]["generator"] != builder.hash
        or find_damage(shard.folder(out, config), shards[shard])
    ]
    if missing:
        raise RelViTError(
            f"{where} lacks the shards {', '.join(missing)} (not built, damaged, or drawn by another version of the "
            f"generator): build each, the first with `{command} --shard {missing[0]}`, or bring it there"
        )
    return {
        split: [
            shard.folder(out, config) / name
            for shard in wanted
            for part in shards[shard]["splits"]
            if part["name"] == split
            for name in part["files"]
        ]
        for split in builder.splits
    }


def _is_finished(folder: Path, request: dict, generator: str, say: Callable[[str], object]) -> bool:
    if not (folder / "manifest.json").exists():
        raise RelViTError(
            f"{folder} exists and is no finished dataset: delete it, or choose another --out"
        )
    manifest = read_as(folder / "manifest.json", DataManifest)
    _check_request(folder, manifest, request)
    if manifest["generator"] != generator:
        say(f"{folder} was drawn by another version of the generator: making it again")
        return False
    if damage := find_damage(folder, manifest):
        say(f"{damage}: making all of {folder} again")
        return False
    say(f"{folder} is finished and sound: nothing to do")
    return True


def _check_request(folder: Path, manifest: dict, request: dict) -> None:
    for key in request:
        built = manifest.get(key, {})  # no options: a set made before there were any
        if built != request[key]:
            raise RelViTError(
                f"{folder} was built with {key} {built}, not {request[key]}: delete it, or choose another --out"
            )


def _collect(builder: _Builder, parquet: Path, whole: Path, request: dict) -> None:
    """Give the shards their final names and write the manifest beside them."""
    whole.mkdir()
    files, splits = {}, []
    for split in builder.splits:
        shards = sorted(
            [
                *parquet.glob(f"{builder.task}-{split}.parquet"),
                *parquet.glob(f"{builder.task}-{split}-*.parquet"),
            ]
        )
        names = [f"{split}-{i:05d}-of-{len(shards):05d}.parquet" for i in range(len(shards))]
        for shard, name in zip(shards, names):
            move(shard, whole / name)
            rows = pq.read_metadata(whole / name).num_rows
            files[name] = {
                "rows": rows,
                "bytes": (whole / name).stat().st_size,
                "sha256": sha256(whole / name),
            }
        rows = sum(files[name]["rows"] for name in names)
        checksum = _checksum([whole / name for name in names])
        splits.append({"name": split, "rows": rows, "checksum": checksum, "files": names})
    builder.info.download_size = sum(facts["bytes"] for facts in files.values())
    builder.info.write_to_directory(str(whole))
    manifest = {
        **request,
        "own_objects": builder.config.masks is not None,
        "version": str(builder.config.version),
        "generator": builder.hash,
        "hf_relvit": version("hf_relvit"),
        "splits": splits,
        "files": files,
    }
    write_json(whole / "manifest.json", manifest, owned=True)


def _checksum(files: list[Path]) -> str:
    """16 hexadecimal digits of all columns and pixels: the same for any number of files, zlib and pyarrow."""
    digests = {}
    for file in files:
        for batch in pq.ParquetFile(file).iter_batches():
            for name, column in zip(batch.schema.names, batch.columns):
                if name not in digests:
                    digests[name] = hashlib.sha256(name.encode())
                elif pa.types.is_string(column.type):
                    digests[name].update(b"\0")  # as between the texts of one batch
                digests[name].update(_bytes(column))
    return hashlib.sha256(b"".join(digest.digest() for digest in digests.values())).hexdigest()[:16]


def _bytes(column: pa.Array) -> bytes:
    if pa.types.is_struct(column.type):  # images
        return np.array(
            [pixel_checksum(image["bytes"]) for image in column.to_pylist()], dtype="<i8"
        ).tobytes()
    if pa.types.is_string(column.type):
        return "\0".join(column.to_pylist()).encode()
    while pa.types.is_list(column.type):
        column = column.flatten()
    kind = "<f8" if pa.types.is_floating(column.type) else "<i8"
    return column.to_numpy(zero_copy_only=False).astype(kind).tobytes()


@contextlib.contextmanager
def _one_line_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        for cause in _causes(error):
            if os.strerror(errno.ENOSPC) in str(cause):
                state = f"the disk is full while writing {folder}, nothing half-written is left"
                raise RelViTError(f"{state}: free some space and run again") from error
            if not isinstance(
                cause, Exception
            ):  # an interrupt, hidden by what followed from it in `datasets`
                raise cause from None
        if isinstance(error, OSError):
            raise RelViTError(
                f"{folder} cannot be written ({error}): choose another --out"
            ) from error
        raise


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
