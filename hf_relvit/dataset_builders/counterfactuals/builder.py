"""Base and source scenes for interchange interventions: swap one property of one object, and the answer must flip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import datasets

from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.stimuli.counterfactuals import (
    PROPERTIES,
    CounterfactualTable,
    sample_counterfactual_block,
)
from hf_relvit.stimuli.draws import BLOCK, block_pieces
from hf_relvit.stimuli.png import encode_png
from hf_relvit.stimuli.scenes import LABELS
from hf_relvit.stimuli.tasks import TASKS

from ...building.common import CHUNK, COMBINATIONS, SceneBuilder, SceneConfig
from ...building.rows import features

_SCENE = ("shape", "color", "corner", "jitter", "relation", "index")
_ROLES = {"edited": "base", "fixed": "base", "source_object": "source", "other_source": "source"}


@dataclass
class CounterfactualConfig(SceneConfig):
    """A set of pairs of scenes; like ``SceneConfig``, with 2,000 pairs per split as in the paper.

    Args:
        task: of the scenes, "discrimination" or "rmts".
        n_train, n_eval: pairs in the training split and in each other split, half of them for each property.
    """

    task: str = "discrimination"
    n_train: int = 2000
    n_eval: int = 2000


class Counterfactuals(SceneBuilder):
    """Counterfactual pairs (paper, section 5): ``Counterfactuals(config_name="rmts-b16-32")``.

    ``config_name`` is "<task>-<geometry>-<combinations>". Each split has the pairs about shape first, then as many
    about color.

    Raises:
        RelViTError: as ``SceneBuilder``; sizes that cannot be halved and balanced; 16 combinations, with which no two
            objects differ in one property only.
    """

    BUILDER_CONFIG_CLASS = CounterfactualConfig
    BUILDER_CONFIGS = [
        CounterfactualConfig(
            f"{task}-{name}-{k}", SceneBuilder.VERSION, geometry=name, combinations=k, task=task
        )
        for task, kind in TASKS.items()
        if kind.swaps is not None
        for name in GEOMETRIES
        for k in COMBINATIONS
        if k > 16
    ]
    task = "counterfactuals"
    drawn_at_once = len(PROPERTIES) * BLOCK

    def _name(self, given: dict) -> str:
        return f"{given.pop('task', 'discrimination')}-{super()._name(given)}"

    def _parse(self, name: str) -> dict:
        task, _, rest = name.partition("-")
        if task not in TASKS:
            raise RelViTError(
                f"config {name!r}: expected TASK-GEOMETRY-COMBINATIONS, such as rmts-b16-32"
            )
        return {"task": task} | super()._parse(rest)

    def _check(self) -> None:
        for split in self.splits:
            n = self.config.n_train if split == "train" else self.config.n_eval
            for prop in PROPERTIES:
                self._pairs(prop, split, n, 0)

    def _pairs(self, prop: str, split: str, n: int, block: int) -> CounterfactualTable:
        """A block of the ``n / 2`` pairs about a property."""
        if n % len(PROPERTIES):
            raise RelViTError(f"{n} pairs for two properties: choose an even number")
        config: Any = self.config
        return sample_counterfactual_block(
            config.task,
            self.scene_geometry,
            prop,
            split,
            n // len(PROPERTIES),
            block,
            combinations=self.config.combinations,
            seed=self.config.seed,
            objects=self.objects,
        )

    def _info(self) -> datasets.DatasetInfo:
        of_scene = features(self.objects)
        answer, number = datasets.ClassLabel(names=list(LABELS)), datasets.Value("int64")
        columns = {
            "base_image": of_scene["image"],
            "source_image": of_scene["image"],
            "label": answer,
        }
        columns |= {"property": datasets.ClassLabel(names=list(PROPERTIES)), "judgement": answer}
        columns |= dict.fromkeys(_ROLES, number)
        columns |= {f"{role}_patches": datasets.List(number) for role in _ROLES}
        columns |= {
            f"{scene}_{name}": of_scene[name]
            for scene in ("base", "source")
            for name in ("label", *_SCENE)
        }
        return datasets.DatasetInfo(
            features=datasets.Features(columns | {"seed": number}),
            homepage="https://arxiv.org/abs/2406.15955",
        )

    def _make(
        self, split: str, n: int, ranges: list[tuple[int, int]]
    ) -> Iterator[tuple[int, dict]]:
        half = n // len(PROPERTIES)
        for i, prop in enumerate(PROPERTIES):
            own = [(max(a - i * half, 0), min(b - i * half, half)) for a, b in ranges]
            for block, pieces in groupby(block_pieces(own), key=itemgetter(0)):
                table = self._pairs(prop, split, n, block)
                for _, start, stop in pieces:
                    for first in range(start, stop, CHUNK):
                        part = table[first : min(first + CHUNK, stop)]
                        yield from enumerate(_rows(part), i * half + block * BLOCK + first)


def _rows(pairs: CounterfactualTable) -> Iterator[dict]:
    columns = {"label": pairs.label.tolist(), "judgement": pairs.judgement.tolist()}
    for scene, table in (("base", pairs.base), ("source", pairs.source)):
        pictures = [{"bytes": encode_png(picture), "path": None} for picture in table.pixels()]
        columns |= {f"{scene}_image": pictures}
        columns |= {f"{scene}_{name}": getattr(table, name).tolist() for name in ("label", *_SCENE)}
        patches = table.patches().tolist()
        for role in (role for role, where in _ROLES.items() if where == scene):
            columns[role] = getattr(pairs, role).tolist()
            columns[f"{role}_patches"] = [
                of[object_] for of, object_ in zip(patches, columns[role])
            ]
    for i in range(len(pairs)):
        row = {name: values[i] for name, values in columns.items()}
        yield row | {"property": PROPERTIES.index(pairs.property), "seed": pairs.base.seed}
