"""The verdict of docs/experiments/pipeline.md, from the kept tables of its studies.

    python examples/keep_results.py runs/pipeline-main docs/results/pipeline_main
    python examples/pipeline_verdict.py docs/results/pipeline_main

Input: accuracy.csv and curves.csv of ``keep_results.py``. Runs are named [disentanglement]-condition-seedN. Symbols: a
``(seeds,)``, accuracy on unseen combinations after the last image, of n scenes each.

1. Per condition: mean of a; share of seeds that learned (IID accuracy above .75) with Wilson's interval; the mean of
   those; images until .75.
2. Per pair of conditions: mean difference of a, paired over seeds. Its interval by a bootstrap over seeds and, within
   a seed, over scenes: a drawn seed gets a binomial draw of its n scenes. 99 % for the five primary comparisons.
3. The rule of the plan turns the intervals into a verdict.

Prints Markdown and writes ``verdict.csv`` and ``verdict.png`` into the folder.
"""

from __future__ import annotations

import itertools
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hf_relvit.figures.style import BLUE, GRAY, panels, styled
from hf_relvit.statistics import wilson
from hf_relvit.tables import select

LEARNED = 0.75
MARGIN = 0.05
DRAWS = 10_000
PRIMARY = (
    ("order", "reversed"),
    ("order", "random_tokens"),
    ("reversed", "random_tokens"),
    ("order", "none"),
    ("random_tokens", "none"),
)
LEVEL = {True: 0.99, False: 0.95}
"""Of the interval of a comparison: five primary ones share an error of 5 %; all others are hints."""
_NAME = re.compile(r"(?:(none|disentanglement)-)?(.+)-seed(\d+)")


@dataclass(frozen=True)
class Difference:
    """One condition less another, paired over seeds."""

    mean: float
    low: float
    high: float

    @property
    def above(self) -> bool:
        return self.low > 0

    @property
    def negligible(self) -> bool:
        """Within the margin of equivalence, or below 0."""
        return (self.low > -MARGIN and self.high < MARGIN) or self.high < 0


def read(folder: Path) -> pd.DataFrame:
    """One row per run: ``losses, condition, seed, unseen, iid, n, images`` (until .75; NaN if never)."""
    accuracy = select(pd.read_csv(folder / "accuracy.csv"), condition="all")
    curves = pd.read_csv(folder / "curves.csv")
    rows = []
    for run, table in accuracy.groupby("run"):
        parts = _NAME.fullmatch(str(run))
        if parts is None:
            sys.exit(f"run {run}: expected a name such as disentanglement-order-seed0")
        by_split = table.set_index("split")
        course = select(curves, run=run, split="validation")
        reached = course[course.accuracy >= LEARNED].images
        rows.append(
            {
                "losses": parts[1] or "disentanglement",
                "condition": parts[2],
                "seed": int(parts[3]),
                "unseen": by_split.accuracy["test_compositional"],
                "n": int(by_split.n["test_compositional"]),
                "iid": by_split.accuracy["test"],
                "images": reached.min() if len(reached) else np.nan,
            }
        )
    return pd.DataFrame(rows)


def difference(runs: pd.DataFrame, one: str, other: str, level: float) -> Difference:
    """Of the accuracy on unseen combinations, with its interval.

    Args:
        runs: of ``read``, of one kind of losses.
        one, other: conditions; only seeds that both have count.
        level: of the interval.
    """
    first = select(runs, condition=one).set_index("seed")
    second = select(runs, condition=other).set_index("seed")
    seeds = first.index.intersection(second.index)
    if len(seeds) < 2:
        sys.exit(f"{one} and {other} share {len(seeds)} seeds: expected two or more")
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(seeds), size=(DRAWS, len(seeds)))
    sampled = []
    for side in (first, second):
        share = side.unseen[seeds].to_numpy()[drawn]
        scenes = side.n[seeds].to_numpy()[drawn]
        hits = rng.binomial(scenes, share)
        sampled.append(hits / scenes)
    differences = (sampled[0] - sampled[1]).mean(1)
    tail = (1 - level) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    mean = (first.unseen[seeds] - second.unseen[seeds]).mean()
    return Difference(float(mean), float(low), float(high))


