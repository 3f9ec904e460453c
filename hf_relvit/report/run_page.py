"""report.html: one self-contained page, drawn from the saved tables of a study."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from ..analysis.attention import AttentionStages
from ..figures.style import (
    accuracy_figure,
    attention_figure,
    head_reach,
    history_figure,
    save_figure,
)
from ..files import atomic_write, read_json
from ..stimuli.preview import contact_sheet
from ..training.config import TrainConfig
from ..words import TASK_QUESTIONS, condition_name, split_name
from . import sentences
from .captions import CAPTIONS
from .pages import embedded, write_page
from .photorealistic_page import ONE_PAIR, PhotoResults, photorealistic_section
from .seeds import compare, save_causal
from .sentences import SENTENCES
from .tables import causal_tables


def write_report(
    study: str, runs: Mapping[str, TrainConfig], out: Path, *, photorealistic: bool = False
) -> Path:
    """Write ``out / "report.html"`` from the saved tables; where there are several runs, a page for each of them too.

    Args:
        study: its name.
        runs: name -> settings.
        out: folder of the study.
        photorealistic: whether models were to be tested on photorealistic scenes.

    Returns:
        Its path.
    """
    single = len(runs) == 1
    pages = {}
    for run, config in runs.items():
        page = (out if single else out / run) / "report.html"
        pages[run] = _run_page(study, config, out / run, page, photorealistic)
    if single:
        return out / "report.html"
    comparison = compare(list(runs), out)
    return write_page(
        out / "report.html",
        "comparison.html",
        study=study,
        title=f"{len(pages)} runs, side by side",
        pages={name: page.relative_to(out) for name, page in pages.items()},
        rows=[
            row | {"split": split_name(row["split"])}
            for row in comparison.accuracy.to_dict("records")
        ],
        overview={name: embedded(figure) for name, figure in comparison.overview.items()},
        settings={
            setting: {k: embedded(f) for k, f in of.items()}
            for setting, of in comparison.figures.items()
        },
        correlation=comparison.correlation and embedded(comparison.correlation),
        kinds=len(comparison.figures),
        captions=CAPTIONS,
    )


def _run_page(study: str, config: TrainConfig, out: Path, path: Path, photorealistic: bool) -> Path:
    """The page of one run, and its figures in ``out / "figures"``."""
    table = pd.read_parquet(out / "evaluation" / "accuracy.parquet")
    history = read_json(out / "training" / "history.json")
    stages = AttentionStages.load(out / "attention")
    figures = out / "figures"
    scenes = config.distribution().sample("test", config.n_eval)
    sheet = contact_sheet(scenes[:9], columns=3)
    with atomic_write(figures / "stimuli.png") as temporary:
        sheet.save(temporary, format="PNG", optimize=True)
    for kind in ("png", "svg"):
        save_figure(accuracy_figure(table), figures / f"accuracy.{kind}")
        save_figure(history_figure(history["log"]), figures / f"history.{kind}")
        save_figure(attention_figure(stages.frame), figures / f"attention.{kind}")

    causal = causal_tables(out)
    reach = head_reach(stages.frame).mean(1)
    save_causal(causal, figures, reach)
    images = {"viewer": out / "attention" / "viewer.png"}
    images |= {
        kind: figures / f"{kind}.png"
        for kind in ("stimuli", "history", "accuracy", "attention", *causal)
    }
    overall = table[table.condition == "all"].set_index("split")
    test = overall.loc["test"]
    photos = PhotoResults.load(out)
    return write_page(
        path,
        "report.html",
        title=TASK_QUESTIONS[config.task],
        preset=study,
        config=config,
        lead=sentences.summary(test, overall, config),
        cards=[
            (
                f"{test.accuracy:.1%}",
                f"IID test accuracy ({test.ci_low:.1%} to {test.ci_high:.1%})",
            ),
            (
                f"{overall.accuracy.min():.1%}",
                f"hardest test: {split_name(str(overall.accuracy.idxmin()))}",
            ),
            (f"{stages.scores['perceptual_score']:.2f}", "perceptual score (ours, 0 to 1)"),
            (f"{stages.scores['relational_score']:.2f}", "relational score (ours, 0 to 1)"),
        ],
        images={kind: embedded(path) for kind, path in images.items()},
        scenes=stages.frame.n.iloc[0],
        stages=sentences.attention(stages),
        causal={name: (*CAPTIONS[name], SENTENCES[name](frame)) for name, frame in causal.items()},
        photorealistic=photos and photorealistic_section(photos, stages, test, figures),
        not_photorealistic=ONE_PAIR if photorealistic and config.task != "discrimination" else "",
        rows=[
            row | {"split": split_name(row["split"]), "pairs": condition_name(row["condition"])}
            for row in table.to_dict("records")
        ],
        code=_CODE.format(
            out=Path(out.parent.name) / out.name, config=f"{config.geometry}-{config.combinations}"
        ),
        foot=[
            f"seed {config.seed}",
            f"{config.images:,} training images",
            f"processor {read_json(out / 'evaluation' / 'provenance.json')['processor']}",
            *(
                f"{package} {number}"
                for package, number in history["provenance"]["versions"].items()
            ),
            history["provenance"]["machine"],
        ],
        details=json.dumps({"settings": config.to_dict(), **stages.facts["provenance"]}, indent=1),
    )


_CODE = """from datasets import load_dataset
from hf_relvit import Checkpoint

checkpoint = Checkpoint.open("{out}/training/model")
scenes = load_dataset("{out}/data", "{config}", split="test")"""
