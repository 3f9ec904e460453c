"""The common part of the builders: configs, splits and the way to their rows.

``datasets`` replaces ``open``, ``Path``, numpy and the like in every module that defines a builder, for its streaming;
hence this module uses none of them (``rows.py`` does).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import datasets

from ..errors import RelViTError
from ..geometry import GEOMETRIES, parse_config
from ..geometry import geometry as preset
from ..stimuli.draws import BLOCK, block_pieces
from ..stimuli.scenes import SceneTable, check_scenes, sample_block
from ..stimuli.splits import split_names
from ..stimuli.styles import open_objects, parse_style
from ..stimuli.tasks import task_of
from .rows import features, fingerprint, rows
from .shards import Sharded

VERSION = datasets.Version("1.0.0")
"""Of the stimuli: raised whenever the same seed gives other pictures (tests/stimuli pins them)."""
LARGE_VERSION = datasets.Version("1.1.0")
"""Of sets with a split of more than ``draws.BLOCK`` scenes: version 1.0.0 drew those in one piece, so other ones."""

COMBINATIONS = (256, 16, 32, 64, 128)  # of training in the named configs (paper: 256 and 32)
CHUNK = 64  # scenes rendered at once


@dataclass
class SceneConfig(datasets.BuilderConfig):
    """A stimulus set.

    Args:
        geometry: as ``hf_relvit.geometry.geometry`` takes it.
        combinations: training combinations of shape and color; the other ones are held out.
        n_train, n_eval: scenes in the training split and in each other split.
        seed: of everything random.
        masks: folder of your own silhouettes (``ObjectSet.from_folder``).
        palette: JSON file of your own colors.
        style: of the objects (``stimuli.styles``); ours by default.
    """

    geometry: str = "b16"
    combinations: int = 256
    n_train: int = 6400
    n_eval: int = 6400
    seed: int = 0
    masks: str | None = None
    palette: str | None = None
    style: str | None = None


class SceneBuilder(Sharded):
    """Scenes of one task as a dataset.

    ``config_name`` is "<geometry>-<combinations>", such as "b16-32" or "b16-free-32", or behind a style, such as
    "arrows-b16-256"; the fields of ``SceneConfig`` go by keyword. Any number of processes
    (``download_and_prepare(num_proc=...)``) makes the same rows. The cache folder depends on every parameter, on the
    shapes and colors themselves and on the text of the code that draws them, so a stale cache cannot be read.

    Raises:
        RelViTError: unknown geometry, combinations or sizes that cannot be balanced, bad masks or palette.
    """

    VERSION = VERSION
    BUILDER_CONFIG_CLASS = SceneConfig
    BUILDER_CONFIGS = [
        SceneConfig(
            name=f"{name}-{combinations}",
            version=VERSION,
            geometry=name,
            combinations=combinations,
        )
        for name in GEOMETRIES
        for combinations in COMBINATIONS
    ]
    task: str
    config: SceneConfig
    drawn_at_once = BLOCK
    """Rows of a split up to which version 1.0.0 holds."""

    def __init__(self, cache_dir: str | None = None, config_name: str | None = None, **keywords):
        twice = keywords.keys() & {"task", "style", "geometry", "combinations"}
        if config_name is not None and twice:
            raise RelViTError(
                f"config {config_name!r} names the {' and the '.join(sorted(twice))}: give it once"
            )
        given: Any = {key: value for key, value in keywords.items() if value is not None}
        own = {key: str(given[key]) for key in ("masks", "palette") if key in given}
        given.update(own)
        name = config_name or self._name(given)
        parts = self._parse(name)
        self.objects = open_objects(own.get("masks"), own.get("palette"), parts.get("style"))
        sizes = (given.get("n_train", 0), given.get("n_eval", 0))
        if max(map(int, sizes)) > self.drawn_at_once:
            given["version"] = LARGE_VERSION
        named = name in self.builder_configs
        if not named:
            given.update(parts, name=name)
        super().__init__(
            cache_dir,
            dataset_name=self.task,
            config_name=name if named else None,
            hash=fingerprint(self.objects),
            **given,
        )
        self.scene_geometry = preset(self.config.geometry)
        self.splits = split_names(self.config.combinations, self.objects)
        self._check()

    def _name(self, given: dict) -> str:
        """The name of the config that has these fields; they are taken out of ``given``."""
        name = f"{given.pop('geometry', 'b16')}-{given.pop('combinations', 256)}"
        style = given.pop("style", None)
        return name if style is None else f"{style}-{name}"

    def _parse(self, name: str) -> dict:
        """The fields of the config that its name gives."""
        style, rest = parse_style(name)
        geometry, combinations = parse_config(rest)
        return {"style": style, "geometry": geometry.name, "combinations": combinations}

    def _check(self) -> None:
        """Impossible scenes should fail here, not in a worker process."""
        for n in (self.config.n_train, self.config.n_eval):
            check_scenes(self.task, self.scene_geometry, n, self.config.seed)
        for split in self.splits:
            self._scenes(split, task_of(self.task).balance)

    def _scenes(self, split: str, n: int, block: int = 0) -> SceneTable:
        """A block of a split: any range of rows is made in the memory of one."""
        return sample_block(
            self.task,
            self.scene_geometry,
            split,
            n,
            block,
            combinations=self.config.combinations,
            seed=self.config.seed,
            objects=self.objects,
        )

    def _info(self) -> datasets.DatasetInfo:
        placed = task_of(self.task).placed(preset(self.config.geometry))
        return datasets.DatasetInfo(
            features=features(self.objects, posed=placed.placement == "posed"),
            homepage="https://arxiv.org/abs/2406.15955",
        )

    def _make(
        self, split: str, n: int, ranges: list[tuple[int, int]]
    ) -> Iterator[tuple[int, dict]]:
        for block, pieces in pieces_by_block(ranges):
            table = self._scenes(split, n, block)
            for piece in pieces:
                yield from rows(table[piece])


def pieces_by_block(ranges: list[tuple[int, int]]) -> Iterator[tuple[int, Iterator[slice]]]:
    """Each block of a split that holds some of these rows, and its rows in pieces that are rendered at once."""
    for block, parts in groupby(block_pieces(ranges), key=itemgetter(0)):
        yield block, _chunks(parts)


def _chunks(parts: Iterable[tuple[int, int, int]]) -> Iterator[slice]:
    for _, start, stop in parts:
        for first in range(start, stop, CHUNK):
            yield slice(first, min(first + CHUNK, stop))