def verdict(found: dict[tuple[str, str], Difference]) -> str:
    """By the rule that was written before the runs."""
    order = found["order", "reversed"]
    if order.above:
        return "the order matters"
    over_random = [
        found[pair].above for pair in (("order", "random_tokens"), ("reversed", "random_tokens"))
    ]
    if order.negligible and all(over_random):
        return "the order does not matter, objects do"
    if found["random_tokens", "none"].above and found["order", "random_tokens"].negligible:
        return "objects do not matter, sharpness is enough"
    if not found["order", "none"].above:
        return "the loss does not help"
    return "undecided"


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per losses and condition."""
    rows = []
    for (losses, condition), group in runs.groupby(["losses", "condition"], sort=False):
        learned = group[group.iid > LEARNED]
        low, high = wilson(len(learned), len(group))
        rows.append(
            {
                "losses": losses,
                "condition": condition,
                "seeds": len(group),
                "unseen": group.unseen.mean(),
                "learned": len(learned) / len(group),
                "learned_low": float(low),
                "learned_high": float(high),
                "unseen_of_learners": learned.unseen.mean(),
                "images": group.images.dropna().median(),
            }
        )
    return pd.DataFrame(rows)


def comparisons(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per losses and pair of conditions."""
    rows = []
    for losses, group in runs.groupby("losses", sort=False):
        conditions = list(group.condition.unique())
        for pair in itertools.combinations(conditions, 2):
            named = pair if pair in PRIMARY else (pair[::-1] if pair[::-1] in PRIMARY else pair)
            primary = losses == "disentanglement" and named in PRIMARY
            found = difference(group, *named, LEVEL[primary])
            rows.append(
                {
                    "losses": losses,
                    "one": named[0],
                    "other": named[1],
                    "primary": primary,
                    "mean": found.mean,
                    "low": found.low,
                    "high": found.high,
                }
            )
    return pd.DataFrame(rows)


@styled()
def figure(runs: pd.DataFrame):
    """Every run a dot: accuracy on unseen combinations by condition, a panel per kind of losses."""
    kinds = list(runs.losses.unique())
    drawn, axes = panels((3.6 * len(kinds) + 1.6, 3.2), 1, len(kinds), sharey=True)
    for axis, losses in zip(axes[0], kinds):
        group = select(runs, losses=losses)
        conditions = list(group.condition.unique())
        for place, condition in enumerate(conditions):
            rows = select(group, condition=condition)
            axis.plot(np.full(len(rows), place), rows.unseen, "o", color=BLUE, ms=5, alpha=0.6)
            axis.plot([place - 0.3, place + 0.3], [rows.unseen.mean()] * 2, color="black")
        axis.axhline(0.5, color=GRAY, ls=":", lw=1)
        names = [condition.replace("_", " ") for condition in conditions]
        axis.set_xticks(range(len(names)), names, rotation=30, ha="right")
        axis.set(
            title="with disentanglement" if losses == "disentanglement" else "pipeline loss alone"
        )
    axes[0, 0].set(ylabel="unseen combinations", ylim=(0.45, 1.02))
    return drawn


def markdown(table: pd.DataFrame) -> str:
    shown = table.round(3).astype(object).map(str)
    rows = [list(table.columns), ["---"] * len(table.columns), *shown.to_numpy().tolist()]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, ""])


def main(folder: Path) -> None:
    runs = read(folder)
    table = comparisons(runs)
    table.to_csv(folder / "verdict.csv", index=False, float_format="%.5g")
    figure(runs).savefig(folder / "verdict.png", dpi=160)
    print(markdown(summary(runs)))
    print(markdown(table))
    primary = table[table.primary]
    found = {
        (row.one, row.other): Difference(row.mean, row.low, row.high)
        for row in primary.itertuples()
    }
    missing = [f"{one} and {other}" for one, other in PRIMARY if (one, other) not in found]
    if missing:
        print(f"No verdict: no runs yet for {'; '.join(missing)}.")
        return
    print(f"**Verdict: {verdict(found)}** ({runs.seed.nunique()} seeds).")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
