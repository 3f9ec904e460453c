"""Where things stand: drawn until nothing floats, sinks, touches, is hidden too far or leaves the image."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np

from ...errors import RelViTError
from .library import Library
from .masks import camera_axes, object_mask, rays, visible_shares
from .meshes import Model
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


def turned(model: Model, rotation: tuple[float, ...]) -> np.ndarray:
    """A model's corners, float64 ``(triangles, 3, 3)``, turned by a unit quaternion."""
    return model.corners @ rotation_matrix(rotation).T


def rotation_matrix(rotation: tuple[float, ...]) -> np.ndarray:
    """Of a unit quaternion (w, x, y, z)."""
    w, x, y, z = rotation
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def solids(scene: PhotoScene, library: Library) -> list[np.ndarray]:
    """The corners of both objects where they stand, float64 ``(triangles, 3, 3)`` each."""
    return [
        turned(library[index], rotation) + np.asarray(position)
        for index, rotation, position in zip(scene.objects, scene.rotations, scene.positions)
    ]


def scene_mask(scene: PhotoScene, library: Library, size: int = MASK_SIZE) -> np.ndarray:
    """Which object each pixel shows, uint8 ``(size, size)``: 0 neither, 1 the first, 2 the second."""
    directions = rays(scene.camera, scene.target, scene.fov, size)
    return object_mask(solids(scene, library), scene.camera, directions).reshape(size, size)


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
        broken = next(filter(None, (_cheap(scene, library) for scene in twins)), "")
        checked = [] if broken else [_checked(scene, options, library) for scene in twins]
        broken = broken or next((reason for _, reason in checked if reason), "")
        if not broken:
            return checked[0][0], checked[1][0]
        failed[broken] += 1
    worst, times = failed.most_common(1)[0]
    pair = " and ".join(library.names[i] for i in (pairing.kept[0], pairing.other[0]))
    raise RelViTError(
        f"no placement of {pair} found in {MAX_TRIES} tries: the constraint {worst!r} failed {times} times "
        f"(coverage {options.coverage}, min_visible {options.min_visible}); {_CURES[worst]}"
    )


def _twins(
    pairing: Pairing, rng: np.random.Generator, options: SceneOptions, library: Library
) -> list[PhotoScene]:
    """One draw of both twins; what stands where is equal, so there is room for either."""
    attempt = rounded(draw_room(rng, options.full_rotation))
    shown = [[pairing.kept, other] for other in (pairing.other, pairing.kept)]
    if pairing.side:
        shown = [pair[::-1] for pair in shown]
    turns = [rotation_matrix(turn).T for turn in attempt["rotations"]]
    hulls = [[library[i].hull @ turn for (i, _), turn in zip(pair, turns)] for pair in shown]
    room = sum(
        max(np.linalg.norm(pair[slot][:, :2], axis=1).max() for pair in hulls) for slot in (0, 1)
    )
    half = (room + _GAP + attempt.pop("gap")) / 2 * np.array(attempt.pop("direction"))
    return [
        PhotoScene(
            index=2 * pairing.scene + same,
            label=same,
            difference=DIFFERENCES.index("none") if same else pairing.level,
            level=pairing.level,
            objects=(pair[0][0], pair[1][0]),
            tints=(pair[0][1], pair[1][1]),
            positions=tuple(
                rounded((float(x), float(y), float(-hull[:, 2].min())))
                for (x, y), hull in zip((-half, half), points)
            ),
            visible=(0.0, 0.0),
            **attempt,
        )
        for same, (pair, points) in enumerate(zip(shown, hulls))
    ]


def _cheap(scene: PhotoScene, library: Library) -> str:
    """The first constraint broken of those that need no rays."""
    points = np.concatenate(
        [
            library[index].hull @ rotation_matrix(turn).T + np.asarray(position)
            for index, turn, position in zip(scene.objects, scene.rotations, scene.positions)
        ]
    )
    if points[:, 1].max() > scene.wall - _GAP:
        return "wall"
    axes = np.stack(camera_axes(scene.camera, scene.target))
    seen = (points - np.asarray(scene.camera)) @ axes.T
    edge = (1 - 2 * _MARGIN) * np.tan(np.deg2rad(scene.fov) / 2)
    if (np.abs(seen[:, 1:]) > edge * seen[:, :1]).any():
        return "frame"
    return "lamp" if lamp_in_sight(scene) else ""


def lamp_in_sight(scene: PhotoScene) -> bool:
    """Whether one of the lights, taken as a disc around its square, stands before the camera and hides the scene."""
    directions, camera = (
        rays(scene.camera, scene.target, scene.fov, 64).astype(np.float64),
        np.array(scene.camera),
    )
    for light in scene.lights:
        center = np.array(light.position)
        facing = center / np.linalg.norm(center)
        reach = ((center - camera) @ facing) / (directions @ facing)
        off = np.linalg.norm(camera + reach[:, None] * directions - center, axis=1)
        if ((reach > 0) & (off < light.side / np.sqrt(2))).any():
            return True
    return False


def _checked(scene: PhotoScene, options: SceneOptions, library: Library) -> tuple[PhotoScene, str]:
    """The scene with its visible shares, and the first constraint broken of those that need rays."""
    directions = rays(scene.camera, scene.target, scene.fov, MASK_SIZE)
    both = solids(scene, library)
    alone = [object_mask([solid], scene.camera, directions) for solid in both]
    shares = [np.count_nonzero(mask) / mask.size for mask in alone]
    if not all(options.coverage[0] <= share <= options.coverage[1] for share in shares):
        return scene, "coverage"
    first, second = visible_shares(object_mask(both, scene.camera, directions), alone)
    scene = dataclasses.replace(scene, visible=(first, second))
    return scene, "" if min(first, second) >= options.min_visible else "visible"
