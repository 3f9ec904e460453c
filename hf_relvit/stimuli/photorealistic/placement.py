"""Where things stand: drawn until nothing floats, sinks, touches, is hidden too far or leaves the image."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable

import numpy as np

from ...errors import RelViTError
from .library import Library
from .masks import camera_axes, object_mask, rays, visible_shares
from .room import draw_room
from .scenes import DIFFERENCES, Pairing, PhotoScene, SceneOptions, rounded

MASK_SIZE = 224
MAX_TRIES = 400
_GAP = 0.05  # between the circles around two objects, and before the wall
_MARGIN = 0.02  # of the image, that stays free of objects
_CURES = {
    "wall": "use smaller objects",
    "lamp": "take another seed",
    "frame": "lower the coverage of SceneOptions",
    "coverage": "leave out objects as thin as these, or widen the coverage of SceneOptions",
    "visible": "lower the min_visible of SceneOptions",
}


def turned(points: np.ndarray, rotation: tuple[float, ...]) -> np.ndarray:
    """Points ``(..., 3)``, turned by a unit quaternion, float64."""
    return points @ rotation_matrix(rotation).T


def rotation_matrix(rotation: tuple[float, ...]) -> np.ndarray:
    """Of a unit quaternion (w, x, y, z)."""
    w, x, y, z = rotation
    first = [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)]
    second = [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)]
    third = [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]
    return np.array([first, second, third])


def solids(scene: PhotoScene, library: Library) -> list[np.ndarray]:
    """The corners of both objects where they stand, float64 ``(triangles, 3, 3)`` each."""
    models = [library[index] for index in scene.objects]
    return _placed([model.corners for model in models], scene)


def _placed(shapes: list[np.ndarray], scene: PhotoScene) -> list[np.ndarray]:
    """Points of both objects, turned and moved to where the objects stand."""
    placed = []
    for points, rotation, position in zip(shapes, scene.rotations, scene.positions):
        placed.append(turned(points, rotation) + np.asarray(position))
    return placed


def scene_mask(scene: PhotoScene, library: Library, size: int = MASK_SIZE) -> np.ndarray:
    """Which object each pixel shows, uint8 ``(size, size)``: 0 neither, 1 the first, 2 the second."""
    directions = rays(scene.camera, scene.target, scene.fov, size)
    mask = object_mask(solids(scene, library), scene.camera, directions)
    return mask.reshape(size, size)


def draw_twins(
    pairing: Pairing, options: SceneOptions, library: Library
) -> tuple[PhotoScene, PhotoScene]:
    """The different scene and its same twin: one object of the first is replaced by a second copy of the other.

    A function of the set's options and the pairing alone, whatever else is drawn before.

    Raises:
        RelViTError: no placement in 400 tries keeps the constraints; the message names the one that failed most.
    """
    rng = np.random.default_rng([options.seed, 2, pairing.scene])
    failed: Counter[str] = Counter()
    for _ in range(MAX_TRIES):
        twins = _twins(pairing, rng, options, library)
        broken = _first(_cheap(scene, library) for scene in twins)
        if not broken:
            checked = [_checked(scene, options, library) for scene in twins]
            (different, _), (same, _) = checked
            broken = _first(reason for _, reason in checked)
            if not broken:
                return different, same
        failed[broken] += 1
    worst, times = failed.most_common(1)[0]
    shown = (pairing.kept[0], pairing.other[0])
    pair = " and ".join(library.names[index] for index in shown)
    raise RelViTError(
        f"no placement of {pair} found in {MAX_TRIES} tries: the constraint {worst!r} failed {times} times "
        f"(coverage {options.coverage}, min_visible {options.min_visible}); {_CURES[worst]}"
    )


def _first(reasons: Iterable[str]) -> str:
    """The first reason that is one, or an empty text."""
    return next(filter(None, reasons), "")


def _twins(
    pairing: Pairing,
    rng: np.random.Generator,
    options: SceneOptions,
    library: Library,
) -> list[PhotoScene]:
    """One draw of both twins; all places are equal, so there is room for either."""
    attempt = rounded(draw_room(rng, options.full_rotation))
    different = [pairing.kept, pairing.other]
    same = [pairing.kept, pairing.kept]
    if pairing.side:
        different.reverse()
    hulls = [_hulls(pair, attempt["rotations"], library) for pair in (different, same)]
    room = sum(max(_radius(pair[slot]) for pair in hulls) for slot in (0, 1))
    distance = (room + _GAP + attempt.pop("gap")) / 2
    half = distance * np.array(attempt.pop("direction"))
    twins = []
    for label, (pair, points) in enumerate(zip((different, same), hulls)):
        (first, first_tint), (second, second_tint) = pair
        twin = PhotoScene(
            index=2 * pairing.scene + label,
            label=label,
            difference=DIFFERENCES.index("none") if label else pairing.level,
            level=pairing.level,
            objects=(first, second),
            tints=(first_tint, second_tint),
            positions=(_standing(points[0], -half), _standing(points[1], half)),
            visible=(0.0, 0.0),
            **attempt,
        )
        twins.append(twin)
    return twins


def _hulls(
    pair: list[tuple[int, int]], rotations: list[tuple[float, ...]], library: Library
) -> list[np.ndarray]:
    return [turned(library[i].hull, rotation) for (i, _), rotation in zip(pair, rotations)]


def _radius(hull: np.ndarray) -> float:
    """How far an object reaches from its vertical axis."""
    return np.linalg.norm(hull[:, :2], axis=1).max()


def _standing(hull: np.ndarray, place: np.ndarray) -> tuple[float, float, float]:
    """Where the center of an object is if it stands on the table at a place (x, y)."""
    x, y = place.tolist()
    height = float(-hull[:, 2].min())
    return rounded((x, y, height))


def _cheap(scene: PhotoScene, library: Library) -> str:
    """The first constraint broken of those that need no rays."""
    hulls = [library[index].hull for index in scene.objects]
    points = np.concatenate(_placed(hulls, scene))
    if points[:, 1].max() > scene.wall - _GAP:
        return "wall"
    axes = np.stack(camera_axes(scene.camera, scene.target))
    seen = (points - np.asarray(scene.camera)) @ axes.T
    half = np.deg2rad(scene.fov) / 2
    edge = (1 - 2 * _MARGIN) * np.tan(half)
    off_center = np.abs(seen[:, 1:])
    if (off_center > edge * seen[:, :1]).any():
        return "frame"
    return "lamp" if lamp_in_sight(scene) else ""


def lamp_in_sight(scene: PhotoScene) -> bool:
    """Whether one of the lights, taken as a disc around its square, stands before the camera and hides the scene."""
    directions = rays(scene.camera, scene.target, scene.fov, 64).astype(np.float64)
    camera = np.array(scene.camera)
    for light in scene.lights:
        center = np.array(light.position)
        facing = center / np.linalg.norm(center)
        reach = ((center - camera) @ facing) / (directions @ facing)
        met = camera + reach[:, None] * directions
        off = np.linalg.norm(met - center, axis=1)
        before_camera = reach > 0
        if (before_camera & (off < light.side / np.sqrt(2))).any():
            return True
    return False


def _checked(scene: PhotoScene, options: SceneOptions, library: Library) -> tuple[PhotoScene, str]:
    """The scene with its visible shares, and the first constraint broken of those that need rays."""
    directions = rays(scene.camera, scene.target, scene.fov, MASK_SIZE)
    both = solids(scene, library)
    alone = [object_mask([solid], scene.camera, directions) for solid in both]
    shares = [np.count_nonzero(mask) / mask.size for mask in alone]
    least, largest = options.coverage
    if min(shares) < least or max(shares) > largest:
        return scene, "coverage"
    mask = object_mask(both, scene.camera, directions)
    visible = visible_shares(mask, alone)
    scene = dataclasses.replace(scene, visible=visible)
    return scene, "" if min(visible) >= options.min_visible else "visible"
