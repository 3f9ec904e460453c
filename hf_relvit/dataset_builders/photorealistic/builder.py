"""Photorealistic pairs as a dataset; ``datasets`` changes this module's ``open`` and numpy, so it uses neither."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import datasets

from hf_relvit.errors import RelViTError
from hf_relvit.stimuli.photorealistic.library import Library
from hf_relvit.stimuli.photorealistic.rendering import check_size, choose_variant
from hf_relvit.stimuli.photorealistic.scenes import SceneOptions

from ...building.farm import Farm, Job
from ...building.photorealistic_rows import features, fingerprint, rows, shipped_rows
from ...building.shards import Sharded

VERSION = datasets.Version("1.1.0")
"""Of rows and pictures: raised whenever the same seed gives other ones (tests/stimuli/photorealistic pins them). Since
1.1.0 numbers are rounded and the lamps have one order; the config ``tiny`` that is shipped is drawn again with it."""


@dataclass
class PhotoConfig(datasets.BuilderConfig):
    """A set of photorealistic scenes.

    Args:
        n_eval: images, half of them same; there is no training split, as in the paper.
        seed: of everything random.
        size: side of the images, pixels.
        color_share: share of the scenes about paint instead of objects.
        full_rotation: turn objects in all directions, not only about the vertical axis.
        variant: of the renderer, "scalar" or "llvm".
        masks: folder of your own objects (``Library.from_folder``).
        lossy: JPEG instead of PNG.
    """

    n_eval: int = 1024
    seed: int = 0
    size: int = 224
    color_share: float = 0.25
    full_rotation: bool = False
    variant: str = "scalar"
    masks: str | None = None
    lossy: bool = False
    n_train: int = 0


class Photorealistic(Sharded, datasets.GeneratorBasedBuilder):
    """Photorealistic pairs: ``Photorealistic(config_name="default", n_eval=200)``.

    ``render`` makes the pictures with several processes, and goes on where it was; without it they are made one by one
    when their rows are read. The 32 scenes of "tiny" come with the package: unless something else is asked for, their
    rows are copied and nothing is rendered.

    Raises:
        RelViTError: an unknown config, a number out of its range, objects that cannot be read, or no renderer.
    """

    VERSION = VERSION
    BUILDER_CONFIG_CLASS = PhotoConfig
    BUILDER_CONFIGS = [
        PhotoConfig(name="default", version=VERSION),
        PhotoConfig(name="tiny", version=VERSION, n_eval=32, color_share=0.5, lossy=True),
    ]
    DEFAULT_CONFIG_NAME = "default"
    task = "photorealistic"
    splits = ("test",)
    together = 2  # twins
    config: PhotoConfig

    def __init__(self, cache_dir: str | None = None, config_name: str | None = None, **keywords):
        given = {key: value for key, value in keywords.items() if value is not None}
        if given.pop("palette", None) is not None:
            raise RelViTError(
                "a palette for photorealistic scenes: expected none; objects bring their own colors"
            )
        if given.pop("n_train", 0):
            raise RelViTError("photorealistic scenes have no training split: give --n-eval alone")
        name = config_name or "default"
        if name not in self.builder_configs:
            raise RelViTError(f"config {name!r}: expected one of {', '.join(self.builder_configs)}")
        self.objects = (
            Library.from_folder(given["masks"]) if "masks" in given else Library.default()
        )
        presets: Any = self.builder_configs
        wanted = dataclasses.replace(presets[name], **given)
        check_size(wanted.size)
        options = SceneOptions(wanted.n_eval, wanted.seed, wanted.color_share, wanted.full_rotation)
        shipped = wanted == presets["tiny"] and shipped_rows(str(VERSION), self.objects)
        if not shipped:
            given["variant"] = choose_variant(wanted.variant)
        super().__init__(
            cache_dir,
            dataset_name=self.task,
            config_name=name,
            hash=shipped.generator if shipped else fingerprint(self.objects),
            **given,
        )
        if shipped:
            self.finished = {"test": shipped.files}
        self.job = Job(options, wanted.masks, wanted.size, self.config.variant)
        self.farm = Farm(self.job, None)

    def render(self, stash: str, processes: int) -> None:
        """Make all pictures of the shard that are not there yet, as files in ``stash``.

        Raises:
            RelViTError: see ``Farm.run``.
        """
        self.farm = Farm(self.job, stash)
        self.farm.run(processes, self.indices("test"), self.objects.fingerprint(), str(self.hash))

    def _info(self) -> datasets.DatasetInfo:
        names = list(self.objects.names)
        return datasets.DatasetInfo(
            features=features(names), homepage="https://arxiv.org/abs/2406.15955"
        )

    def _make(
        self, split: str, n: int, ranges: list[tuple[int, int]]
    ) -> Iterator[tuple[int, dict]]:
        for start, stop in ranges:
            for pair in range(start, stop):
                yield from rows(self.farm.pair(pair), self.config.seed, self.config.lossy)
