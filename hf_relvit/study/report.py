"""report.html: one self-contained page, drawn from the saved tables of a study."""

from __future__ import annotations

import base64
import json
from importlib.resources import files
from io import BytesIO
from pathlib import Path

import pandas as pd
from jinja2 import Environment

from .. import __version__
from ..analysis.attention import AttentionStages
from ..analysis.figures import accuracy_figure, attention_figure, history_figure, save_figure
from ..geometry import geometry as scene_geometry
from ..provenance import read_json, whole_file
from ..stimuli.preview import contact_sheet
from ..stimuli.scenes import sample
from ..training.config import TrainConfig
from ..training.run import object_set
from .tables import condition_name, name

TASKS = {
    "discrimination": "Are the two objects the same?",
    "rmts": "Do the two pairs show the same relation?",
}
_SHEET = {
    "discrimination": "Scenes of the IID test split with their answers: “same” only if shape and color are both equal. "
    "The lines are the patches, which the model sees as tokens; every object fills whole patches.",
    "rmts": "Scenes of the IID test split with their answers. The pair at the top left is the display pair; the other "
    "two objects are the sample pair. The answer is “same” if both pairs are same or both are different.",
}


def write_report(out: Path, preset: str, config: TrainConfig) -> Path:
    """Draw the figures into ``out / "figures"`` and the page into ``out / "report.html"``; returns its path."""
    out = Path(out)
    table = pd.read_parquet(out / "evaluation" / "accuracy.parquet")
    history = read_json(out / "training" / "history.json")
    stages = AttentionStages.load(out / "attention")
    figures = out / "figures"
    objects = object_set(config)
    scenes = sample(
        config.task,
        scene_geometry(config.geometry),
        "test",
        config.n_eval,
        combinations=config.combinations,
        seed=config.seed,
        objects=objects,
    )
    sheet = contact_sheet(scenes[:12], objects)
    with whole_file(figures / "stimuli.png") as temporary:
        sheet.save(temporary, format="PNG", optimize=True)
    for kind in ("png", "svg"):
        save_figure(accuracy_figure(table), figures / f"accuracy.{kind}")
        save_figure(history_figure(history["log"]), figures / f"history.{kind}")
        save_figure(attention_figure(stages), figures / f"attention.{kind}")

    overall = table[(table.condition == "all")].set_index("split")
    test = overall.loc["test"]
    base = stages.scores
    page = Environment(autoescape=True).from_string(files(__package__).joinpath("report.html").read_text("utf-8")).render(
        title=TASKS[config.task],
        version=__version__,
        preset=preset,
        summary=_summary(test, overall, config),
        cards=[
            {"value": f"{test.accuracy:.1%}", "text": f"IID test accuracy ({test.ci_low:.1%} to {test.ci_high:.1%})"},
            {"value": f"{overall.accuracy.min():.1%}", "text": f"hardest test: {name(overall.accuracy.idxmin())}"},
            {"value": f"{base['perceptual_score']:.2f}", "text": "perceptual score (ours, 0 to 1)"},
            {"value": f"{base['relational_score']:.2f}", "text": "relational score (ours, 0 to 1)"},
        ],
        figures={
            "stimuli": _embed(figures / "stimuli.png", "Example scenes", _SHEET[config.task]),
            "history": _embed(
                figures / "history.png",
                "Loss and validation accuracy by training step",
                "The loss falls late and suddenly: the model stays at guessing (dotted) until it finds the comparison, "
                "then accuracy on validation scenes, which training never shows, rises steeply.",
            ),
            "accuracy": _embed(
                figures / "accuracy.png",
                "Accuracy by test set",
                "Bars: accuracy on scenes that training never showed, with 95 % Wilson intervals. “New” shapes and colors "
                "were not in training at all. Diamonds: the same network with random weights; dotted line: guessing.",
            ),
            "attention": _embed(
                figures / "attention.png",
                "Attention stages by layer",
                "Top: each cell is a head; blue heads keep an object's attention inside that object, red heads look "
                "beyond it. Bottom: the strongest head of each layer for each kind of attention; the band is a 95 % "
                f"interval over {int(stages.frame.n.iloc[0])} scenes. In the paper's two-stage models WO peaks first "
                "(objects are formed), then WP (they are compared).",
            ),
            "viewer": _embed(
                out / "attention" / "viewer.png",
                "Attention of single heads on one scene",
                "One scene, and where the tokens of the outlined object look in the heads that are strongest within the "
                "object, within the pair, and on the background: the darker the red, the more attention.",
            ),
        },
        rows=[
            {
                **row,
                "split": name(row["split"]),
                "pairs": condition_name(row["condition"]),
                "auc": f"{row['auc']:.3f}" if pd.notna(row["auc"]) else "",
            }
            for row in table.to_dict("records")
        ],
        code=_CODE.format(model=Path(out.name) / "training" / "model", data=Path(out.name) / "data",
                          config=f"{config.geometry}-{config.combinations}"),  # fmt: skip
        foot=f"Seed {config.seed}; {config.images:,} training images; processor "
        f"{read_json(out / 'evaluation' / 'provenance.json')['processor']}; "
        + ", ".join(f"{k} {v}" for k, v in history["provenance"]["versions"].items())
        + f"; {history['provenance']['machine']}.",
        details=json.dumps({"settings": config.to_dict(), **stages.facts["provenance"]}, indent=1),
    )
    with whole_file(out / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out / "report.html"


_CODE = """from datasets import load_dataset
from hf_relvit import load_checkpoint

model, processor = load_checkpoint("{model}")
scenes = load_dataset("{data}", "{config}", split="test")"""


def _summary(test, overall: pd.DataFrame, config: TrainConfig) -> str:
    if test.ci_low <= test.floor:
        return (
            f"After {config.images:,} images the model still guesses: {test.accuracy:.1%} on new scenes of known objects "
            f"(n = {test.n}), which guessing explains. Train longer, or add an auxiliary loss."
        )
    worst = overall.accuracy.idxmin()
    return (
        f"A vision transformer that saw {config.images:,} images answers right on {test.accuracy:.1%} of new scenes with "
        f"known objects (n = {test.n}; guessing gives {test.floor:.0%}, the same network untrained {test.base_accuracy:.0%}) "
        f"and on {overall.accuracy[worst]:.1%} of its hardest test, {name(worst)}."
    )


def _embed(path: Path, alt: str, caption: str) -> dict[str, str]:
    data = base64.b64encode(BytesIO(path.read_bytes()).getvalue()).decode()
    return {"source": f"data:image/png;base64,{data}", "alt": alt, "caption": caption}
