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
    need("trimesh")
    file = _obj_file(name, files)
    parts, corners = _read(name, files, file)
    _check(name, file, corners)
    color, roughness, uv = _atlas(parts)
    stacked = np.concatenate(corners)
    area = np.linalg.norm(_area_normals(stacked), axis=1)
    good = area > 0
    stacked = _unit(stacked[good])
    single = stacked.astype(np.float32)
    return Model(
        name=name,
        corners=single,
        hull=_hull(single.reshape(-1, 3)),
        normals=_normals(stacked),
        uv=uv[good].astype(np.float32),
        color=color,
        roughness=roughness,
    )


def _read(name: str, files: Mapping[str, bytes], file: str) -> tuple[list[Any], list[np.ndarray]]:
    """The parts of an OBJ, and their triangles."""
    try:
        parts = _parts(files, file)
        return parts, [_corners(part) for part in parts]
    except RelViTError:
        raise
    except Exception as error:  # a broken file may raise anything in the reader
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise RelViTError(
            f"object {name!r}: {file} cannot be read ({reason}); export it again"
        ) from error


def _obj_file(name: str, files: Mapping[str, bytes]) -> str:
    """The name of the only OBJ file, of a size that can be read."""
    found = [file for file in files if file.lower().endswith(".obj")]
    if len(found) != 1:
        raise RelViTError(f"object {name!r} has {len(found)} OBJ files: expected one in its folder")
    (file,) = found
    size = len(files[file])
    if size > MAX_BYTES:
        raise RelViTError(
            f"object {name!r}: {file} has {size / 2**20:.0f} MB: expected at most {MAX_BYTES // 2**20}; "
            "simplify the mesh (Blender: Decimate)"
        )
    return file


def _corners(part: Any) -> np.ndarray:
    """The corners of a mesh's triangles, float64 ``(triangles, 3, 3)``."""
    vertices = np.asarray(part.vertices, dtype=np.float64)
    return vertices[part.faces]


def _hull(points: np.ndarray) -> np.ndarray:
    """The points ``(n, 3)`` that are corners of the convex hull; of a flat object all."""
    try:
        corners = ConvexHull(points).vertices
    except QhullError:  # flat
        return np.unique(points, axis=0)
    return points[corners]


def _parts(files: Mapping[str, bytes], file: str) -> list[Any]:
    """The meshes of an OBJ file that have triangles, one per material, by their names."""
    trimesh = need("trimesh")
    stream = trimesh.util.wrap_as_stream(files[file])
    scene = trimesh.load(stream, "obj", resolver=_Files(files), process=False)
    named = scene.geometry if hasattr(scene, "geometry") else {"": scene}
    parts = [named[name] for name in sorted(named)]
    return [part for part in parts if len(getattr(part, "faces", ()))]


class _Files(dict):
    """Answers to trimesh about materials and pictures."""

    def get(self, key, default=None):  # a texture that is missing leaves the plain color
        path = str(key).replace("\\", "/")
        name = path.rpartition("/")[2]
        return super().get(name.strip(), default)


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
    finite = np.isfinite(points).all()
    if not finite or np.abs(points).max() > _TOP:
        raise RelViTError(
            f"object {name!r}: {file} has coordinates that are not finite or beyond {_TOP:g}: export it"
        )
    extents = np.ptp(points, axis=0)
    if np.median(extents) <= 0:
        raise RelViTError(
            f"object {name!r}: {file} is a point or a line: expected an object with some extent"
        )


def _unit(corners: np.ndarray) -> np.ndarray:
    """Center of the bounding box at 0, farthest corner at 1, y up (OBJ's custom) to z up."""
    points = corners.reshape(-1, 3)
    center = (points.min(0) + points.max(0)) / 2
    points = points - center
    distances = np.linalg.norm(points, axis=1)
    points = points / distances.max()
    x, y, z = points.T
    upright = np.stack([x, -z, y], 1)
    return upright.reshape(-1, 3, 3)


def _area_normals(corners: np.ndarray) -> np.ndarray:
    """Normals of triangles, twice as long as their area, ``(triangles, 3)``."""
    first, second, third = corners.swapaxes(0, 1)
    return np.cross(second - first, third - first)


