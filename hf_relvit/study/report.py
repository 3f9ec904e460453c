"""report.html: one self-contained page, drawn from the saved tables of a study."""

from __future__ import annotations

import base64
import json
from importlib.resources import files
from pathlib import Path

import pandas as pd
from jinja2 import Environment, StrictUndefined

from .. import __version__
from ..analysis.attention import AttentionStages
from ..analysis.figures import accuracy_figure, alignment_figure, attention_figure, history_figure, save_figure
from ..geometry import geometry as scene_geometry
from ..provenance import read_json, whole_file
from ..stimuli.preview import contact_sheet
from ..stimuli.scenes import sample
from ..training.config import TrainConfig
from .plan import Run, Study
from .tables import condition_name, name, over_seeds

TASKS = {
    "discrimination": "Are the two objects the same?",
    "rmts": "Do the two pairs show the same relation?",
}


def write_report(study: Study, out: Path) -> Path:
    """Write ``out / "report.html"`` from the saved tables; a page for each run too where there are several.

    Returns:
        Its path.
    """
    if len(study.runs) == 1:
        return _run_page(study, study.runs[0], out / study.runs[0].name, out / "report.html")
    pages = {run.name: _run_page(study, run, out / run.name, out / run.name / "report.html") for run in study.runs}
    tables = [
        pd.read_parquet(out / run.name / "evaluation" / "accuracy.parquet").assign(run=run.name) for run in study.runs
    ]
    return _write(
        out / "report.html",
        "comparison.html",
        study=study.name,
        version=__version__,
        pages={name: page.relative_to(out) for name, page in pages.items()},
        rows=[
            row | {"split": name(row["split"])}
            for row in over_seeds(pd.concat(tables, ignore_index=True)).to_dict("records")
        ],
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

    scores = alignment_scores(out)
    if not scores.empty:
        for kind in ("png", "svg"):
            save_figure(alignment_figure(scores), figures / f"alignment.{kind}")
    images = {"viewer": out / "attention" / "viewer.png"}
    images |= {kind: figures / f"{kind}.png" for kind in ("stimuli", "history", "accuracy", "attention")}
    if not scores.empty:
        images["alignment"] = figures / "alignment.png"
    overall = table[table.condition == "all"].set_index("split")
    test = overall.loc["test"]
    return _write(
        path,
        "report.html",
        title=TASKS[config.task],
        version=__version__,
        preset=study.name,
        config=config,
        summary=_summary(test, overall, config),
        cards=[
            (f"{test.accuracy:.1%}", f"IID test accuracy ({test.ci_low:.1%} to {test.ci_high:.1%})"),
            (f"{overall.accuracy.min():.1%}", f"hardest test: {name(str(overall.accuracy.idxmin()))}"),
            (f"{stages.scores['perceptual_score']:.2f}", "perceptual score (ours, 0 to 1)"),
            (f"{stages.scores['relational_score']:.2f}", "relational score (ours, 0 to 1)"),
        ],
        images={kind: _embedded(path) for kind, path in images.items()},
        scenes=stages.frame.n.iloc[0],
        stages=_stages(stages),
        alignment=_alignment(scores),
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


def _write(path: Path, template: str, **values) -> Path:
    source, style = (files(__package__).joinpath(file).read_text("utf-8") for file in (template, "report.css"))
    text = Environment(autoescape=True, undefined=StrictUndefined).from_string(source).render(style=style, **values)
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


_CODE = """from datasets import load_dataset
from hf_relvit import load_checkpoint

model, processor = load_checkpoint("{out}/training/model")
scenes = load_dataset("{out}/data", "{config}", split="test")"""


def _summary(test: pd.Series, overall: pd.DataFrame, config: TrainConfig) -> str:
    if test.ci_low <= test.floor:
        return (
            f"After {config.images:,} images the model still guesses: {test.accuracy:.1%} on new scenes of known "
            f"objects (n = {test.n}), which guessing explains. Train longer, or add an auxiliary loss."
        )
    worst = str(overall.accuracy.idxmin())
    return (
        f"A vision transformer that saw {config.images:,} images answers right on {test.accuracy:.1%} of new scenes "
        f"with known objects (n = {test.n}; guessing gives {test.floor:.0%}, the same network with random weights "
        f"{test.base_accuracy:.0%}) and on {overall.accuracy[worst]:.1%} of its hardest test, {name(worst)}."
    )


def _stages(stages: AttentionStages) -> str:
    """What the attention figure shows of this model, in words."""
    peaks = []
    for kind, words in (("within_object", "inside its object"), ("within_pair", "on the other object of the pair")):
        grid = stages.grid(kind)
        layer, head = divmod(int(grid.argmax()), grid.shape[1])
        peaks.append((grid.max(), f"{grid.max():.0%} {words} (layer {layer}, head {head})"))
    local = "Here no head keeps most of an object's attention inside it. " if peaks[0][0] < 0.5 else ""
    return f"{local}In this model an object's tokens spend at most {peaks[0][1]} and at most {peaks[1][1]}."


def alignment_scores(run: Path) -> pd.DataFrame:
    """The scores of all finished alignment cells of a run; empty if it has none."""
    tables = [pd.read_parquet(path) for path in sorted(run.glob("das/*/scores.parquet"))]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _alignment(scores: pd.DataFrame) -> str:
    """The best layer of each property, in words."""
    if scores.empty:
        return ""
    whole = scores[(scores.condition == "all") & (scores.split == "test") & (scores.score == "cause")]
    parts = []
    for prop, rows in whole.groupby("property"):
        found = rows[rows.control == "none"].set_index("layer")
        layer = found.accuracy.idxmax()
        best, other = found.loc[layer], rows[(rows.control == "wrong_object") & (rows.layer == layer)].iloc[0]
        parts.append(
            f"{prop} {best.accuracy:.0%} (layer {layer}; 95 % interval {best.ci_low:.0%} to {best.ci_high:.0%}, "
            f"n = {best.n}; other object's {other.accuracy:.0%})"
        )
    return f"Best in this model: {'; '.join(parts)}."


def _embedded(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
