"""A saved result of any analysis, known by the name of its JSON file."""

from __future__ import annotations

from pathlib import Path

from ..errors import RelViTError
from .align import Alignments
from .alignment import Alignment
from .attention import AttentionStages
from .battery import Battery
from .correlation import Correlation
from .diagnosis import Diagnosis
from .frozen_edits import FrozenEdits
from .knockout import Knockout
from .novel import Novel
from .probes import Probes
from .result import Result
from .similarity import Similarity
from .steering import Steering

KINDS: tuple[type[Result], ...] = (
    Diagnosis,  # before its parts
    Alignments,
    Alignment,
    AttentionStages,
    Battery,
    Correlation,
    FrozenEdits,
    Knockout,
    Novel,
    Probes,
    Similarity,
    Steering,
)


def open_result(folder: Path) -> Result:
    """The result in a folder, such as the ``--out`` of ``relvit analyze`` or a cell of a run.

    Raises:
        RelViTError: no result, or broken files.
    """
    found = [kind for kind in KINDS if (folder / f"{kind.STEM}.json").is_file()]
    if not found:
        names = ", ".join(f"{kind.STEM}.json" for kind in KINDS)
        raise RelViTError(f"no result in {folder}: expected a folder with one of {names}")
    return found[0].load(folder)
