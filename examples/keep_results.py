"""What to commit of a finished study: its tables as CSV with provenance, its figures and model cards.

python examples/keep_results.py runs/replicate-paper-gpu docs/results/replicate_paper_gpu
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pandas as pd

from hf_relvit.files import write_json
from hf_relvit.provenance import provenance
from hf_relvit.report.photorealistic_page import PhotoResults
from hf_relvit.report.run_folder import StudyFolder


def keep(study: Path, out: Path) -> None:
    """``out`` gets a CSV for each kind of table, with the run in its first column, and ``provenance.json``."""
    folder = StudyFolder(study)
    runs = [run for run in folder.runs() if run.table_files("accuracy")]
    if not runs or not folder.report.exists():
        sys.exit(f"{study} is no finished study: run it to its end first")
    tables: dict[str, list[pd.DataFrame]] = {}
    facts = {}
    for run in runs:
        own = {"accuracy": run.table("accuracy"), "attention": run.table("attention")}
        if photos := PhotoResults.load(run):
            own |= {"photorealistic": photos.accuracy, "photorealistic_frozen": photos.frozen}
            own["photorealistic_attention"] = photos.stages.frame
        for name, table in (own | run.causal_tables()).items():
            table.insert(0, "run", run.name)
            tables.setdefault(name, []).append(table)
        facts[run.name] = run.history["provenance"] | {"scores": run.stages.scores}
        (out / "cards").mkdir(parents=True, exist_ok=True)
        shutil.copy(run.training.card, out / "cards" / f"{run.name}.md")
    for name, parts in tables.items():
        pd.concat(parts, ignore_index=True).to_csv(
            out / f"{name}.csv", index=False, float_format="%.5g"
        )
    curves = folder.table_file("curves")
    if curves.exists():
        pd.read_parquet(curves).to_csv(out / "curves.csv", index=False, float_format="%.5g")
    for figure in folder.figures.glob("**/*.png"):
        name = "-".join(figure.relative_to(folder.figures).parts)
        (out / "figures").mkdir(exist_ok=True)
        shutil.copy(figure, out / "figures" / name)
    write_json(out / "provenance.json", {"runs": facts, "kept": provenance(study=study.name)})
    print(out)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    keep(Path(sys.argv[1]), Path(sys.argv[2]))
