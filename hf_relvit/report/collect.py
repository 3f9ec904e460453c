"""Runs side by side: what disentanglement and accuracy each of them has."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..analysis.correlation import disentanglement
from ..errors import RelViTError
from .readings import own_alignments
from .tables import causal_tables, setting_of

_SCORES, _ACCURACY = "das/*/scores.parquet", "evaluation/accuracy.parquet"


def collect(sources: list[Path]) -> pd.DataFrame:
    """The table that ``analysis.correlation.correlate`` takes, from folders of studies or runs, or from files.

    Args:
        sources: study folders (each of their runs counts), run folders (with ``das`` and ``evaluation``), or ``.csv``
            and ``.parquet`` files of such a table.

    Returns:
        A row a run and split: ``run, group, disentanglement, split, accuracy``. Runs are named by their folders; runs
        of one study that differ only in the seed share a ``group``. The validation split is left out, as training
        may have chosen by it.

    Raises:
        RelViTError: a file that is no table, or a folder without runs that have both alignments and an evaluation.
    """
    frames = []
    for source in sources:
        if source.suffix in (".csv", ".parquet"):
            frames.append(_read(source))
            continue
        runs = [run for run in [source, *sorted(source.glob("*/"))] if any(run.glob(_SCORES))]
        if not runs:
            raise RelViTError(
                f"no runs with alignments in {source}: expected the folder of a study or of one of its runs, made "
                "with relvit study run (without --no-causal), or a .csv or .parquet table"
            )
        frames += [_run(run) for run in runs]
    return pd.concat(frames, ignore_index=True)


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise RelViTError(
            f"cannot read the table {path} ({reason}): expected .csv or .parquet"
        ) from error


def _run(run: Path) -> pd.DataFrame:
    if not (run / _ACCURACY).exists():
        raise RelViTError(f"{run} has no {_ACCURACY}: let relvit study run finish it")
    value = disentanglement(own_alignments(causal_tables(run)["alignment"]))
    table = pd.read_parquet(run / _ACCURACY)
    table = pd.DataFrame(
        table[(table.condition == "all") & (table.split != "validation")],
        columns=["split", "accuracy"],
    )
    study, name = run.resolve().parts[-2:]
    group = f"{study}/{setting_of(name)}".rstrip("/")
    return table.assign(run=f"{study}/{name}", group=group, disentanglement=value)
