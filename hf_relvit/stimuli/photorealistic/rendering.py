"""Scenes to pixels by path tracing (Mitsuba 3). The picture of a row depends on that row and on the variant alone."""

from __future__ import annotations

import os
import re
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import RelViTError, RelViTWarning
from ...extras import need
from .denoising import denoise
from .library import Library
from .meshes import Model
from .placement import turned
from .room import hue_shade, surface_texture
from .scenes import Light, PhotoScene, Surface
from .textures import SIDE

VARIANTS = {"scalar": "scalar_rgb", "llvm": "llvm_ad_rgb"}
"""The scalar one needs nothing; the other one is faster and needs LLVM. Their noise differs, so their pixels do."""
SAMPLES = 16
"""Paths per pixel, before ``denoise``: with more, nobody sees a difference (benchmarks/bench_photorealistic.py)."""
LEAST_SIZE = 16
LARGEST_SIZE = 4096
"""Sides of pictures, pixels: a patch, and more than any camera of the set would show."""
_DEPTH = 4  # light, two bounces and the eye
_LIGHT = {"type": "path", "max_depth": _DEPTH}
_ALBEDO = {"type": "aov", "aovs": "color:albedo"}
_GEOMETRY = {"type": "aov", "aovs": "normal:sh_normal,place:position"}
_OLDEST_LLVM = 17  # 14 to 16 abort the whole process
_LIBRARIES = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
)
_HOMEBREW = ("/opt/homebrew/opt/llvm/lib/libLLVM.dylib", "/usr/local/opt/llvm/lib/libLLVM.dylib")
_FAR = 40.0  # half the width of table and wall: beyond every image


def choose_variant(wanted: str) -> str:
    """The variant to render with: the wanted one, or "scalar" if LLVM is wanted and absent (a warning says so once).

    Raises:
        RelViTError: an unknown variant, or the extra is not installed.
    """
    if wanted not in VARIANTS:
        raise RelViTError(f"unknown variant {wanted!r}: expected one of {', '.join(VARIANTS)}")
    need("mitsuba")
    if wanted == "llvm" and not _find_llvm():
        warnings.warn(
            f"no LLVM of version {_OLDEST_LLVM} or later found: rendering with the slower scalar variant; install "
            "libllvm (Debian: libllvm19) or set DRJIT_LIBLLVM_PATH to its file",
            RelViTWarning,
            stacklevel=2,
        )
        return "scalar"
    return wanted


def _find_llvm() -> str:
    """Path of LLVM's library; the user's choice goes first. Empty if there is none that works."""
    named = os.environ.get("DRJIT_LIBLLVM_PATH")
    if named:
        return named if Path(named).exists() else ""
    found = {path: 0 for path in map(Path, _HOMEBREW) if path.exists()}
    for folder in _LIBRARIES:
        for path in Path(folder).glob("libLLVM*.so*"):
            number = re.search(r"\d+", path.name)
            version = int(number[0]) if number else 0
            if version >= _OLDEST_LLVM:
                found[path] = version
    if not found:
        return ""
    newest = max(found, key=lambda path: (found[path], path))
    return str(newest)


def check_size(size: int) -> None:
    """Raise RelViTError for the side of a picture that is none, in pixels."""
    if not LEAST_SIZE <= size <= LARGEST_SIZE:
        raise RelViTError(f"size {size}: expected {LEAST_SIZE} to {LARGEST_SIZE} pixels")


@lru_cache(maxsize=1)
def _mitsuba(variant: str, threads: int) -> Any:
    """Mitsuba, ready to use in this process."""
    if variant == "llvm":
        os.environ["DRJIT_LIBLLVM_PATH"] = _find_llvm()
    mitsuba = need("mitsuba")
    mitsuba.set_variant(VARIANTS[variant])
    mitsuba.set_log_level(mitsuba.LogLevel.Error)
    need("drjit").set_thread_count(threads)
    return mitsuba


