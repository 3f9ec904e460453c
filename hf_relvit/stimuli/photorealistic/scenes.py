"""Photorealistic scenes as rows of parameters, and which pairs a set shows (paper, Figs 9 and 10; details ours).

The paper shows 16 objects in pairs on a table, with random textures, random rotation, varying camera distance and
occlusion; its images, objects and renderer are not published. This is a re-creation.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import RelViTError

DIFFERENCES = ("none", "object", "color")
"""Differences within a pair: none; the object; only its paint, so that "same kind" and "identical" part ways."""
TINTS = ("as made", "red", "yellow", "green", "cyan", "blue", "magenta")
"""The paint of an object: its own, or one of six hues 60 degrees apart."""
DIGITS = 6
"""Decimals of every number of a row. Our choice: far finer than a pixel shows, and without the last bits, in which
processors and mathematical libraries differ."""


@dataclass(frozen=True)
class SceneOptions:
    """Properties of a set of scenes.

    Args:
        n: scenes; twins of different and same, so an even number.
        seed: of everything random, 0 to 2**31 - 1.
        color_share: share of the scenes whose pairs are the same object and differ in paint, if at all.
        full_rotation: turn objects in all directions, not only about the vertical axis.
        min_visible: least visible share of each object, 0..1 (the paper: "occlusion possible").
        coverage: least and largest share of the image that an object covers when nothing stands before it.

    Raises:
        RelViTError: a number out of its range.
    """

    n: int = 1024
    seed: int = 0
    color_share: float = 0.25
    full_rotation: bool = False
    min_visible: float = 0.5
    coverage: tuple[float, float] = (0.012, 0.16)

    def __post_init__(self):
        if self.n < 2 or self.n % 2:
            raise RelViTError(
                f"{self.n} photorealistic scenes: expected an even number, as each has a twin"
            )
        if not 0 <= self.seed < 2**31:
            raise RelViTError(f"seed {self.seed}: expected 0 to 2**31 - 1")
        low, high = self.coverage
        shares = (self.color_share, self.min_visible, low, high)
        if low >= high or not all(0 <= share <= 1 for share in shares):
            raise RelViTError(
                f"color_share {self.color_share}, min_visible {self.min_visible}, coverage {self.coverage}: "
                "expected shares between 0 and 1, the least coverage below the largest"
            )


@dataclass(frozen=True)
class Surface:
    """A textured rectangle: family (index into ``textures.FAMILIES``), two sRGB colors, turn in degrees, seed."""

    family: int
    colors: tuple[tuple[float, float, float], tuple[float, float, float]]
    turn: float
    seed: int


@dataclass(frozen=True)
class Light:
    """A square that shines on the middle of the table: center, side, radiance (linear RGB)."""

    position: tuple[float, float, float]
    side: float
    radiance: tuple[float, float, float]


@dataclass(frozen=True)
class PhotoScene:
    """All that a picture is made from; lengths in object radii, z up, the table at z = 0, the camera at negative y.

    Attributes:
        index: of the scene in its set; ``index ^ 1`` is its twin, identical but for one of the objects.
        label: 0 different, 1 same.
        difference: index into DIFFERENCES.
        level: difference within the pair of the *different* twin, index into DIFFERENCES.
        objects, tints: of each object: index into the library, index into TINTS.
        positions: (x, y, z) of the centers of the objects' bounding boxes before they were turned.
        rotations: unit quaternions (w, x, y, z).
        visible: share of each object's silhouette that the other one leaves in sight, at 224 px.
        camera, target: the eye, and the point in the middle of the image.
        fov: angle of view, degrees, equal across and down.
        wall: distance of the wall from the middle of the table.
        table_surface, wall_surface, lights, ambient: looks; the ambient light is a linear RGB radiance.
        noise: seed of the path tracer.
    """

    index: int
    label: int
    difference: int
    level: int
    objects: tuple[int, int]
    tints: tuple[int, int]
    positions: tuple[tuple[float, float, float], ...]
    rotations: tuple[tuple[float, float, float, float], ...]
    visible: tuple[float, float]
    camera: tuple[float, float, float]
    target: tuple[float, float, float]
    fov: float
    wall: float
    table_surface: Surface
    wall_surface: Surface
    lights: tuple[Light, Light]
    ambient: tuple[float, float, float]
    noise: int

    @property
    def distance(self) -> float:
        """Mean distance of the objects from the camera, to ``DIGITS`` decimals."""
        apart = np.subtract(self.positions, self.camera)
        distances = np.linalg.norm(apart, axis=1)
        return rounded(float(distances.mean()))

    @property
    def rotation_difference(self) -> float:
        """Angle of the turn that brings one object's orientation to the other's, degrees 0..180.

        To 3 decimals, as the angle of two nearly equal turns is known less exactly than the turns are.
        """
        first, second = self.rotations
        cosine = abs(np.dot(first, second))
        half = np.arccos(min(cosine, 1.0))
        angle = np.degrees(2 * half)
        return round(float(angle), 3)

    def row(self) -> dict[str, Any]:
        """Plain numbers, lists and dictionaries, as a dataset stores them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> PhotoScene:
        """The scene of a dataset's row; further columns are ignored."""
        values = {}
        for field in dataclasses.fields(cls):
            values[field.name] = _tuples(row[field.name])
        for name in ("table_surface", "wall_surface"):
            values[name] = _part(Surface, row[name])
        lights = [_part(Light, light) for light in row["lights"]]
        values["lights"] = tuple(lights)
        return cls(**values)


