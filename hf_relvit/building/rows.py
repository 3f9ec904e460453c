"""Rows of a dataset made from scenes, and a fingerprint of all that decides what they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Features, Image, List, Value

from .. import dataset_builders, geometry, stimuli
from ..stimuli.objects import COLOR_NAMES, SHAPE_NAMES, ObjectSet
from ..stimuli.png import encode_png
from ..stimuli.scenes import DIFFERENCES, LABELS, SceneTable

_FROM_TABLE = (
    "label",
    "shape",
    "color",
    "corner",
    "jitter",
    "relation",
    "difference",
    "twin",
    "index",
)


def features(objects: ObjectSet, posed: bool = False) -> Features:
    """The columns. Shapes and colors have names if they are ours; your own are numbered. Posed objects have a pose."""
    ours = objects is ObjectSet.default()
    label = ClassLabel(names=list(LABELS))
    columns = Features(
        image=Image(),
        label=label,
        shape=List(ClassLabel(names=list(SHAPE_NAMES)) if ours else Value("int64")),
        color=List(ClassLabel(names=list(COLOR_NAMES)) if ours else Value("int64")),
        corner=List(List(Value("int64"))),
        jitter=List(List(Value("int64"))),
        patches=List(List(Value("int64"))),
        relation=List(label),
        difference=List(ClassLabel(names=list(DIFFERENCES))),
        twin=Value("int64"),
        index=Value("int64"),
        seed=Value("int64"),
    )
    if posed:
        columns["pose"] = List(List(Value("int64")))
    return columns


def rows(table: SceneTable) -> Iterator[tuple[int, dict]]:
    """Scenes as (key, row of ``features``)."""
    columns = {name: getattr(table, name).tolist() for name in _FROM_TABLE}
    columns["patches"] = _owned(table.patches())
    if table.pose is not None:
        columns["pose"] = table.pose.tolist()
    for i, picture in enumerate(table.pixels()):
        row = {
            "image": {"bytes": encode_png(picture), "path": None},
            "seed": table.seed,
        }
        for name, values in columns.items():
            row[name] = values[i]
        yield row["index"], row


def _owned(patches: np.ndarray) -> list[list[list[int]]]:
    """Patch ids of each object of each scene, without the -1 behind those of few patches."""
    if patches.min(initial=0) >= 0:
        return patches.tolist()
    return [[ids[ids >= 0].tolist() for ids in scene] for scene in patches]


def sources() -> list[Path]:
    """The files whose text decides what the rows are."""
    here = Path(__file__).parent
    builders = Path(dataset_builders.__path__[0])
    own = [
        Path(geometry.__file__),
        here / "rows.py",
        here / "common.py",
        *builders.glob("*/builder.py"),
    ]
    return sorted(own + list(Path(stimuli.__path__[0]).glob("*.py")))


def fingerprint(objects: ObjectSet) -> str:
    """16 hexadecimal digits that change with the text of our code, numpy's version, and the shapes and colors."""
    digest = hashlib.sha256(f"numpy {np.__version__}, objects {objects.fingerprint()}".encode())
    for path in sources():
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
