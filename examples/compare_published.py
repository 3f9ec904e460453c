"""Our curves over layers beside the authors': where do they agree?

    python examples/compare_published.py docs/results/clip_rmts rmts

Input: the tables that ``keep_results.py`` wrote of a study of CLIP, and docs/results/published_curves.csv, the
authors' curves (logs/ of github.com/alexatartaglini/relational-circuits: one run each, 2,000 pairs). The rule of
agreement is ours: the peak is at most one layer away; its value is at most .05 away, or inside our 95 % interval; and
where the authors' swaps fail in layer 6 (below .30), ours do, too. Prints a table in Markdown and writes
``published.png`` into the folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from hf_relvit.figures.style import BLUE, panels, styled
from hf_relvit.recipes.alignment import own_alignments
from hf_relvit.statistics import wilson
from hf_relvit.tables import select

PUBLISHED = Path(__file__).parent.parent / "docs" / "results" / "published_curves.csv"
NEAR_LAYERS = 1
NEAR_VALUES = 0.05
COLLAPSED = 0.30
COLLAPSE_LAYER = 6
CURVE = ["analysis", "property", "method"]


def ours(folder: Path) -> pd.DataFrame:
    """One row per curve and layer, the scenes of all runs taken together: ``layer, n, accuracy, ci_low, ci_high``."""
    swaps = own_alignments(pd.read_csv(folder / "alignment.csv"))
    parts = [swaps.assign(analysis="swap", method="das")]
    if (folder / "novel.csv").exists():
        novel = pd.read_csv(folder / "novel.csv")
        injected = select(novel, baseline="subspace", condition="all")
        parts.append(injected.assign(analysis="novel"))
    if (folder / "steering.csv").exists():
        steering = pd.read_csv(folder / "steering.csv")
        pushed = select(steering, condition="flip", alpha=1.0)
        parts.append(pushed.assign(analysis="steering", property="", method="probe"))
    table = pd.concat(parts, ignore_index=True)
    table["hits"] = (table.accuracy * table.n).round()
    pooled = table.groupby([*CURVE, "layer"], as_index=False)[["hits", "n"]].sum()
    low, high = wilson(pooled.hits.to_numpy(), pooled.n.to_numpy())
    return pooled.assign(accuracy=pooled.hits / pooled.n, ci_low=low, ci_high=high)


def verdict(theirs: pd.DataFrame, mine: pd.DataFrame) -> dict[str, object]:
    """Peaks of both and whether they agree."""
    their_peak = theirs.loc[theirs.value.idxmax()]
    peaks = mine[mine.accuracy == mine.accuracy.max()]
    distance = (peaks.layer - their_peak.layer).abs()
    my_peak = peaks.loc[distance.idxmin()]  # of equal ones the nearest
    near = distance.min() <= NEAR_LAYERS
    inside = my_peak.ci_low <= their_peak.value <= my_peak.ci_high
    equal = inside or abs(my_peak.accuracy - their_peak.value) <= NEAR_VALUES
    return {
        "authors: peak": f"{their_peak.value:.3f}, layer {their_peak.layer:.0f}",
        "ours: peak": f"{my_peak.accuracy:.3f} ({my_peak.ci_low:.3f} to {my_peak.ci_high:.3f}), "
        f"layer {my_peak.layer:.0f}",
        "same layer (±1)": "yes" if near else "no",
        "same value": "yes" if equal else "no",
        f"below .30 in layer {COLLAPSE_LAYER}": collapse(theirs, mine),
    }


def collapse(theirs: pd.DataFrame, mine: pd.DataFrame) -> str:
    """Whether our curve fails where theirs does, with our value there."""
    expected = theirs.value[theirs.layer == COLLAPSE_LAYER]
    value = mine.accuracy[mine.layer == COLLAPSE_LAYER]
    if not len(value) or not (expected < COLLAPSED).any():
        return "-"
    fails = (value < COLLAPSED).all()
    return f"{'yes' if fails else 'no'} ({value.item():.3f})"


def draw(axis: Axes, theirs: pd.DataFrame, mine: pd.DataFrame, title: str) -> None:
    axis.fill_between(mine.layer, mine.ci_low, mine.ci_high, color=BLUE, alpha=0.2)
    axis.plot(mine.layer, mine.accuracy, "o-", color=BLUE, label="ours, 95 % interval")
    axis.plot(theirs.layer, theirs.value, "s--", color="black", label="authors")
    axis.set(title=title, xlabel="layer", ylim=(-0.03, 1.03), xticks=range(0, 12, 2))


@styled()
def compare(folder: Path, task: str) -> pd.DataFrame:
    """Draw and judge every curve that the authors have of a task."""
    published = pd.read_csv(PUBLISHED, keep_default_na=False)
    table = ours(folder)
    of_task = select(published, task=task)
    measured = of_task[of_task.analysis.isin(table.analysis)]
    curves = list(measured.groupby(CURVE, sort=False))
    columns = min(len(curves), 5)
    rows = -(-len(curves) // columns)
    figure, axes = panels((2.6 * columns, 2.7 * rows), rows, columns, sharey=True)
    verdicts = []
    for axis, (key, theirs) in zip(axes.flat, curves):
        name = dict(zip(CURVE, key))
        mine = select(table, **name)
        title = " ".join(part for part in key if part and part != "das")
        draw(axis, theirs, mine, title)
        if name["method"] != "random":  # a control has no peak of its own
            verdicts.append({"curve": title, **verdict(theirs, mine)})
    axes.flat[0].legend(fontsize=8, loc="upper right")
    figure.savefig(folder / "published.png", dpi=110)
    return pd.DataFrame(verdicts)


def markdown(table: pd.DataFrame) -> str:
    lines = [table.columns, ["---"] * table.shape[1], *table.to_numpy()]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(markdown(compare(Path(sys.argv[1]), sys.argv[2])))
