"""The distribution that scenes come from, as one value: task, layout, combinations, objects and seed."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import RelViTError
from ..geometry import SceneGeometry
from .counterfactuals import CounterfactualTable, sample_counterfactuals
from .objects import ObjectSet
from .scenes import SceneTable, sample
from .splits import split_names
from .tasks import task_of


@dataclass(frozen=True, eq=False)
class SceneDistribution:
    """Everything that decides which scenes are drawn, passed whole.

    Example::

        scenes = SceneDistribution("rmts", geometry("b16"), combinations=32)
        scenes.sample("test", 500)                  # SceneTable
        scenes.pairs("color", "train", 2000)        # CounterfactualTable

    Attributes:
        task: such as "discrimination" or "rmts".
        geometry: image, patches and objects.
        combinations: training combinations of shape and color.
        objects: the shapes and colors.
        seed: of everything random, 0 to 2**63 - 1.
    """

    task: str
    geometry: SceneGeometry
    combinations: int = 256
    objects: ObjectSet = field(default_factory=ObjectSet.default)
    seed: int = 0

    def __post_init__(self):
        if not isinstance(self.geometry, SceneGeometry):
            raise RelViTError(
                f"geometry {self.geometry!r}: expected a SceneGeometry, such as GEOMETRIES['quick']"
            )

    @property
    def name(self) -> str:
        """GEOMETRY-COMBINATIONS, as the configs of published datasets are called."""
        return f"{self.geometry.name}-{self.combinations}"

    @property
    def placed(self) -> SceneGeometry:
        """The geometry of its scenes, see ``Task.placed``."""
        return task_of(self.task).placed(self.geometry)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that exist, see ``splits.split_names``."""
        return split_names(self.combinations, self.objects)

    @property
    def causal_splits(self) -> list[str]:
        """Where swaps are tested: IID pairs, and unseen combinations where any are held out."""
        return [split for split in ("test", "test_compositional") if split in self.splits]

    def sample(self, split: str, n: int, block: int = 0) -> SceneTable:
        """``n`` scenes of a split; arguments and errors as ``scenes.sample``."""
        return sample(
            self.task,
            self.geometry,
            split,
            n,
            combinations=self.combinations,
            seed=self.seed,
            block=block,
            objects=self.objects,
        )

    def pairs(self, property: str, split: str, n: int) -> CounterfactualTable:
        """``n`` pairs of base and source scenes; arguments and errors as ``sample_counterfactuals``."""
        return sample_counterfactuals(
            self.task,
            self.geometry,
            property,
            split,
            n,
            combinations=self.combinations,
            seed=self.seed,
            objects=self.objects,
        )
