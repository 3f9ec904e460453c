"""The benchmark's repository: how well published models do on every split, as a table that the Hub shows.

The tasks are those of the published data sets, each of which lists them in its ``eval.yaml``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from huggingface_hub import DatasetCard, DatasetCardData

from .. import __version__
from ..measurements import Measurement
from ..owned import results_in
from ..stimuli.tasks import task_of
from ..words import split_name
from .leaderboard import Leaderboard, compare, save
from .outgoing import checked_files, checked_text
from .publish import Files, Publication, publish_or_list

MARK = "relvit-benchmark"
"""Tag of the card by which we know the repository as ours."""
NAME = "benchmark"
_ABOUT = """
Accuracy with its 95 % interval, one row per model and split. Beside it stand the accuracy of the same network with
random weights (`base_accuracy`) and of guessing (`floor`). `disentanglement` says how well shape and color of an
object can be swapped inside the model, in its best layers.

To add a model: `relvit push RUN --repo YOU/NAME`. `relvit hub compare ID ...` makes this table of any published runs.
"""


def boards_of(
    runs: Mapping[str, Path], *, say: Callable[[str], object] = print
) -> list[Leaderboard]:
    """Boards of runs on this machine under the names that they have on the Hub.

    Args:
        runs: Hub id -> folder of the run.
        say: is told of runs without accuracies, which are left out.

    Raises:
        RelViTError: no run has accuracies, or one cannot be read.
    """
    ids = {str(folder): repo for repo, folder in runs.items()}
    boards = compare(list(ids), say=say)
    named = []
    for board in boards:
        entries = [replace(each, run=ids[each.run], kind=ids[each.kind]) for each in board.entries]
        named.append(replace(board, entries=entries))
    return named


def push_benchmark(
    boards: Sequence[Leaderboard],
    repo: str,
    *,
    public: bool = False,
    dry_run: bool = False,
    say: Callable[[str], object] = print,
) -> None:
    """Publish the tables, their page and a card; a second push of the same tables changes nothing.

    Args:
        boards: one per task.
        repo: "owner/name" of a dataset repository.
        public: for everybody to see; a new repository is private by default, an existing one stays as it is.
        dry_run: list the files; nothing is sent, and no account is needed.
        say: is told what happens.

    Raises:
        RelViTError: an obstacle between this user and that repository (``client``).
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        save(boards, folder)
        chosen = {path.relative_to(folder).as_posix(): path for path in results_in(folder)}
        card = checked_text("README.md", str(_card(boards)))
        files: Files = {**checked_files(chosen, folder), "README.md": card}
        publication = Publication(
            repo, "dataset", MARK, files, f"benchmark (hf_relvit {__version__})"
        )
        publish_or_list(publication, public=public, dry_run=dry_run, say=say)


def _card(boards: Sequence[Leaderboard]) -> DatasetCard:
    configs = [
        {"config_name": board.task, "data_files": f"{board.task}/comparison.parquet"}
        for board in boards
    ]
    header = DatasetCardData(
        pretty_name="Relations between objects: results",
        license="apache-2.0",
        tags=[MARK, "vision-transformer", "same-different", "arxiv:2406.15955"],
        configs=configs,
    )
    sections = [f"## {task_of(board.task).question}\n\n{_table(board)}\n" for board in boards]
    text = "\n".join(["# Relations between objects: results", _ABOUT, *sections])
    return DatasetCard(f"---\n{header.to_yaml()}\n---\n{text}")


def _table(board: Leaderboard) -> str:
    """The board in Markdown: a row per model, a column per split."""
    splits = list(dict.fromkeys(split for entry in board.entries for split in entry.tests))
    heads = ["model", *(split_name(split) for split in splits), "disentanglement"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for entry in board.entries:
        link = f"[{entry.run}](https://huggingface.co/{entry.run})"
        cells = [_cell(entry.tests.get(split)) for split in splits]
        measured = not pd.isna(entry.disentanglement)
        value = f"{entry.disentanglement:.3f}" if measured else ""
        lines.append(f"| {' | '.join([link, *cells, value])} |")
    return "\n".join([*lines, "", *board.notes])


def _cell(measured: Measurement | None) -> str:
    return "" if measured is None else f"{measured.value:.3f} ({measured.interval})"
