"""`relvit tour`: the paper's story on released weights, in minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import RelViTError
from .bridge import options
from .habits import say
from .options import OUT_FOLDER, Base

RELEASED = Path(__file__).parents[2] / "released"
"""In a clone of the repository; an installed package has no runs."""
RUN = "clip-discrimination"
CONTRAST = "scratch-discrimination"


@options("settings", "study.tour:TourConfig")
def tour(
    settings,
    run: Annotated[
        Path | None,
        typer.Argument(help="A finished run; by default the released CLIP of this repository."),
    ] = None,
    contrast: Annotated[
        Path | None,
        typer.Option(help="A run to tell the same of; with the released CLIP, one from scratch."),
    ] = None,
    base: Base = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for the tour.", **OUT_FOLDER)] = Path(
        "tour"
    ),
):
    """Two stages of attention, a swap that flips the answer, values that no object has, a judgement read and steered.

    Measures a run again on fresh scenes, at the layers where it found its effects, and writes report.html with
    pictures. An interrupted tour goes on where it was. The released CLIP is an adapter: its base is looked for where
    it says, or in the folder of --base.

    Example: relvit tour --base build/clip-vit-b16 --out tour
    """
    if run is None:
        run = RELEASED / RUN
        if not run.is_dir():
            raise RelViTError(
                f"{run} is not there: name a finished run, or clone the repository, which has a released one"
            )
        contrast = contrast or RELEASED / CONTRAST
    from ..study.tour import tour as take

    say(f"report: {take(run, contrast, out, settings, base=base, say=say)}")
