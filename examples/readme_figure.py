"""The figure of the README: attention stages and swaps of the fine-tuned CLIP, beside the authors' swaps.

    python examples/readme_figure.py docs/images/clip.png

Input: committed tables. Attention is that of the full fine-tuning (docs/results/replicate_clip); swaps are of the
adapters (docs/results/clip_discrimination), which alone have all layers; the authors' swaps are published_curves.csv.
Nothing is measured here.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
from compare_published import PUBLISHED, draw, ours
from matplotlib.axes import Axes

from hf_relvit.figures.attention import strongest_heads
from hf_relvit.figures.style import panels, styled
from hf_relvit.tables import select

WHOLE = PUBLISHED.parent / "replicate_clip"
ADAPTERS = PUBLISHED.parent / "clip_discrimination"
PROPERTIES = ["shape", "color"]


def draw_attention(axis: Axes) -> None:
    strongest_heads(axis, pd.read_csv(WHOLE / "attention.csv"))
    axis.set(title="where objects look: share of attention")
    axis.set(xlabel="layer", ylim=(0, 1.08), xticks=range(0, 12, 2))
    axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0.62, 0.82))


def draw_swaps(axis: Axes, name: str) -> None:
    curve = {"analysis": "swap", "property": name}
    theirs = select(pd.read_csv(PUBLISHED), task="discrimination", **curve)
    draw(axis, theirs, select(ours(ADAPTERS), **curve), f"answers turned by a swap of {name}")


@styled()
def draw_figure(path: Path) -> None:
    """Three charts over the layers: attention (paper, Figure 2), swaps of shape and of color (Figure 3)."""
    figure, axes = panels((12, 3), columns=3)
    attention, *swaps = axes.flat
    draw_attention(attention)
    for axis, name in zip(swaps, PROPERTIES, strict=True):
        draw_swaps(axis, name)
    swaps[0].legend(fontsize=8, loc="upper right")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    draw_figure(Path(sys.argv[1]))
