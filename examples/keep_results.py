"""What to commit of a finished study: its tables as CSV with provenance, its figures and model cards.

python examples/keep_results.py runs/replicate-paper-gpu docs/results/replicate_paper_gpu

Rows of other runs that are kept there stay: a study may be done part by part (`relvit study run --only`), on several
machines. Figures over all runs are only kept of a study that has them all.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pandas as pd

from hf_relvit.files import write_json
from hf_relvit.provenance import provenance
from hf_relvit.report.photorealistic_page import PhotoResults
from hf_relvit.report.run_folder import RunFolder, StudyFolder
from hf_relvit.report.tables import curves, training_stages


def keep(study: Path, out: Path) -> None:
    """``out`` gets a CSV for each kind of table, with the run in its first column, and ``provenance.json``."""
    folder = StudyFolder(study)
    runs = [run for run in folder.runs() if run.table_files("accuracy")]
    if not runs or not folder.report.exists():
        sys.exit(f"{study} is no finished study: run it to its end first")
    tables: dict[str, list[pd.DataFrame]] = {}
    facts = {}
    for run in runs:
        for name, table in _tables(run).items():
            table.insert(0, "run", run.name)
            tables.setdefault(name, []).append(table)
        facts[run.name] = run.history["provenance"] | {"scores": run.stages.scores}
        (out / "cards").mkdir(parents=True, exist_ok=True)
        shutil.copy(run.training.card, out / "cards" / f"{run.name}.md")
    for name, parts in tables.items():
        _merge(out / f"{name}.csv", pd.concat(parts, ignore_index=True))
    kept = _kept_facts(out) | facts
    if len(kept) == len(facts):
        _copy_figures(folder, out)
    now = provenance(study=study.name)
    write_json(out / "provenance.json", {"runs": kept, "kept": now})
    print(f"{out}: {len(kept)} runs")


def _tables(run: RunFolder) -> dict[str, pd.DataFrame]:
    """All tables of a run that have rows."""
    found = {
        "accuracy": run.table("accuracy"),
        "attention": run.table("attention"),
        "curves": curves(run.history),
        "training_stages": training_stages(run.history),
    }
    if photos := PhotoResults.load(run):
        found["photorealistic"] = photos.accuracy
        found["photorealistic_frozen"] = photos.frozen
        found["photorealistic_attention"] = photos.stages.frame
    found |= run.causal_tables()
    return {name: table for name, table in found.items() if len(table)}


def _merge(file: Path, new: pd.DataFrame) -> None:
    """Write a table; rows of other runs stay in it."""
    if file.exists():
        old = pd.read_csv(file)
        others = old[~old["run"].isin(new["run"])]
        new = pd.concat([others, new], ignore_index=True)
    by_run = new.sort_values("run", kind="stable")
    by_run.to_csv(file, index=False, float_format="%.5g")


def _kept_facts(out: Path) -> dict:
    """Run -> provenance, of those that are kept already."""
    file = out / "provenance.json"
    return json.loads(file.read_text())["runs"] if file.exists() else {}


def _copy_figures(folder: StudyFolder, out: Path) -> None:
    for figure in folder.figures.glob("**/*.png"):
        name = "-".join(figure.relative_to(folder.figures).parts)
        (out / "figures").mkdir(exist_ok=True)
        shutil.copy(figure, out / "figures" / name)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    keep(Path(sys.argv[1]), Path(sys.argv[2]))
