"""What to commit of a finished study: its tables as CSV with provenance, its figures, report and model cards.

python examples/keep_results.py runs/replicate-paper-gpu docs/results/replicate_paper_gpu
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pandas as pd

from hf_relvit.files import read_json, write_json
from hf_relvit.provenance import provenance
from hf_relvit.report.tables import causal_tables
from hf_relvit.study.photorealistic import PhotoResults


def keep(study: Path, out: Path) -> None:
    """``out`` gets a CSV for each kind of table, with the run in its first column, and ``provenance.json``."""
    runs = sorted(path.parent.parent for path in study.glob("*/evaluation/accuracy.parquet"))
    if not runs or not (study / "report.html").exists():
        sys.exit(f"{study} is no finished study: run it to its end first")
    tables: dict[str, list[pd.DataFrame]] = {}
    facts = {}
    for run in runs:
        own = {"accuracy": pd.read_parquet(run / "evaluation" / "accuracy.parquet")}
        own["attention"] = pd.read_parquet(run / "attention" / "attention.parquet")
        if photos := PhotoResults.load(run):
            own |= {"photorealistic": photos.accuracy, "photorealistic_frozen": photos.frozen}
            own["photorealistic_attention"] = photos.stages.frame
        for name, table in (own | causal_tables(run)).items():
            table.insert(0, "run", run.name)
            tables.setdefault(name, []).append(table)
        history = read_json(run / "training" / "history.json")
        facts[run.name] = history["provenance"] | {
            "scores": read_json(run / "attention" / "attention.json")["scores"]
        }
        (out / "cards").mkdir(parents=True, exist_ok=True)
        shutil.copy(run / "training" / "model" / "README.md", out / "cards" / f"{run.name}.md")
    for name, parts in tables.items():
        pd.concat(parts, ignore_index=True).to_csv(
            out / f"{name}.csv", index=False, float_format="%.5g"
        )
    if (curves := study / "tables" / "curves.parquet").exists():
        pd.read_parquet(curves).to_csv(out / "curves.csv", index=False, float_format="%.5g")
    for figure in study.glob("figures/**/*.png"):
        name = "-".join(figure.relative_to(study / "figures").parts)
        (out / "figures").mkdir(exist_ok=True)
        shutil.copy(figure, out / "figures" / name)
    shutil.copy(study / "report.html", out / "report.html")
    write_json(out / "provenance.json", {"runs": facts, "kept": provenance(study=study.name)})
    print(out)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    keep(Path(sys.argv[1]), Path(sys.argv[2]))
