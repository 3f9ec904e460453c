"""Drawn scenes as somebody's own pictures: rows with boxes, and a folder of them."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from hf_relvit.geometry import GEOMETRIES
from hf_relvit.stimuli.distribution import SceneDistribution
from hf_relvit.stimuli.scenes import LABELS, SceneTable

QUICK = GEOMETRIES["quick"]
SCENES = SceneDistribution("discrimination", QUICK, 32).sample("test", 40)


def boxes_of(scenes: SceneTable, i: int) -> list[list[int]]:
    corners = scenes.corner[i].astype(int) * QUICK.patch_size
    side = QUICK.object_size
    return [[int(column), int(row), side, side] for row, column in corners]


def rows_of(scenes: SceneTable) -> list[dict]:
    """Rows with boxes, as a user would write them."""
    pictures = scenes.pixels()
    return [
        {
            "image": Image.fromarray(pictures[i]),
            "label": LABELS[scenes.label[i]],
            "objects": {"bbox": boxes_of(scenes, i)},
        }
        for i in range(len(scenes))
    ]


def image_folder(path: Path) -> Path:
    """``SCENES`` as an ImageFolder with boxes."""
    path.mkdir(parents=True)
    lines = []
    for i, row in enumerate(rows_of(SCENES)):
        row.pop("image").save(path / f"{i}.png")
        lines.append(json.dumps({"file_name": f"{i}.png", **row}))
    (path / "metadata.jsonl").write_text("\n".join(lines))
    return path
