"""Records of backbones as the data set of a board: a file per record, the board, a card and ``eval.yaml``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from huggingface_hub import DatasetCard, DatasetCardData

from .. import __version__
from ..owned import results_in
from ..report.board import board_table, write_board
from ..report.records import write_records
from ..schemas import BackboneRecord
from ..tables import records as rows_of
from ..tables import select
from ..words import MEASURE_NAMES
from .outgoing import checked_files, checked_text
from .publish import Files, Publication, Remote, publish_or_list
from .records import record_file, records_of

MARK = "relvit-backbones"
"""Tag of the card by which we know such a repository as ours."""
TITLE = "Backbones without fine-tuning"
_ABOUT = """
Does a frozen backbone bind objects, and does it hold the relation between them? One row per backbone, from its record.
In brackets the 95 % interval on test scenes; validation scenes chose the layer. `*` marks a number whose interval does
not lie above all of its controls: the same network with random weights, guessing, shuffled labels, places alone. Some
measures are high with random weights, too: [board.html](board.html) and `board.parquet` give every control.

All records here are of one protocol, one geometry, the same objects and the same settings; `relvit board` refuses
others, and records that were changed by hand.
"""
_ADD = """
## Add a backbone
```sh
relvit measure YOUR_BACKBONE --out runs/mine
relvit board runs/mine/record.jsonl {repo} --out board
```
The record of your backbone also stands on its own: as `record.jsonl` in its repository, which `relvit board` reads.
"""


def push_records(
    records: Sequence[BackboneRecord],
    repo: str,
    *,
    public: bool = False,
    dry_run: bool = False,
    say: Callable[[str], object] = print,
) -> None:
    """Publish records as the data set of a board: a file per record, the board, a card and ``eval.yaml``.

    Records of other backbones that are there stay, and stand on the board. A second push of the same changes nothing.

    Args:
        records: of one protocol, one geometry, the same objects and the same settings.
        repo: "owner/name" of a data set repository.
        public: for everybody to see; a new repository is private by default, an existing one stays as it is.
        dry_run: list the files; nothing is sent, and no account is needed.
        say: is told what happens.

    Raises:
        RelViTError: records that are unlike each other, or unlike those that are there; an obstacle between this user
            and that repository (``client``).
    """
    ours = {record["model"] for record in records}

    def complete(files: Files, remote: Remote) -> Files:
        there = records_of(remote)
        others = [record for record in there if record["model"] not in ours]
        return _files([*records, *others], repo) if others else files

    publication = Publication(
        repo,
        "dataset",
        MARK,
        _files(records, repo),
        f"{len(records)} records of backbones (hf_relvit {__version__})",
        complete=complete,
    )
    publish_or_list(publication, public=public, dry_run=dry_run, say=say)


def _files(records: Iterable[BackboneRecord], repo: str) -> Files:
    """All files of the repository, in memory: records have some kB, the board some hundred."""
    ordered = sorted(records, key=lambda record: record["model"])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_board(ordered, folder, TITLE)
        for record in ordered:
            write_records(folder / record_file(record["model"]), [record])
        chosen = {path.relative_to(folder).as_posix(): path for path in results_in(folder)}
        checked = checked_files(chosen, folder)
        held = {name: _content(file) for name, file in checked.items()}
    table = board_table(ordered)
    texts = {
        "README.md": _card(ordered, table, repo),
        "eval.yaml": _benchmark(ordered[0], table),
    }
    made = {name: checked_text(name, text) for name, text in texts.items()}
    return {**held, **made}


def _content(file: Path | bytes) -> bytes:
    return file if isinstance(file, bytes) else file.read_bytes()


def _benchmark(record: BackboneRecord, table: pd.DataFrame) -> str:
    """``eval.yaml``, by which the Hub knows a data set as a benchmark: a task for each task and measure."""
    rows = table[["task", "measure"]].drop_duplicates()
    tasks = []
    for row in rows_of(rows):
        identity = f"{row['task']}-{row['measure']}"
        tasks.append({"id": identity, "config": "default", "split": "test"})
    facts = {
        "name": f"hf_relvit backbones {record['geometry']}",
        "description": "Does a frozen backbone bind objects, and does it hold relations between them? Scores are "
        "shares from 0 to 1, higher is better; measured by relvit measure.",
        "tasks": tasks,
    }
    return yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)


def _card(records: Sequence[BackboneRecord], table: pd.DataFrame, repo: str) -> str:
    first = records[0]
    split = {"split": "test", "path": "board.parquet"}
    header = DatasetCardData(
        pretty_name=f"{TITLE}, {first['geometry']}",
        license="apache-2.0",
        tags=[MARK, "vision-transformer", "same-different", "arxiv:2406.15955"],
        configs=[{"config_name": "default", "data_files": [split]}],
    )
    sections = [f"## {task}\n{_table(select(table, task=task))}\n" for task in table.task.unique()]
    text = "\n".join(
        [
            f"# {TITLE}",
            _ABOUT,
            "![each number beside random weights and guessing](board.png)\n",
            *sections,
            _measured_on(first),
            _ADD.format(repo=repo),
        ]
    )
    return str(DatasetCard(f"---\n{header.to_yaml()}\n---\n{text}"))


def _table(rows: pd.DataFrame) -> str:
    """The board of a task in Markdown: a row per backbone, a column per measure."""
    measures = list(rows.measure.unique())
    heads = ["backbone", *(MEASURE_NAMES[measure] for measure in measures)]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for model, own in rows.groupby("model", sort=False):
        cells = [_cell(rows_of(own, measure=measure)) for measure in measures]
        link = f"[{model}]({record_file(str(model))})"
        lines.append(f"| {' | '.join([link, *cells])} |")
    return "\n".join(lines)


def _cell(found: Sequence[dict[str, Any]]) -> str:
    """Of the one row there is, or none: not every backbone has every measure."""
    if not found:
        return ""
    (row,) = found
    star = "" if row["claimed"] else "*"
    return f"{row['value']:.3f}{star} ({row['ci_low']:.3f}–{row['ci_high']:.3f})"


def _measured_on(record: BackboneRecord) -> str:
    settings = [f"{name.replace('_', ' ')} {value}" for name, value in record["settings"].items()]
    return (
        f"Protocol {record['protocol']}, scenes {record['geometry']}, objects {record['objects']}; "
        f"{', '.join(settings)}.\n"
    )
