"""Where things stand: drawn until nothing floats, sinks, touches, is hidden too far or leaves the image."""

from __future__ import annotations

import dataclasses
from collections import Counter

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
    return np.array(
        [
            [
                1 - 2 * (y * y + z * z),
                2 * (x * y - w * z),
                2 * (x * z + w * y),
            ],
            [
                2 * (x * y + w * z),
                1 - 2 * (x * x + z * z),
                2 * (y * z - w * x),
            ],
            [
                2 * (x * z - w * y),
                2 * (y * z + w * x),
                1 - 2 * (x * x + y * y),
            ],
        ]
    )


def solids(scene: PhotoScene, library: Library) -> list[np.ndarray]:
    """The corners of both objects where they stand, float64 ``(triangles, 3, 3)`` each."""
    corners = [library[index].corners for index in scene.objects]
    return _placed(corners, scene)


def _placed(shapes: list[np.ndarray], scene: PhotoScene) -> list[np.ndarray]:
    """Points of both objects, turned and moved to where the objects stand."""
    placed = []
    objects = zip(shapes, scene.rotations, scene.positions)
    for points, rotation, position in objects:
        upright = turned(points, rotation)
        placed.append(upright + np.asarray(position))
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
        different, same = _twins(pairing, rng, options, library)
        broken = _cheap(different, library) or _cheap(same, library)
        if not broken:
            different, broken_different = _checked(different, options, library)
            same, broken_same = _checked(same, options, library)
            broken = broken_different or broken_same
        if not broken:
            return different, same
        failed[broken] += 1
    ((worst, times),) = failed.most_common(1)
    kept, _ = pairing.kept
    other, _ = pairing.other
    pair = f"{library.names[kept]} and {library.names[other]}"
    raise RelViTError(
        f"no placement of {pair} found in {MAX_TRIES} tries: the constraint {worst!r} failed {times} times "
        f"(coverage {options.coverage}, min_visible {options.min_visible}); {_CURES[worst]}"
    )


def _twins(
    pairing: Pairing,
    rng: np.random.Generator,
    options: SceneOptions,
    library: Library,
) -> list[PhotoScene]:
    """One draw of both twins; all places are equal, so there is room for either."""
    drawn = draw_room(rng, options.full_rotation)
    attempt = rounded(drawn)
    different = [pairing.kept, pairing.other]
    if pairing.side:
        different.reverse()
    pairs = (different, [pairing.kept, pairing.kept])
    hulls = [_hulls(pair, attempt["rotations"], library) for pair in pairs]
    radii = np.array([[_radius(hull) for hull in pair] for pair in hulls])
    gap = attempt.pop("gap")
    distance = (radii.max(axis=0).sum() + _GAP + gap) / 2
    direction = attempt.pop("direction")
    half = distance * np.array(direction)
    differences = (pairing.level, DIFFERENCES.index("none"))
    twins = []
    for label, pair in enumerate(pairs):
        objects, tints = zip(*pair)
        left, right = hulls[label]
        twin = PhotoScene(
            index=2 * pairing.scene + label,
            label=label,
            difference=differences[label],
            level=pairing.level,
            objects=objects,
            tints=tints,
            positions=(_standing(left, -half), _standing(right, half)),
            visible=(0.0, 0.0),
            **attempt,
        )
        twins.append(twin)
    return twins


def _hulls(
    pair: list[tuple[int, int]],
    rotations: list[tuple[float, ...]],
    library: Library,
) -> list[np.ndarray]:
    """The hulls of two objects, turned."""
    hulls = []
    for (index, _), rotation in zip(pair, rotations):
        upright = library[index].hull
        hulls.append(turned(upright, rotation))
    return hulls


def _radius(hull: np.ndarray) -> float:
    """How far an object reaches from its vertical axis."""
    across = hull[:, :2]
    return np.linalg.norm(across, axis=1).max()


def _standing(hull: np.ndarray, place: np.ndarray) -> tuple[float, float, float]:
    """Where the center of an object is if it stands on the table at a place (x, y)."""
    x, y = place.tolist()
    height = float(-hull[:, 2].min())
    return rounded((x, y, height))


def _cheap(scene: PhotoScene, library: Library) -> str:
    """The first constraint broken of those that need no rays."""
    hulls = [library[index].hull for index in scene.objects]
    points = np.concatenate(_placed(hulls, scene))
    backmost = points[:, 1].max()
    if backmost > scene.wall - _GAP:
        return "wall"
    axes = np.stack(camera_axes(scene.camera, scene.target))
    from_camera = points - np.asarray(scene.camera)
    seen = from_camera @ axes.T
    depth = seen[:, :1]
    off_center = np.abs(seen[:, 1:])
    half = np.deg2rad(scene.fov) / 2
    edge = (1 - 2 * _MARGIN) * np.tan(half)
    if (off_center > edge * depth).any():
        return "frame"
    if lamp_in_sight(scene):
        return "lamp"
    return ""


def lamp_in_sight(scene: PhotoScene) -> bool:
    """Whether one of the lights, taken as a disc around its square, stands before the camera and hides the scene."""
    directions = rays(scene.camera, scene.target, scene.fov, 64)
    directions = directions.astype(np.float64)
    camera = np.array(scene.camera)
    for light in scene.lights:
        center = np.array(light.position)
        facing = center / np.linalg.norm(center)
        approach = directions @ facing
        reach = ((center - camera) @ facing) / approach
        met = camera + reach[:, None] * directions
        off = np.linalg.norm(met - center, axis=1)
        radius = light.side / np.sqrt(2)
        before_camera = reach > 0
        if (before_camera & (off < radius)).any():
            return True
    return False


def _checked(
    scene: PhotoScene,
    options: SceneOptions,
    library: Library,
) -> tuple[PhotoScene, str]:
    """The scene with its visible shares, and the first constraint broken of those that need rays."""
    camera = scene.camera
    directions = rays(camera, scene.target, scene.fov, MASK_SIZE)
    both = solids(scene, library)
    alone = [object_mask([solid], camera, directions) for solid in both]
    shares = [np.count_nonzero(mask) / mask.size for mask in alone]
    least, largest = options.coverage
    if min(shares) < least or max(shares) > largest:
        return scene, "coverage"
    mask = object_mask(both, camera, directions)
    visible = visible_shares(mask, alone)
    scene = dataclasses.replace(scene, visible=visible)
    if min(visible) < options.min_visible:
        return scene, "visible"
    return scene, ""
