"""Rendering with several processes: one whole file for each two twins, so that a killed build goes on where it was."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from datasets.utils import are_progress_bars_disabled
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from ..errors import RelViTError, RelViTWarning
from ..files import atomic_write, read_json, write_json
from ..owned import check_empty, remove_ours
from ..progress import progress_bar
from ..stimuli.photorealistic.library import Library
from ..stimuli.photorealistic.placement import draw_twins, scene_mask
from ..stimuli.photorealistic.rendering import choose_variant, render_photo
from ..stimuli.photorealistic.scenes import PhotoScene, SceneOptions, pairings
from .workers import WorkerLost, Workers

REQUEST = "request.json"
STASH_FILES = (REQUEST, "pair-*.npz")


@dataclass(frozen=True)
class Job:
    """Facts for a worker to make any two twins; ``objects``: folder of your own ones, None for ours."""

    options: SceneOptions
    objects: str | None = None
    size: int = 224
    variant: str = "scalar"


@dataclass(frozen=True, eq=False)
class Pair:
    """Two twins: scenes, images uint8 ``(2, size, size, 3)``, masks uint8 ``(2, size, size)``."""

    scenes: tuple[PhotoScene, ...]
    images: np.ndarray
    masks: np.ndarray


class Farm:
    """Pairs of a job, rendered when they are asked for or, before, all at once into a folder.

    Args:
        job: to render.
        stash: folder for finished pairs; None keeps nothing.
    """

    def __init__(self, job: Job, stash: str | Path | None):
        self.job = job
        self.stash = None if stash is None else Path(stash)

    def pair(self, number: int) -> Pair:
        """Two twins, from the stash if they are there."""
        if self.stash is None:
            return make_pair(self.job, number)
        path = pair_file(self.stash, number)
        if not path.exists():
            return make_pair(self.job, number)
        try:
            with path.open("rb") as file, np.load(file) as held:
                rows = json.loads(str(held["scenes"]))
                scenes = tuple(PhotoScene.from_row(row) for row in rows)
                return Pair(scenes, held["images"], held["masks"])
        except (OSError, ValueError, TypeError, KeyError, EOFError, BadZipFile) as error:
            raise RelViTError(
                f"{path} is no rendered pair of ours ({type(error).__name__}): remove it and run the same again"
            ) from error

    def run(
        self,
        processes: int,
        wanted: range,
        objects: str,
        generator: str,
    ) -> None:
        """Fill the stash.

        Args:
            processes: workers, each with one thread and its own copy of the objects.
            wanted: numbers of the pairs.
            objects, generator: fingerprints; a stash of others is emptied first.

        Raises:
            RelViTError: a worker was killed; placement or rendering is not possible.
        """
        assert self.stash is not None
        self._claim({"job": repr(self.job), "objects": objects, "generator": generator})
        missing = [number for number in wanted if not pair_file(self.stash, number).exists()]
        if not missing:
            return
        with _rendering_bar(len(wanted), len(missing)) as bar:
            if processes == 1:
                for number in missing:
                    store_pair(self.job, self.stash, number)
                    bar.update(2)
                return
            self._spread(missing, processes, bar)

    def _claim(self, request: dict) -> None:
        assert self.stash is not None
        path = self.stash / REQUEST
        if path.exists() and read_json(path) != request:
            remove_ours(self.stash, STASH_FILES)
        elif not path.exists():
            check_empty(self.stash)
        write_json(path, request, owned=True)

    def _spread(self, missing: list[int], processes: int, bar: tqdm) -> None:
        jobs = [(self.job, self.stash, number) for number in missing]
        try:
            with Workers(processes) as workers:
                for _ in workers.run(_stored, jobs):
                    bar.update(2)
        except WorkerLost as error:
            raise RelViTError(
                f"a rendering process was killed, perhaps for want of memory; {bar.n} of {bar.total} images are "
                "kept: run the same command again, with fewer --processes"
            ) from error


def _rendering_bar(pairs: int, missing: int) -> tqdm:
    """Progress over the images of so many pairs, of which some are missing."""
    return progress_bar(
        total=pairs * 2,
        initial=(pairs - missing) * 2,
        desc="rendering",
        unit="image",
        disable=are_progress_bars_disabled(),
    )


def pair_file(stash: Path, number: int) -> Path:
    return stash / f"pair-{number:06d}.npz"


def store_pair(job: Job, stash: Path | None, number: int) -> None:
    """Render two twins to their file, which is whole or not there."""
    assert stash is not None
    pair = make_pair(job, number)
    scenes = json.dumps([scene.row() for scene in pair.scenes])
    path = pair_file(stash, number)
    with atomic_write(path, owned=True) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, scenes=np.array(scenes), images=pair.images, masks=pair.masks)


def _stored(job: Job, stash: Path, number: int) -> Iterator[int]:
    store_pair(job, stash, number)
    yield number


def make_pair(job: Job, number: int) -> Pair:
    """Draw and render two twins."""
    variant = choose_variant(job.variant)
    library = _library(job.objects)
    pairing = _pairings(job.options, len(library))[number]
    images = []
    masks = []
    # many small products, in several processes: threads only stand in each other's way
    with threadpool_limits(1):
        scenes = draw_twins(pairing, job.options, library)
        for scene in scenes:
            images.append(render_photo(scene, library, job.size, variant=variant))
            masks.append(scene_mask(scene, library, job.size))
    return Pair(scenes, np.stack(images), np.stack(masks))


@lru_cache(maxsize=1)
def _library(folder: str | None) -> Library:
    with warnings.catch_warnings():
        # said already, by the process that gives out the work
        warnings.simplefilter("ignore", RelViTWarning)
        return Library.default() if folder is None else Library.from_folder(folder)


_pairings = lru_cache(maxsize=1)(pairings)
