"""A leaderboard: published runs side by side, from their results files; no weights are read."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
from huggingface_hub import HfApi

from ..analysis.correlation import MINIMUM, Correlation, correlate, disentanglement
from ..errors import RelViTError
from ..files import write_table
from ..measurements import Measurement
from ..recipes.alignment import own_alignments
from ..report.pages import embedded, write_page
from ..report.readings import accuracy_rows
from ..report.results import RESULTS_FILE, RunResults, collect_results
from ..report.run_folder import RunFolder
from ..stimuli.tasks import task_of
from ..words import split_name
from .client import check_id, hub_errors

MAX_BYTES = 20_000_000
"""Of a results file. Ours have 50 to 500 kB."""


@dataclass(frozen=True)
class Entry:
    """A published run on a leaderboard.

    Attributes:
        run: Hub id, or folder.
        kind: first run of the same settings; runs of one kind differ in the seed only.
        seed: of the training.
        data: the stimuli it was tested on, with their version.
        disentanglement: how well its best layers let shape and color be swapped; NaN without alignments.
        tests: its accuracy by split.
    """

    run: str
    kind: str
    seed: int
    data: str
    disentanglement: float
    tests: dict[str, Measurement]

    def rows(self) -> list[dict[str, Any]]:
        """A row per split, for a table."""
        about = {
            "run": self.run,
            "kind": self.kind,
            "seed": self.seed,
            "disentanglement": self.disentanglement,
            "data": self.data,
        }
        return [
            {**about, "split": split, **measured.to_row()} for split, measured in self.tests.items()
        ]


@dataclass(frozen=True)
class Leaderboard:
    """Runs of one task side by side.

    Attributes:
        task: such as "discrimination" or "rmts".
        entries: the runs.
        correlation: of disentanglement and accuracy; None with fewer than 3 kinds of model that have alignments.
        notes: warnings for the reader.
    """

    task: str
    entries: list[Entry]
    correlation: Correlation | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def frame(self) -> pd.DataFrame:
        """A row per run and split: ``run, kind, seed, data, split, accuracy, ci_low, ci_high, n, base_accuracy, floor,
        disentanglement`` (NaN without alignments)."""
        rows = [row for entry in self.entries for row in entry.rows()]
        return pd.DataFrame(rows)

    def text(self) -> str:
        """A line per run: accuracy with its interval, split by split."""
        splits = list(dict.fromkeys(split for entry in self.entries for split in entry.tests))
        width = max(len(entry.run) for entry in self.entries) + 2
        names = [f"{split_name(split):>22}" for split in splits]
        lines = [task_of(self.task).question]
        lines.append(f"{'run':{width}}{''.join(names)}{'disentanglement':>17}")
        for entry in self.entries:
            cells = [f"{_cell(entry.tests.get(split)):>22}" for split in splits]
            value = entry.disentanglement
            last = "-" if pd.isna(value) else f"{value:.3f}"
            lines.append(f"{entry.run:{width}}{''.join(cells)}{last:>17}")
        measured = [test for entry in self.entries for test in entry.tests.values()]
        scenes = _span([test.n for test in measured], "d")
        base = _span([test.base for test in measured], ".3f")
        floor = _span([test.floor for test in measured], ".2f")
        lines.append(
            f"[95 % interval] over {scenes} scenes per test, one seed per run; the same networks with random "
            f"weights: {base}; guessing: {floor}"
        )
        return "\n".join([*lines, *self.notes])


def _cell(measured: Measurement | None) -> str:
    return "-" if measured is None else f"{measured.value:.3f} [{measured.interval}]"


def compare(ids: Sequence[str], *, say: Callable[[str], object] = print) -> list[Leaderboard]:
    """Put published runs side by side, task by task.

    Args:
        ids: Hub ids of published runs; a folder of a run of your own may be among them.
        say: is told of repositories without results, which are left out.

    Raises:
        RelViTError: a repository that is not there, results that cannot be read, or no results at all.
    """
    found: dict[str, RunResults] = {}
    for run in dict.fromkeys(ids):
        if Path(run).is_dir():
            results = collect_results(RunFolder.open(run))
        elif (published := read_published(run)) is None:
            say(f"{run} has no {RESULTS_FILE}: it was not published with relvit push; left out")
            continue
        else:
            results = published
        if not results.tables.get("accuracy"):
            say(f"{run} has no accuracies: it was published without a study; left out")
            continue
        found[run] = results
    if not found:
        raise RelViTError(
            f"no published results in {', '.join(ids)}: expected ids of runs sent with relvit push"
        )
    tasks = dict.fromkeys(results.config["task"] for results in found.values())
    return [
        _leaderboard(task, {k: r for k, r in found.items() if r.config["task"] == task})
        for task in tasks
    ]


def read_published(repo: str) -> RunResults | None:
    """The results of a published run; None if the repository has none.

    Raises:
        RelViTError: no such repository, or results that are too large or cannot be read.
    """
    api = HfApi(library_name="hf_relvit")
    with hub_errors(repo):
        revision = api.model_info(check_id(repo)).sha
        listed = api.get_paths_info(repo, [RESULTS_FILE], revision=revision)
        if not listed:
            return None
        if (size := getattr(listed[0], "size", 0)) > MAX_BYTES:  # before anything is fetched
            raise RelViTError(
                f"{RESULTS_FILE} of {repo} has {size / 1e6:,.0f} MB: expected at most {MAX_BYTES / 1e6:.0f} MB"
            )
        text = Path(api.hf_hub_download(repo, RESULTS_FILE, revision=revision)).read_text(
            "utf-8", errors="replace"
        )
    return RunResults.from_json(text, repo)


def save(boards: Sequence[Leaderboard], out: Path) -> Path:
    """Write ``comparison.html``, and for each task its table (Parquet) and, if there is one, its correlation and plot.

    Returns:
        The path of the page.
    """
    plots = {}
    for board in boards:
        write_table(out / board.task / "comparison.parquet", board.frame)
        if board.correlation is not None:
            board.correlation.save(out / board.task)
            board.correlation.plot(out / board.task / "correlation")
            plots[board.task] = embedded(out / board.task / "correlation.png")
    return write_page(
        out / "comparison.html",
        "leaderboard.html",
        title="Published runs, side by side",
        boards=[(board, task_of(board.task).question) for board in boards],
        plots=plots,
    )


def _entry(run: str, kind: str, results: RunResults) -> Entry:
    scores = results.table("alignment")
    value = disentanglement(own_alignments(scores)) if len(scores) else float("nan")
    data = results.data or {}
    rows = accuracy_rows(results.table("accuracy"))
    return Entry(
        run=run,
        kind=kind,
        seed=results.config["seed"],
        data=f"{data.get('config')}, version {data.get('version')}",
        disentanglement=value,
        tests={row.split: row.measured for row in rows if row.whole and row.split != "validation"},
    )


def _leaderboard(task: str, runs: dict[str, RunResults]) -> Leaderboard:
    kinds: dict[str, str] = {}
    entries = []
    for run, results in runs.items():
        settings = {key: value for key, value in results.config.items() if key != "seed"}
        kind = kinds.setdefault(json.dumps(settings, sort_keys=True), run)
        entries.append(_entry(run, kind, results))
    notes = []
    stimuli = list(dict.fromkeys(entry.data for entry in entries))
    if len(stimuli) > 1:
        notes.append(f"tested on different stimuli ({'; '.join(stimuli)}): compare with care")
    board = Leaderboard(task, entries, None, notes)
    points = board.frame.dropna(subset="disentanglement")
    count = points.kind.nunique()
    if count < MINIMUM:
        notes.append(
            f"the plot of disentanglement and accuracy needs {MINIMUM} kinds of model with alignments, here {count}"
        )
        return board
    correlation = correlate(points.rename(columns={"kind": "group"}))
    return replace(board, correlation=correlation)


def _span(values: Sequence[Any], style: str) -> str:
    low = format(min(values), style)
    high = format(max(values), style)
    return low if low == high else f"{low} to {high}"