def render_photo(
    scene: PhotoScene,
    library: Library,
    size: int = 224,
    *,
    variant: str = "scalar",
    samples: int = SAMPLES,
    threads: int = 1,
) -> np.ndarray:
    """One picture.

    Equal rows give equal bytes for the same variant and version of Mitsuba, alone or in sequence, with any number of
    threads.

    Args:
        scene: a row.
        library: the objects that the row was drawn for.
        size: side, pixels.
        variant: "scalar" or "llvm"; see ``choose_variant``.
        samples: paths per pixel, at least 1; a square number at best.
        threads: of Mitsuba, in this process.

    Returns:
        uint8 ``(size, size, 3)``, sRGB.

    Raises:
        RelViTError: the extra is not installed, an unknown variant, or a size out of its range.
    """
    check_size(size)
    if samples < 1:
        raise RelViTError(f"{samples} samples per pixel: expected at least 1")
    if variant not in VARIANTS:
        raise RelViTError(f"unknown variant {variant!r}: expected one of {', '.join(VARIANTS)}")
    mi = _mitsuba(variant, threads)
    # Not optimized: merging what is identical leaves the lamps in an order that changes from call to call, and with it
    # which lamp a path's random number picks.
    world = mi.load_dict(_world(mi, scene, library, size, samples), optimize=False)
    if variant == "llvm":
        _hide_numbers(mi, world)

    # Apart, as an image of many channels is slow; where things are needs fewer paths than their colors.
    def layer(kind: dict[str, Any], count: int) -> np.ndarray:
        integrator = mi.load_dict(kind)
        traced = mi.render(
            world,
            integrator=integrator,
            spp=count,
            seed=scene.noise,
        )
        return np.array(traced, dtype=np.float32)

    light = layer(_LIGHT, samples)
    albedo = layer(_ALBEDO, samples)
    geometry = layer(_GEOMETRY, min(samples, 4))
    normal, position = np.split(geometry, 2, axis=-1)
    clean = denoise(light, albedo, normal, position)
    return develop(clean)


def _hide_numbers(mi: Any, world: Any) -> None:
    """Keep the scene's numbers out of the compiled code, so that one kernel serves all scenes: twice as fast."""
    drjit = need("drjit")
    parameters = mi.traverse(world)
    for name, value in list(parameters.items()):
        if drjit.is_array_v(value) or isinstance(value, mi.AffineTransform4f):
            drjit.make_opaque(value)
            parameters[name] = value
    parameters.update()


def develop(light: np.ndarray) -> np.ndarray:
    """Linear light to sRGB, with a soft shoulder from 0.6 on, so that highlights do not clip hard.

    Args:
        light: float32 ``(height, width, 3)``, 0 and up.

    Returns:
        uint8 of the same shape.
    """
    knee = 0.6
    room = 1 - knee
    over = np.maximum(light - knee, 0)
    shoulder = room * (1 - np.exp(-over / room))
    soft = np.minimum(light, knee) + shoulder
    root = np.maximum(soft, 1e-9) ** (1 / 2.4)
    bright = 1.055 * root - 0.055
    srgb = np.where(soft <= 0.0031308, 12.92 * soft, bright)
    levels = np.clip(srgb, 0, 1) * 255
    return np.rint(levels).astype(np.uint8)


def _world(
    mi: Any,
    scene: PhotoScene,
    library: Library,
    size: int,
    samples: int,
) -> dict[str, Any]:
    # The kinds of things never change from scene to scene, so LLVM compiles one kernel for all.
    to_world = mi.ScalarTransform4f
    raised = to_world().rotate([1, 0, 0], 90)
    behind = to_world().translate([0, scene.wall, 0])
    upright = behind @ raised
    world = {
        "type": "scene",
        "sensor": _sensor(mi, scene, size, samples),
        "table": _rectangle(mi, scene.table_surface, to_world(), 0.5),
        "wall": _rectangle(mi, scene.wall_surface, upright, 0.8),
        "ambient": {"type": "constant", "radiance": _radiance(scene.ambient)},
    }
    first, second = scene.lights
    world["light1"] = _lamp(mi, second)  # in this order, as in most pictures of the shipped set
    world["light0"] = _lamp(mi, first)
    for i, index in enumerate(scene.objects):
        world[f"object{i}"] = _object(
            mi,
            library[index],
            scene.tints[i],
            scene.rotations[i],
            scene.positions[i],
        )
    return world


def _sensor(
    mi: Any,
    scene: PhotoScene,
    size: int,
    samples: int,
) -> dict[str, Any]:
    view = mi.ScalarTransform4f().look_at(
        origin=list(scene.camera),
        target=list(scene.target),
        up=[0, 0, 1],
    )
    film = {
        "type": "hdrfilm",
        "width": size,
        "height": size,
        "pixel_format": "rgb",
        "rfilter": {"type": "gaussian"},
    }
    return {
        "type": "perspective",
        "fov": scene.fov,
        "near_clip": 0.1,
        "far_clip": 500.0,
        "to_world": view,
        "film": film,
        "sampler": {"type": "multijitter", "sample_count": samples},
    }


