"""The rest of the validity table for a finished run: the scores of its alignments that a study leaves out for time.

    python benchmarks/released_validity.py released/clip-discrimination docs/results/clip_discrimination \
        --base build/clip-vit-b16 --test-pairs 64

Replacement controls (mean, noise, another image's state) and unmapped variables (position, jitter, noise, the other
object), of every alignment that the run holds (a released one holds those that carry something), on IID test pairs.
Rows go into ``more_scores.csv`` of the folder after each alignment, and a second call goes on after the last one; then
``validity.csv`` has one row per alignment, from these and from the run's own scores.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pandas as pd

from hf_relvit.analysis.align import AlignConfig, PairCaptures, score
from hf_relvit.analysis.alignment import Alignment
from hf_relvit.analysis.validity import validity_table
from hf_relvit.modeling.checkpoints import Checkpoint

KEPT = 2  # captures at once: pairs of both properties


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--base", type=Path, help="folder of an adapter's backbone")
    parser.add_argument("--test-pairs", type=int, default=64)
    options = parser.parse_args()
    checkpoint = Checkpoint.open(options.run / "training" / "model", base=options.base)
    held = sorted((options.run / "das").glob("*/alignment.json"))
    alignments = [Alignment.load(file.parent) for file in held]
    captures = PairCaptures(
        checkpoint,
        checkpoint.distribution(),
        sorted({each.site.layer for each in alignments}),
        pairs=1,
        test_pairs=options.test_pairs,
        kept=KEPT,
        bf16=True,
        progress=True,
    )
    file = options.out / "more_scores.csv"
    table = pd.read_csv(file) if file.exists() else pd.DataFrame()
    done = set(zip(table.get("property", ()), table.get("layer", ())))
    for alignment in alignments:
        name = (alignment.property, alignment.site.layer)
        if name in done:
            continue
        start = time.perf_counter()
        table = pd.concat([table, scores_of(alignment, captures)], ignore_index=True)
        table.round(5).to_csv(file, index=False)
        seconds = time.perf_counter() - start
        print(f"{name[0]}, layer {name[1]}: {seconds:.0f} s", flush=True)
    write_validity(options.out)


def scores_of(alignment: Alignment, captures: PairCaptures) -> pd.DataFrame:
    """Replacements and unmapped variables of one alignment."""
    config = AlignConfig(
        property=alignment.property,
        method="closed_form",
        splits=("test",),
        scored_controls=None,
        isolate=False,
        bf16=True,
    )
    rows = score(alignment, captures, config)
    return rows[rows.control != "none"]


def write_validity(out: Path) -> None:
    """One row per alignment, of the run's own scores and of those above."""
    own = pd.read_csv(out / "alignment.csv")
    more = pd.read_csv(out / "more_scores.csv")
    scores = pd.concat([own, more], ignore_index=True)
    table = validity_table(scores[scores.split == "test"])
    table = table.sort_values(["property", "layer"], ascending=[False, True])
    table.round(4).to_csv(out / "validity.csv", index=False)


if __name__ == "__main__":
    main()
