"""Your own pictures with the patches that each object owns: look before you believe any number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .style import BLUE, VERMILION, panels, styled

_COLUMNS = 4
_SIZE = 2.6
"""Of a picture, inches."""


@styled()
def pictures_figure(
    pictures: np.ndarray,
    patches: np.ndarray,
    titles: Sequence[str],
    patch_size: int,
) -> Figure:
    """Pictures in rows of four, their objects' patches framed: the first blue, the second orange.

    Args:
        pictures: uint8 ``(n, side, side, 3)``.
        patches: int64 ``(n, 2, p)``, padded with -1.
        titles: of each picture.
        patch_size: pixels.
    """
    columns = min(_COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    height = _SIZE + 0.3
    size = (_SIZE * columns, height * rows)
    figure, axes = panels(size, rows, columns)
    for axis in axes.flat[len(pictures) :]:
        axis.axis("off")
    for axis, picture, owned, title in zip(axes.flat, pictures, patches, titles):
        axis.imshow(picture)
        axis.set_title(title, fontsize=10)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(True)
        first, second = owned
        _frames(axis, first, picture, patch_size, BLUE)
        _frames(axis, second, picture, patch_size, VERMILION)
    return figure


def _frames(
    axis: Axes,
    ids: np.ndarray,
    picture: np.ndarray,
    side: int,
    color: str,
) -> None:
    """A square around each patch; -1 is none."""
    grid = len(picture) // side
    for patch in ids[ids >= 0].tolist():
        row, column = divmod(patch, grid)
        corner = (column * side - 0.5, row * side - 0.5)
        square = Rectangle(
            corner,
            side,
            side,
            fill=False,
            ec=color,
            lw=1.2,
        )
        axis.add_patch(square)
