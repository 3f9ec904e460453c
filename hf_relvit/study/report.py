"""report.html: one self-contained page, drawn from the saved tables of a study."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from ..analysis.attention import AttentionStages
from ..analysis.figures import accuracy_figure, attention_figure, head_reach, history_figure, save_figure
from ..geometry import geometry as scene_geometry
from ..provenance import read_json, whole_file
from ..stimuli.preview import contact_sheet
from ..stimuli.scenes import sample
from . import sentences
from .comparison import compare, save_causal
from .pages import embedded, write_page
from .photorealistic import ONE_PAIR, PhotoResults
from .photorealistic_page import photorealistic_section
from .plan import Run, Study
from .sentences import CAUSAL
from .tables import causal_tables, condition_name, name

TASKS = {
    "discrimination": "Are the two objects the same?",
    "rmts": "Do the two pairs show the same relation?",
}


def write_report(study: Study, out: Path) -> Path:
    """Write ``out / "report.html"`` from the saved tables; where there are several runs, a page for each of them too.

    Returns:
        Its path.
    """
    if len(study.runs) == 1:
        return _run_page(study, study.runs[0], out / study.runs[0].name, out / "report.html")
    pages = {run.name: _run_page(study, run, out / run.name, out / run.name / "report.html") for run in study.runs}
    comparison = compare([run.name for run in study.runs], out)
    return write_page(
        out / "report.html",
        "comparison.html",
        study=study.name,
        title=f"{len(pages)} runs, side by side",
        pages={name: page.relative_to(out) for name, page in pages.items()},
        rows=[row | {"split": name(row["split"])} for row in comparison.accuracy.to_dict("records")],
        overview={name: embedded(figure) for name, figure in comparison.overview.items()},
        settings={setting: {k: embedded(f) for k, f in of.items()} for setting, of in comparison.figures.items()},
        correlation=comparison.correlation and embedded(comparison.correlation),
        kinds=len(comparison.figures),
        captions=CAUSAL,
    )


def _run_page(study: Study, run: Run, out: Path, path: Path) -> Path:
    """The page of one run, and its figures in ``out / "figures"``."""
    config = run.config
    table = pd.read_parquet(out / "evaluation" / "accuracy.parquet")
    history = read_json(out / "training" / "history.json")
    stages = AttentionStages.load(out / "attention")
    figures = out / "figures"
    objects = config.open_objects()
    scenes = sample(
        config.task,
        scene_geometry(config.geometry),
        "test",
        config.n_eval,
        combinations=config.combinations,
        seed=config.seed,
        objects=objects,
    )
    sheet = contact_sheet(scenes[:9], objects, columns=3)
    with whole_file(figures / "stimuli.png") as temporary:
        sheet.save(temporary, format="PNG", optimize=True)
    for kind in ("png", "svg"):
        save_figure(accuracy_figure(table), figures / f"accuracy.{kind}")
        save_figure(history_figure(history["log"]), figures / f"history.{kind}")
        save_figure(attention_figure(stages), figures / f"attention.{kind}")

    causal = causal_tables(out)
    reach = head_reach(stages).mean(1)
    save_causal(causal, figures, reach)
    images = {"viewer": out / "attention" / "viewer.png"}
    images |= {kind: figures / f"{kind}.png" for kind in ("stimuli", "history", "accuracy", "attention", *causal)}
    overall = table[table.condition == "all"].set_index("split")
    test = overall.loc["test"]
    photos = PhotoResults.load(out)
    return write_page(
        path,
        "report.html",
        title=TASKS[config.task],
        preset=study.name,
        config=config,
        lead=sentences.summary(test, overall, config),
        cards=[
            (f"{test.accuracy:.1%}", f"IID test accuracy ({test.ci_low:.1%} to {test.ci_high:.1%})"),
            (f"{overall.accuracy.min():.1%}", f"hardest test: {name(str(overall.accuracy.idxmin()))}"),
            (f"{stages.scores['perceptual_score']:.2f}", "perceptual score (ours, 0 to 1)"),
            (f"{stages.scores['relational_score']:.2f}", "relational score (ours, 0 to 1)"),
        ],
        images={kind: embedded(path) for kind, path in images.items()},
        scenes=stages.frame.n.iloc[0],
        stages=sentences.attention(stages),
        causal={name: (*CAUSAL[name][:2], CAUSAL[name][2](frame)) for name, frame in causal.items()},
        photorealistic=photos and photorealistic_section(photos, stages, test, figures),
        not_photorealistic=ONE_PAIR if study.photorealistic is not None and config.task != "discrimination" else "",
        rows=[
            row | {"split": name(row["split"]), "pairs": condition_name(row["condition"])}
            for row in table.to_dict("records")
        ],
        code=_CODE.format(out=Path(out.parent.name) / out.name, config=f"{config.geometry}-{config.combinations}"),
        foot=[
            f"seed {config.seed}",
            f"{config.images:,} training images",
            f"processor {read_json(out / 'evaluation' / 'provenance.json')['processor']}",
            *(f"{package} {number}" for package, number in history["provenance"]["versions"].items()),
            history["provenance"]["machine"],
        ],
        details=json.dumps({"settings": config.to_dict(), **stages.facts["provenance"]}, indent=1),
    )


_CODE = """from datasets import load_dataset
from hf_relvit import load_checkpoint

model, processor = load_checkpoint("{out}/training/model")
scenes = load_dataset("{out}/data", "{config}", split="test")"""
