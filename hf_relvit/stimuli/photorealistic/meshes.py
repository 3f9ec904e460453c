"""An OBJ file with its materials to one mesh with one texture, of unit size and standing upright."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from scipy.spatial import ConvexHull, QhullError

from ...errors import RelViTError
from ...extras import need

MAX_BYTES = 64 * 2**20
MAX_TRIANGLES = 500_000
_TILE = 256  # side of a texture in the atlas, pixels: finer than any pixel of a 224 px image shows
ATLAS = (512, 1024)
"""Height and width of an object's texture, pixels."""
_SOLID = 4  # side of a plain color in the atlas
_CREASE = np.cos(np.deg2rad(40))  # edges sharper than this stay edges; our choice
_TOP = 1e6  # coordinates beyond are no object


@dataclass(frozen=True, eq=False)
class Model:
    """A solid, centered, of bounding radius 1, z up.

    Attributes:
        name: in plain English.
        corners: float32 ``(triangles, 3, 3)``, position of each corner.
        hull: float32 ``(points, 3)``, the corners of the convex hull: enough to tell how far the object reaches.
        normals: float32 ``(triangles, 3, 3)``, of unit length, smooth but at edges.
        uv: float32 ``(triangles, 3, 2)``, place in ``color``: 0..1, from its top left, to the right and down.
        color: uint8 ``(512, 1024, 3)``, sRGB: all materials side by side.
        roughness: float32 ``(512, 1024)``, 0 mirror to 1 chalk.
    """

    name: str
    corners: np.ndarray
    hull: np.ndarray
    normals: np.ndarray
    uv: np.ndarray
    color: np.ndarray
    roughness: np.ndarray


def load_model(name: str, files: Mapping[str, bytes]) -> Model:
    """Read ``model.obj`` (or the only OBJ) with its materials and pictures.

    Args:
        name: of the object.
        files: name -> content of everything in the object's folder.

    Raises:
        RelViTError: no OBJ or several, a file above 64 MB, more than 500,000 triangles, no triangles, coordinates that
            are not finite, no extent; a file that trimesh cannot read.
    """
    trimesh = need("trimesh")
    found = [file for file in files if file.lower().endswith(".obj")]
    if len(found) != 1:
        raise RelViTError(f"object {name!r} has {len(found)} OBJ files: expected one in its folder")
    data = files[found[0]]
    if len(data) > MAX_BYTES:
        raise RelViTError(
            f"object {name!r}: {found[0]} has {len(data) / 2**20:.0f} MB: expected at most {MAX_BYTES // 2**20}; "
            "simplify the mesh (Blender: Decimate)"
        )
    try:
        scene = trimesh.load(
            trimesh.util.wrap_as_stream(data), "obj", resolver=_Files(files), process=False
        )
        parts = scene.geometry if hasattr(scene, "geometry") else {"": scene}
        parts = [parts[key] for key in sorted(parts) if len(getattr(parts[key], "faces", ()))]
        corners = [np.asarray(part.vertices, dtype=np.float64)[part.faces] for part in parts]
    except RelViTError:
        raise
    except Exception as error:  # whatever a broken file makes of the reader
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise RelViTError(
            f"object {name!r}: {found[0]} cannot be read ({reason}); export it again"
        ) from error
    _check(name, found[0], corners)
    color, roughness, uv = _atlas(parts)
    stacked = np.concatenate(corners)
    good = (
        np.linalg.norm(
            np.cross(stacked[:, 1] - stacked[:, 0], stacked[:, 2] - stacked[:, 0]), axis=1
        )
        > 0
    )
    stacked = _unit(stacked[good])
    points = stacked.reshape(-1, 3).astype(np.float32)
    try:
        hull = points[ConvexHull(points).vertices]
    except QhullError:  # flat
        hull = np.unique(points, axis=0)
    uv = uv[good].astype(np.float32)
    return Model(name, points.reshape(-1, 3, 3), hull, _normals(stacked), uv, color, roughness)


class _Files(dict):
    """What trimesh asks for materials and pictures."""

    def get(self, key, default=None):  # a texture that is missing leaves the plain color
        return super().get(str(key).replace("\\", "/").rpartition("/")[2].strip(), default)


def _check(name: str, file: str, corners: list[np.ndarray]) -> None:
    count = sum(map(len, corners))
    if not count:
        raise RelViTError(
            f"object {name!r}: {file} has no triangles: expected a closed mesh; export it again"
        )
    if count > MAX_TRIANGLES:
        raise RelViTError(
            f"object {name!r}: {file} has {count:,} triangles: expected at most {MAX_TRIANGLES:,}; "
            "simplify the mesh (Blender: Decimate)"
        )
    points = np.concatenate(corners).reshape(-1, 3)
    if not np.isfinite(points).all() or np.abs(points).max() > _TOP:
        raise RelViTError(
            f"object {name!r}: {file} has coordinates that are not finite or beyond {_TOP:g}: export it"
        )
    if np.sort(np.ptp(points, axis=0))[1] <= 0:
        raise RelViTError(
            f"object {name!r}: {file} is a point or a line: expected an object with some extent"
        )


