"""report.html: one self-contained page, drawn from the saved tables of a study."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ..analysis.attention import AttentionStages
from ..figures.attention import attention_figure, head_reach
from ..figures.training import accuracy_figure, history_figure, stages_figure
from ..manifest import MANIFEST
from ..measurements import Measurement
from ..recipes.recipes import RECIPES, SECTIONS, fits, stands_on_grid
from ..stimuli.tasks import task_of
from ..training.config import TrainConfig
from . import sentences
from .pages import embedded, save_figures, save_scenes, write_page
from .photorealistic_page import ONE_PAIR, PhotoResults, photorealistic_section
from .readings import accuracy_rows, seed_rows, whole_splits
from .run_folder import DATA, RunFolder, StudyFolder
from .seeds import compare, save_causal
from .tables import training_stages

PACKAGE = Path(__file__).parents[1]
_ALWAYS_DRAWN = ("stimuli", "history", "accuracy", "attention")
_HEAD = 2_000
"""Characters of a page that hold the digest."""


def write_report(
    study: str,
    runs: Mapping[str, TrainConfig],
    out: Path,
    *,
    photorealistic: bool = False,
    analyses: Sequence[str] = (),
) -> Path:
    """Write ``out / "report.html"`` from the saved tables; where there are several runs, a page for each of them too.

    Args:
        study: its name.
        runs: name -> settings.
        out: folder of the study.
        photorealistic: whether models were to be tested on photorealistic scenes.
        analyses: names of the recipes that were asked for.

    Returns:
        Its path.
    """
    folder = StudyFolder(out)
    if len(runs) == 1:
        ((name, config),) = runs.items()
        return _run_page(study, config, folder.run(name), folder.report, photorealistic, analyses)
    pages = {}
    for name, config in runs.items():
        run = folder.run(name)
        pages[name] = _run_page(study, config, run, run.report, photorealistic, analyses)
    return _comparison_page(study, folder, pages)


def _comparison_page(study: str, folder: StudyFolder, pages: Mapping[str, Path]) -> Path:
    """The page of several runs, which links those of the single ones."""
    out = folder.path
    comparison = compare(list(pages), out)
    settings = {
        setting: {analysis: embedded(file) for analysis, file in figures.items()}
        for setting, figures in comparison.figures.items()
    }
    return write_page(
        folder.report,
        "comparison.html",
        study=study,
        title=f"{len(pages)} runs, side by side",
        pages={name: page.relative_to(out) for name, page in pages.items()},
        rows=seed_rows(comparison.accuracy),
        overview={name: embedded(figure) for name, figure in comparison.overview.items()},
        settings=settings,
        correlation=comparison.correlation and embedded(comparison.correlation),
        kinds=len(comparison.figures),
        sections=SECTIONS,
    )


def _run_page(
    study: str,
    config: TrainConfig,
    run: RunFolder,
    path: Path,
    photorealistic: bool,
    analyses: Sequence[str],
) -> Path:
    """The page of one run, and its figures in the run's folder; drawn again only if something in them changed."""
    sources = drawn_from(run, [study, config.to_dict(), photorealistic, list(analyses)])
    if _is_drawn(path, run, sources):
        return path
    table = run.table("accuracy")
    stages = run.stages
    causal = run.causal_tables()
    images = _draw(config, run, table, stages, causal)
    splits = whole_splits(table)
    photos = PhotoResults.load(run)
    provenance = run.history["provenance"]
    task = task_of(config.task)
    settings = {"settings": config.to_dict(), **stages.facts["provenance"]}
    return write_page(
        path,
        "report.html",
        drawn_from=sources,
        title=task.question,
        rule=task.rule,
        preset=study,
        config=config,
        lead=sentences.summary(splits, config),
        cards=_cards(splits, stages),
        images={name: embedded(file) for name, file in images.items()},
        scenes=stages.frame.n.iloc[0],
        stages=sentences.attention(stages),
        causal={
            name: (SECTIONS[name], SECTIONS[name].tell(frame)) for name, frame in causal.items()
        },
        left_out=_left_out(config.task, analyses, config.geometry),
        photorealistic=photos
        and photorealistic_section(photos, stages, splits["test"], run.figures),
        not_photorealistic=ONE_PAIR if photorealistic and config.task != "discrimination" else "",
        rows=accuracy_rows(table),
        code=_code(config, run),
        foot=[
            f"seed {config.seed}",
            f"{config.images:,} training images",
            f"processor {run.evaluation_provenance['processor']}",
            *(f"{package} {number}" for package, number in provenance["versions"].items()),
            provenance["machine"],
        ],
        details=json.dumps(settings, indent=1),
    )


