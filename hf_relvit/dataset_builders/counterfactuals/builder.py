"""Base and source scenes for interchange interventions: swap one property of one object, and the answer must flip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import datasets

from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.stimuli.counterfactuals import (
    PROPERTIES,
    CounterfactualTable,
    sample_counterfactual_block,
)
from hf_relvit.stimuli.draws import BLOCK
from hf_relvit.stimuli.png import encode_png
from hf_relvit.stimuli.scenes import LABELS
from hf_relvit.stimuli.tasks import TASKS, task_of

from ...building.common import COMBINATIONS, SceneBuilder, SceneConfig, pieces_by_block
from ...building.rows import features

_SCENE = ("shape", "color", "corner", "jitter", "relation", "index")
_ROLES = {"edited": "base", "fixed": "base", "source_object": "source", "other_source": "source"}


@dataclass
class CounterfactualConfig(SceneConfig):
    """A set of pairs of scenes; like ``SceneConfig``, with 2,000 pairs per split as in the paper.

    Args:
        task: of the scenes, one with counterfactual pairs.
        n_train, n_eval: pairs in the training split and in each other split, as many for each property.
    """

    task: str = "discrimination"
    n_train: int = 2000
    n_eval: int = 2000


class Counterfactuals(SceneBuilder):
    """Counterfactual pairs (paper, section 5): ``Counterfactuals(config_name="rmts-b16-32")``.

    ``config_name`` is "<task>-<geometry>-<combinations>". Each split has the pairs about shape first, then as many
    about color, where both change the answer.

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
        return {"task": task, **super()._parse(rest)}

    @property
    def swapped(self) -> tuple[str, ...]:
        """The properties of the pairs."""
        config: Any = self.config
        return task_of(config.task).swapped

    def _check(self) -> None:
        for split in self.splits:
            n = self.config.n_train if split == "train" else self.config.n_eval
            for prop in self.swapped:
                self._pairs(prop, split, n, 0)

    def _pairs(
        self,
        prop: str,
        split: str,
        n: int,
        block: int,
    ) -> CounterfactualTable:
        """A block of the pairs about a property, of ``n`` about all of them."""
        if n % len(self.swapped):
            raise RelViTError(f"{n} pairs for two properties: choose an even number")
        config: Any = self.config
        return sample_counterfactual_block(
            config.task,
            self.scene_geometry,
            prop,
            split,
            n // len(self.swapped),
            block,
            combinations=self.config.combinations,
            seed=self.config.seed,
            objects=self.objects,
        )

    def _info(self) -> datasets.DatasetInfo:
        of_scene = features(self.objects)
        answer = datasets.ClassLabel(names=list(LABELS))
        number = datasets.Value("int64")
        columns: dict[str, Any] = {
            "base_image": of_scene["image"],
            "source_image": of_scene["image"],
            "label": answer,
            "property": datasets.ClassLabel(names=list(PROPERTIES)),
            "judgement": answer,
        }
        columns.update(dict.fromkeys(_ROLES, number))
        for role in _ROLES:
            columns[f"{role}_patches"] = datasets.List(number)
        for scene in ("base", "source"):
            for name in ("label", *_SCENE):
                columns[f"{scene}_{name}"] = of_scene[name]
        columns["seed"] = number
        return datasets.DatasetInfo(
            features=datasets.Features(columns), homepage="https://arxiv.org/abs/2406.15955"
        )

    def _make(
        self, split: str, n: int, ranges: list[tuple[int, int]]
    ) -> Iterator[tuple[int, dict]]:
        part = n // len(self.swapped)
        for i, prop in enumerate(self.swapped):
            before = i * part
            own = [(max(a - before, 0), min(b - before, part)) for a, b in ranges]
            for block, pieces in pieces_by_block(own):
                table = self._pairs(prop, split, n, block)
                for piece in pieces:
                    key = before + block * BLOCK + piece.start
                    yield from enumerate(_rows(table[piece]), key)


def _rows(pairs: CounterfactualTable) -> Iterator[dict]:
    columns: dict[str, Any] = {"label": pairs.label.tolist(), "judgement": pairs.judgement.tolist()}
    for scene, table in (("base", pairs.base), ("source", pairs.source)):
        pictures = [{"bytes": encode_png(picture), "path": None} for picture in table.pixels()]
        columns[f"{scene}_image"] = pictures
        for name in ("label", *_SCENE):
            columns[f"{scene}_{name}"] = getattr(table, name).tolist()
        patches = table.patches().tolist()
        roles = [role for role, where in _ROLES.items() if where == scene]
        for role in roles:
            numbers = getattr(pairs, role).tolist()
            columns[role] = numbers
            columns[f"{role}_patches"] = [ids[number] for ids, number in zip(patches, numbers)]
    shared = {"property": PROPERTIES.index(pairs.property), "seed": pairs.base.seed}
    for i in range(len(pairs)):
        row = {name: values[i] for name, values in columns.items()}
        yield {**row, **shared}
