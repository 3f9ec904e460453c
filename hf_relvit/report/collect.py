"""Runs side by side: disentanglement and accuracy of each."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..analysis.correlation import disentanglement
from ..errors import RelViTError
from ..recipes.alignment import own_alignments
from ..tables import read_table
from .run_folder import RunFolder
from .tables import setting_of


def collect(sources: list[Path]) -> pd.DataFrame:
    """The table that ``analysis.correlation.correlate`` takes, from folders of studies or runs, or from files.

    Args:
        sources: study folders (each of their runs counts), run folders (with ``das`` and ``evaluation``), or ``.csv``
            and ``.parquet`` files of such a table.

    Returns:
        One row per run and split: ``run, group, disentanglement, split, accuracy``. Runs are named by their folders;
        runs of one study that differ only in the seed share a ``group``. The validation split is left out, as
        training may have chosen by it.

    Raises:
        RelViTError: a file that is no table, or a folder without runs that have both alignments and an evaluation.
    """
    frames = []
    for source in sources:
        if source.suffix in (".csv", ".parquet"):
            frames.append(read_table(source))
            continue
        folders = [RunFolder(path) for path in (source, *sorted(source.glob("*/")))]
        runs = [run for run in folders if run.alignment_folders()]
        if not runs:
            raise RelViTError(
                f"no runs with alignments in {source}: expected the folder of a study or of one of its runs, made "
                "with relvit study run (without --no-causal), or a .csv or .parquet table"
            )
        frames += [_run(run) for run in runs]
    return pd.concat(frames, ignore_index=True)


def _run(run: RunFolder) -> pd.DataFrame:
    table = run.table("accuracy")
    value = disentanglement(own_alignments(run.table("alignment")))
    tests = table[(table.condition == "all") & (table.split != "validation")]
    study, name = run.path.resolve().parts[-2:]
    return pd.DataFrame(tests, columns=["split", "accuracy"]).assign(
        run=f"{study}/{name}",
        group=f"{study}/{setting_of(name)}".rstrip("/"),
        disentanglement=value,
    )