def drawn_from(run: RunFolder, settings: list) -> str:
    """A digest of all that the page of a run is drawn from: its finished cells, settings, and our code."""
    digest = hashlib.sha256(_drawing_code())
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    for cell in run.finished_cells():
        digest.update(run.in_run(cell).encode())
        digest.update((cell / MANIFEST).read_bytes())
    return digest.hexdigest()


@functools.cache
def _drawing_code() -> bytes:
    digest = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*")):  # words, claims and captions lie outside of the pages
        if file.suffix in (".py", ".html", ".css"):
            digest.update(file.read_bytes())
    return digest.digest()


def _is_drawn(path: Path, run: RunFolder, sources: str) -> bool:
    """Whether the page and the figures of a run are those of these sources."""
    if not path.is_file() or not all(run.figure(name).is_file() for name in _ALWAYS_DRAWN):
        return False
    with path.open(encoding="utf-8", errors="replace") as page:
        head = page.read(_HEAD)
    return f'content="{sources}"' in head


def _left_out(task: str, analyses: Sequence[str], geometry: str = "b16") -> str:
    """Which analyses were asked for and cannot be made of the task's scenes; "" for none."""
    recipes = [RECIPES[name] for name in analyses if not fits(RECIPES[name], task, geometry)]
    headings = [recipe.section.heading for recipe in recipes if recipe.section]
    if not headings:
        return ""
    questions = " ".join(f"“{heading}”" for heading in headings)
    if not stands_on_grid(task, geometry):
        return (
            f"Left out: {questions} They need equally many tokens of every object, and freely placed objects "
            "differ in theirs."
        )
    asked = task_of(task)
    pairs = "none" if asked.swaps is None else f"those of {asked.swapped[0]} alone"
    reason = (
        f"They swap properties between counterfactual pairs, and the task “{task}” has {pairs}."
    )
    return f"Left out: {questions} {reason}"


def _draw(
    config: TrainConfig,
    run: RunFolder,
    table: pd.DataFrame,
    stages: AttentionStages,
    causal: dict[str, pd.DataFrame],
) -> dict[str, Path]:
    """The figures of a run, name -> PNG file."""
    scenes = config.distribution().sample("test", config.n_eval)
    stimuli = save_scenes(scenes[:9], run.figure("stimuli"))
    drawn = {
        "history": history_figure(run.history["log"]),
        "accuracy": accuracy_figure(table),
        "attention": attention_figure(stages.frame),
    }
    course = training_stages(run.history)
    if len(course):
        drawn["stages"] = stages_figure(course)
    saved = {name: save_figures(figure, run.figures / name) for name, figure in drawn.items()}
    reach = head_reach(stages.frame).mean(1)
    return {
        "viewer": run.viewer,
        "stimuli": stimuli,
        **saved,
        **save_causal(causal, run.figures, reach),
    }


def _cards(splits: Mapping[str, Measurement], stages: AttentionStages) -> list[tuple[str, str]]:
    """The numbers at the head of the page, with their words."""
    test = splits["test"]
    worst = sentences.hardest(splits)
    perceptual = stages.scores["perceptual_score"]
    relational = stages.scores["relational_score"]
    return [
        (f"{test.value:.1%}", f"IID test accuracy ({test.low:.1%} to {test.high:.1%})"),
        (f"{worst.value:.1%}", f"hardest test: {worst.name}"),
        (f"{perceptual:.2f}", "perceptual score (ours, 0 to 1)"),
        (f"{relational:.2f}", "relational score (ours, 0 to 1)"),
    ]


def _code(config: TrainConfig, run: RunFolder) -> str:
    study = run.path.parent.name
    shown = RunFolder(Path(study) / run.name)
    return _CODE.format(
        model=shown.training.model,
        data=shown.cell(DATA),
        config=f"{config.styled_geometry}-{config.combinations}",
    )


_CODE = """from datasets import load_dataset
from hf_relvit import Checkpoint

checkpoint = Checkpoint.open("{model}")
scenes = load_dataset("{data}", "{config}", split="test")"""
