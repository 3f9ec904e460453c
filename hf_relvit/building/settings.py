"""Settings of `relvit data build`: the fields are its options, and the manifest of the dataset records them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from ..doors import check_choice
from ..errors import RelViTError
from ..limits import check_count

Variant = Literal["scalar", "llvm"]
PHOTOREALISTIC = "photorealistic"
_OPTIONS = ("full_rotation", "color_share", "size")


@dataclass(frozen=True)
class BuildConfig:
    """A stimulus set: ``BuildConfig("rmts", "b16-32", n_train=12_800)``.

    Raises:
        RelViTError: a size out of its range; options of photorealistic scenes for others.
    """

    task: str
    """A task such as rmts, or counterfactuals, or photorealistic."""
    config: str
    """GEOMETRY-COMBINATIONS such as b16-32; of counterfactuals rmts-b16-32; of photorealistic default or tiny."""
    n_train: int | None = None
    """Training scenes; 6400 by default, or 2000 pairs."""
    n_eval: int | None = None
    """Scenes in each other split; likewise, or 1024 images."""
    seed: int = 0
    """Of everything random."""
    masks: str | None = None
    """Folder of your own mask PNGs (black is object), or 3D objects."""
    palette: str | None = None
    """JSON file of your own colors."""
    variant: Variant | None = None
    """Photorealistic: the renderer; scalar by default."""
    full_rotation: bool = False
    """Photorealistic: turn objects in all directions, not upright."""
    color_share: float | None = None
    """Photorealistic: share of scenes about paint, same kind of object twice."""
    size: int | None = None
    """Photorealistic: side of the images, px."""

    def __post_init__(self):
        check_choice("variant", self.variant, Variant | None)
        for name in ("n_train", "n_eval"):
            check_count(name, getattr(self, name) or 0)
        given = self.given()
        photorealistic = [name for name in ("variant", *_OPTIONS) if name in given]
        if photorealistic and self.task != PHOTOREALISTIC:
            raise RelViTError(
                f"{', '.join(photorealistic)} for {self.task}: expected none, as these are for photorealistic "
                "scenes alone"
            )

    def given(self) -> dict[str, Any]:
        """Arguments of a builder: all but the task and the config, where it is not left to the builder."""
        values = dataclasses.asdict(self)
        del values["task"], values["config"]
        return {
            name: value
            for name, value in values.items()
            if value is not None and value is not False
        }

    def options(self) -> dict[str, Any]:
        """Options of photorealistic scenes that are not left to the config, as the manifest records them."""
        given = self.given()
        return {name: given[name] for name in _OPTIONS if name in given}