def _normals(corners: np.ndarray) -> np.ndarray:
    """Each corner's mean normal of the triangles that meet there at less than the crease angle, area-weighted."""
    face = _area_normals(corners)
    unit = _unit_length(face)
    points = np.round(corners.reshape(-1, 3), 5)
    _, inverse = np.unique(points, axis=0, return_inverse=True)
    place = inverse.reshape(-1)
    order = np.argsort(place, kind="stable")
    triangle = order // 3
    normals = face[triangle]
    directions = unit[triangle]
    counts = np.bincount(place)
    starts = np.cumsum(counts) - counts
    meeting = np.repeat(counts, counts)
    start = np.repeat(starts, counts)
    rank = np.arange(len(order)) - start
    total = np.repeat(face, 3, axis=0)  # of the corner's own triangle
    for step in range(
        1, counts.max()
    ):  # the step-th further triangle around each point, cyclically
        active = step < meeting
        following = start + (rank + step) % meeting
        other = following[active]
        cosine = (directions[active] * directions[other]).sum(1)
        near = cosine > _CREASE
        corner = order[active]
        total[corner] += normals[other] * near[:, None]
    mean = _unit_length(total)
    return mean.reshape(-1, 3, 3).astype(np.float32)


def _unit_length(vectors: np.ndarray) -> np.ndarray:
    """Vectors ``(n, 3)`` of length 1."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _atlas(parts: list[Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All materials in one picture: color, roughness, and each corner's place in them."""
    tiles = []
    places = []
    left = 0
    for part in parts:
        tile, place = _tile(part)
        height, width, _ = tile.shape
        # From the middle of the first texel to that of the last, so that neighbors in the atlas do not bleed in.
        across = place[..., 0]
        down = 1 - place[..., 1]
        x = left + 0.5 + across * (width - 1)
        y = 0.5 + down * (height - 1)
        tiles.append(tile)
        places.append(np.stack([x, y], -1))
        left += width
    height = max(map(len, tiles))
    color = np.zeros((height, left, 3), dtype=np.uint8)
    roughness = np.zeros((height, left), dtype=np.float32)
    start = 0
    for tile, part in zip(tiles, parts):
        tall, wide, _ = tile.shape
        columns = slice(start, start + wide)
        color[:tall, columns] = tile
        roughness[:, columns] = _roughness(part)
        start += wide
    # One size for all objects: LLVM would compile a kernel for each.
    rows = _spread(ATLAS[0], height)
    columns = _spread(ATLAS[1], left)
    texels = np.ix_(rows, columns)
    uv = np.concatenate(places) / (left, height)
    return color[texels], roughness[texels], uv


def _spread(wanted: int, given: int) -> np.ndarray:
    """Which of the given texels each of the wanted ones shows, int64 ``(wanted,)``."""
    return np.arange(wanted) * given // wanted


def _material(part: Any) -> Any:
    return getattr(part.visual, "material", None)


def _tile(part: Any) -> tuple[np.ndarray, np.ndarray]:
    """The picture of a material, uint8 ``(height, width, 3)``, and each corner's place in it, 0..1."""
    material = _material(part)
    image = getattr(material, "image", None)
    uv = getattr(part.visual, "uv", None)
    if image is None or uv is None:
        diffuse = getattr(material, "diffuse", (160, 160, 160))
        plain = np.asarray(diffuse, dtype=np.uint8)
        tile = np.empty((_SOLID, _SOLID, 3), dtype=np.uint8)
        tile[:] = plain[:3]
        middle = np.full((len(part.faces), 3, 2), 0.5)
        return tile, middle
    vertices = np.asarray(uv, dtype=np.float64)
    place = vertices[part.faces]
    copy = np.floor(place.min(1, keepdims=True))
    place = place - copy  # a picture repeats: begin in its first copy
    reach = np.ceil(place.max((0, 1)))
    copies = np.clip(reach, 1, 4).astype(int)
    across, down = copies
    size = (_TILE, _TILE)
    small = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    tile = np.tile(np.asarray(small), (down, across, 1))
    return tile, np.clip(place / copies, 0, 1)


def _roughness(part: Any) -> float:
    """From Phong's exponent, as is usual; surfaces without highlights are chalk. Never a mirror: that is noisy."""
    material = _material(part)
    settings = getattr(material, "kwargs", None) or {}
    shine = settings.get("ks", [0.0])
    if not np.max(shine) > 0:
        return 0.9
    exponent = float(getattr(material, "glossiness", 10.0))
    roughness = np.sqrt(2 / (exponent + 2))
    return float(np.clip(roughness, 0.25, 0.9))
