"""A leaderboard: published runs side by side, from their results files; no weights are read."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from huggingface_hub import HfApi

from ..analysis.correlation import MINIMUM, Correlation, correlate, disentanglement
from ..errors import RelViTError
from ..files import write_table
from ..recipes.alignment import own_alignments
from ..report.folder import RunFolder
from ..report.pages import embedded, write_page
from ..report.results import RESULTS_FILE, RunResults, collect_results
from ..stimuli.tasks import task_of
from ..words import split_name
from .client import check_id, hub_errors

MAX_BYTES = 20_000_000
"""Of a results file. Ours have 50 to 500 kB."""


@dataclass(frozen=True)
class Leaderboard:
    """Runs of one task side by side.

    Attributes:
        task: "discrimination" or "rmts".
        frame: a row a run and split: ``run, kind, seed, data, split, accuracy, ci_low, ci_high, n, base_accuracy,
            floor, disentanglement`` (NaN without alignments).
        correlation: of disentanglement and accuracy; None with fewer than 3 kinds of model that have alignments.
        notes: what to mind when reading it.
    """

    task: str
    frame: pd.DataFrame
    correlation: Correlation | None = None
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        """A line a run: accuracy with its interval, split by split."""
        lines = [task_of(self.task).question]
        splits = list(dict.fromkeys(self.frame.split))
        width = max(len(run) for run in self.frame.run) + 2
        lines.append(
            f"{'run':{width}}"
            + "".join(f"{split_name(split):>22}" for split in splits)
            + f"{'disentanglement':>17}"
        )
        for run, rows in self.frame.groupby("run", sort=False):
            cells = rows.set_index("split")
            line = f"{run:{width}}"
            for split in splits:
                row = cells.loc[split] if split in cells.index else None
                shown = (
                    "-"
                    if row is None
                    else f"{row.accuracy:.3f} [{row.ci_low:.3f}, {row.ci_high:.3f}]"
                )
                line += f"{shown:>22}"
            value = rows.disentanglement.iloc[0]
            lines.append(line + f"{'-' if pd.isna(value) else f'{value:.3f}':>17}")
        base, floor, n = (self.frame[column] for column in ("base_accuracy", "floor", "n"))
        lines.append(
            f"[95 % interval] over {_span(n, 'd')} scenes a test, one seed a run; the same networks with random "
            f"weights: {_span(base, '.3f')}; guessing: {_span(floor, '.2f')}"
        )
        return "\n".join([*lines, *self.notes])


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
        boards=[
            (
                board,
                task_of(board.task).question,
                board.frame.assign(name=board.frame.split.map(split_name)).to_dict("records"),
            )
            for board in boards
        ],
        plots=plots,
    )


def _leaderboard(task: str, runs: dict[str, RunResults]) -> Leaderboard:
    kinds: dict[str, str] = {}
    rows = []
    for run, results in runs.items():
        settings = {key: value for key, value in results.config.items() if key != "seed"}
        kind = kinds.setdefault(
            json.dumps(settings, sort_keys=True), run
        )  # runs that differ in the seed only
        scores = results.table("alignment")
        whole = results.table("accuracy").query(
            "condition == 'all' and split != 'validation'"
        )  # the tests
        value = disentanglement(own_alignments(scores)) if len(scores) else float("nan")
        data = results.data or {}
        about = {"run": run, "kind": kind, "seed": results.config["seed"], "disentanglement": value}
        about["data"] = f"{data.get('config')}, version {data.get('version')}"
        columns = ["split", "accuracy", "ci_low", "ci_high", "n", "base_accuracy", "floor"]
        rows += [about | row for row in whole[columns].to_dict("records")]
    frame = pd.DataFrame(rows)
    notes = []
    if frame.data.nunique() > 1:
        notes.append(
            f"tested on different stimuli ({'; '.join(frame.data.unique())}): compare with care"
        )
    points = frame.dropna(subset="disentanglement")
    if points.kind.nunique() < MINIMUM:
        notes.append(
            f"the plot of disentanglement and accuracy needs {MINIMUM} kinds of model with alignments, here "
            f"{points.kind.nunique()}"
        )
        return Leaderboard(task, frame, None, notes)
    return Leaderboard(task, frame, correlate(points.rename(columns={"kind": "group"})), notes)


def _span(values: pd.Series, style: str) -> str:
    low, high = format(values.min(), style), format(values.max(), style)
    return low if low == high else f"{low} to {high}"