def rounded(value: Any) -> Any:
    """A number of a row to ``DIGITS`` decimals, in tuples, mappings and parts of a scene as well; integers stay."""
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, tuple):
        return tuple(map(rounded, value))
    if isinstance(value, dict):
        return {name: rounded(inner) for name, inner in value.items()}
    if isinstance(value, Surface | Light):
        return dataclasses.replace(value, **rounded(vars(value)))
    return value


def _part(kind: Any, row: dict[str, Any]) -> Any:
    values = {name: _tuples(value) for name, value in row.items()}
    return kind(**values)


def _tuples(value: Any) -> Any:
    if isinstance(value, list | tuple | np.ndarray):
        return tuple(map(_tuples, value))
    return value


@dataclass(frozen=True)
class Pairing:
    """The objects of two twins: ``(object, tint)`` of the kept one and of the one that makes them different."""

    scene: int
    level: int
    kept: tuple[int, int]
    other: tuple[int, int]
    side: int
    """Which of the two places the kept object has in both twins."""


def pairings(options: SceneOptions, objects: int) -> list[Pairing]:
    """The pairs of all scenes, one for each two twins.

    Every object is kept equally often, to within one; the other object is uniform among the others; the two levels
    of difference are spread evenly over the set.

    Args:
        options: of the set.
        objects: in the library.
    """
    rng = np.random.default_rng([options.seed, 1])
    count = options.n // 2
    hues = len(TINTS) - 1
    rounds = -(-count // objects)
    permutations = [rng.permutation(objects) for _ in range(rounds)]
    kept = np.concatenate(permutations)[:count]
    step = rng.integers(1, objects, count)
    other = (kept + step) % objects
    hue = rng.integers(0, hues, count)
    hue_step = rng.integers(1, hues, count)
    other_hue = (hue + hue_step) % hues
    side = rng.integers(0, 2, count)
    quota = np.floor(np.arange(count + 1) * options.color_share)
    in_color = np.diff(quota) > 0
    # A pair about paint shows one object in two paints, a pair about objects two objects as they are made.
    color = DIFFERENCES.index("color")
    level = np.where(in_color, color, DIFFERENCES.index("object"))
    other = np.where(in_color, kept, other)
    tint = np.where(in_color, 1 + hue, 0)
    other_tint = np.where(in_color, 1 + other_hue, 0)
    first = np.stack([kept, tint], axis=1)
    second = np.stack([other, other_tint], axis=1)
    return [
        Pairing(
            scene=scene,
            level=int(level[scene]),
            kept=tuple(first[scene].tolist()),
            other=tuple(second[scene].tolist()),
            side=int(side[scene]),
        )
        for scene in range(count)
    ]