def _unit(corners: np.ndarray) -> np.ndarray:
    """Center of the bounding box at 0, farthest corner at 1, y up (OBJ's custom) to z up."""
    points = corners.reshape(-1, 3)
    points = points - (points.min(0) + points.max(0)) / 2
    points = points / np.linalg.norm(points, axis=1).max()
    return np.stack([points[:, 0], -points[:, 2], points[:, 1]], 1).reshape(-1, 3, 3)


def _normals(corners: np.ndarray) -> np.ndarray:
    """Each corner's mean normal of the triangles that meet there at less than the crease angle, area-weighted."""
    count = len(corners)
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    unit = face / np.linalg.norm(face, axis=1, keepdims=True)
    _, place = np.unique(np.round(corners.reshape(-1, 3), 5), axis=0, return_inverse=True)
    order = np.argsort(place.reshape(-1), kind="stable")
    meeting = np.bincount(place.reshape(-1))
    start = np.concatenate([[0], np.cumsum(meeting)[:-1]])
    mean = face[np.repeat(np.arange(count), 3)] * 0
    rank = np.arange(3 * count) - np.repeat(start, meeting)
    own = unit[order // 3]
    for step in range(meeting.max()):  # the step-th further triangle around each point, cyclically
        active = step < np.repeat(meeting, meeting)
        other = (np.repeat(start, meeting) + (rank + step) % np.repeat(meeting, meeting))[active]
        near = (own[active] * own[other]).sum(1) > _CREASE
        mean[order[active]] += face[order[other] // 3] * near[:, None]
    return (mean / np.linalg.norm(mean, axis=1, keepdims=True)).reshape(-1, 3, 3).astype(np.float32)


def _atlas(parts: list[Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All materials in one picture: color, roughness, and each corner's place in them."""
    tiles, rough, places, left = [], [], [], 0
    for part in parts:
        material = getattr(part.visual, "material", None)
        image, uv = getattr(material, "image", None), getattr(part.visual, "uv", None)
        if image is None or uv is None:
            plain = getattr(material, "diffuse", (160, 160, 160))
            tile = np.broadcast_to(np.asarray(plain, dtype=np.uint8)[:3], (_SOLID, _SOLID, 3))
            place = np.full((len(part.faces), 3, 2), 0.5)
        else:
            place = np.asarray(uv, dtype=np.float64)[part.faces]
            place = place - np.floor(
                place.min(1, keepdims=True)
            )  # a picture repeats: begin in its first copy
            across, down = np.clip(np.ceil(place.reshape(-1, 2).max(0)), 1, 4).astype(int)
            small = image.convert("RGB").resize((_TILE, _TILE), Image.Resampling.LANCZOS)
            tile = np.tile(np.asarray(small), (down, across, 1))
            place = np.clip(place / (across, down), 0, 1)
        height, width = tile.shape[:2]
        # From the middle of the first texel to that of the last, so that neighbors in the atlas do not bleed in.
        x = left + 0.5 + place[..., 0] * (width - 1)
        y = 0.5 + (1 - place[..., 1]) * (height - 1)
        tiles.append(tile)
        rough.append(_roughness(material))
        places.append(np.stack([x, y], -1))
        left += width
    height = max(tile.shape[0] for tile in tiles)
    color = np.zeros((height, left, 3), dtype=np.uint8)
    roughness = np.zeros((height, left), dtype=np.float32)
    start = 0
    for tile, value in zip(tiles, rough):
        stop = start + tile.shape[1]
        color[: tile.shape[0], start:stop], roughness[:, start:stop] = tile, value
        start = stop
    # One size for all objects: LLVM would compile a kernel for each.
    rows, columns = (np.arange(wanted) * had // wanted for wanted, had in zip(ATLAS, color.shape))
    color, roughness = (picture[rows[:, None], columns] for picture in (color, roughness))
    return color, roughness, np.concatenate(places) / (left, height)


def _roughness(material: Any) -> float:
    """From Phong's exponent, as is usual; surfaces without highlights are chalk. Never a mirror: that is noisy."""
    settings = getattr(material, "kwargs", None) or {}
    shine, exponent = settings.get("ks", [0.0]), getattr(material, "glossiness", 10.0)
    if not np.max(shine) > 0:
        return 0.9
    return float(np.clip(np.sqrt(2 / (float(exponent) + 2)), 0.25, 0.9))