def _radiance(color: tuple[float, ...]) -> dict[str, Any]:
    return {"type": "rgb", "value": list(color)}


def _rectangle(
    mi: Any,
    surface: Surface,
    to_world: Any,
    roughness: float,
) -> dict[str, Any]:
    repeats = 2 * _FAR / SIDE
    copies = mi.ScalarTransform3f().scale([repeats, repeats])
    # the middle of a copy in the middle of the scene, away from where copies are mirrored
    centered = mi.ScalarTransform3f().translate([0.5, 0.5])
    color = _bitmap(mi, surface_texture(surface), raw=False)
    color["to_uv"] = centered @ copies
    color["wrap_mode"] = "mirror"
    turned_in_plane = mi.ScalarTransform4f().rotate([0, 0, 1], surface.turn)
    large = mi.ScalarTransform4f().scale([_FAR, _FAR, 1])
    return {
        "type": "rectangle",
        "to_world": to_world @ turned_in_plane @ large,
        "bsdf": {
            "type": "principled",
            "base_color": color,
            "roughness": roughness,
            "specular": 0.3,
        },
    }


def _bitmap(mi: Any, pixels: np.ndarray, raw: bool) -> dict[str, Any]:
    return {
        "type": "bitmap",
        "bitmap": mi.Bitmap(np.ascontiguousarray(pixels)),
        "raw": raw,
        "filter_type": "bilinear",
    }


def _lamp(mi: Any, light: Light) -> dict[str, Any]:
    _, y, _ = light.position
    distance = np.linalg.norm(light.position)
    along_y = abs(y) >= 0.9 * distance
    up = [0.0, 0.0, 1.0] if along_y else [0.0, 1.0, 0.0]
    facing = mi.ScalarTransform4f().look_at(
        origin=list(light.position),
        target=[0, 0, 0],
        up=up,
    )
    half = light.side / 2
    square = mi.ScalarTransform4f().scale([half, half, 1])
    return {
        "type": "rectangle",
        "to_world": facing @ square,
        "emitter": {"type": "area", "radiance": _radiance(light.radiance)},
    }


def _object(
    mi: Any,
    model: Model,
    tint: int,
    rotation: tuple[float, ...],
    position: tuple[float, ...],
) -> Any:
    properties = mi.Properties()
    properties["bsdf"] = mi.load_dict(
        {
            "type": "twosided",
            "inner": {
                "type": "principled",
                "base_color": _bitmap(mi, painted(model.color, tint), raw=False),
                "roughness": _bitmap(mi, model.roughness[..., None], raw=True),
                "specular": 0.5,
            },
        }
    )
    count = 3 * len(model.corners)
    mesh = mi.Mesh(model.name, count, count // 3, properties, True, True)
    parameters = mi.traverse(mesh)
    corners = turned(model.corners, rotation) + np.asarray(position)
    normals = turned(model.normals, rotation)
    parameters["vertex_positions"] = np.ravel(corners).astype(np.float32)
    parameters["vertex_normals"] = np.ravel(normals).astype(np.float32)
    parameters["vertex_texcoords"] = np.ravel(model.uv).astype(np.float32)
    parameters["faces"] = np.arange(count, dtype=np.uint32)
    parameters.update()
    return mesh


def painted(color: np.ndarray, tint: int) -> np.ndarray:
    """An object's colors in one hue: saturation at least one half, darkness eased, so that the paint shows on any.

    Args:
        color: uint8 ``(height, width, 3)``.
        tint: index into ``scenes.TINTS``; 0 leaves the colors as they are.
    """
    if tint == 0:
        return color
    sixth = tint - 1  # hue in steps of 60 degrees
    values = color.astype(np.float64) / 255
    top = values.max(-1)
    low = values.min(-1)
    value = 0.2 + 0.75 * top
    purity = (top - low) / np.maximum(top, 1e-9)  # 0 where all is black
    saturation = np.maximum(purity, 0.6)
    shade = 1 - saturation[..., None] * hue_shade(sixth)
    painted_color = 255 * value[..., None] * shade
    return np.rint(painted_color).astype(np.uint8)
