"""`relvit analyze`: measurements on a checkpoint. The options are the fields of the analyses' settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import RelViTError
from ..owned import check_free
from .bridge import options, receives
from .connection import check_reachable
from .habits import Commands, say, show
from .options import Out, PictureSet, RequiredPictureSet, Subject, subject, tell_repairs

if TYPE_CHECKING:
    from pandas import DataFrame

    from ..analysis.probes import Probes
    from ..analysis.result import Result

analyze = Commands(help="Measurements on a checkpoint.")
VIEWER = "viewer.png"


@analyze.command("attention", numbers=True)
@receives("subject", subject)
@options("settings", "analysis.attention:AttentionConfig")
def analyze_attention(subject: Subject, settings, out: Out, data: PictureSet = None):
    """Attention stages: tables, heat map, line chart and a viewer of single heads (of drawn scenes only).

    Example: relvit analyze attention runs/quick/seed0/training/model --out runs/quick/attention
    """
    from ..analysis.attention import AttentionStages, measure_attention, save_viewer
    from ..report import readings
    from ..report.tables import measured_text
    from ..stimuli.scenes import SceneTable
    from ..study.photorealistic import open_test_set

    check_names(out, AttentionStages, VIEWER)
    photos = open_test_set(data, subject.config) if data is not None else None
    checkpoint = subject.open()
    if photos is None:
        scenes = subject.distribution(checkpoint).sample(settings.split, settings.scenes)
    else:
        pictures = photos.pairs(checkpoint.geometry)
        tell_repairs(pictures)
        scenes = pictures[: settings.scenes]
    stages = measure_attention(checkpoint, scenes, settings, progress=True)
    _save(stages, out, "attention")
    if isinstance(scenes, SceneTable):
        save_viewer(checkpoint, scenes, stages, out / VIEWER)
    measured = readings.attention({**stages.scores, "n": len(scenes)})
    show("scores", stages.scores, text=measured_text(measured))
    say(out / "attention.png")


@analyze.command("das", numbers=True)
@receives("subject", subject)
@options("config", "analysis.align:AlignConfig", skip=("bf16",))
def analyze_das(subject: Subject, config, out: Out):
    """Find the subspaces that carry a property, and how well swapping them changes the answer, with all controls.

    Example: relvit analyze das runs/quick/seed0/training/model --property color --method closed_form --out runs/das
    """
    from dataclasses import replace

    from ..analysis.align import Alignments, align
    from ..files import write_table
    from ..training.precision import computes_bf16

    check_names(out, Alignments, "alignment.png", "alignment.svg", "validity.parquet")
    checkpoint = subject.open()
    distribution = subject.distribution(checkpoint)
    config = replace(config, bf16=computes_bf16())
    result = align(checkpoint, distribution, config, progress=True)
    _save(result, out, "alignment")
    table = result.frame[result.frame.condition == "all"]
    show("alignments", table, text=_told("alignment", result.frame))
    write_table(out / "validity.parquet", result.validity())
    say(f"one row for each alignment, with all controls: {out / 'validity.parquet'}")
    say(out / "alignment.png")


@analyze.command("novel", numbers=True)
@receives("subject", subject)
@options("settings", "analysis.novel:NovelConfig")
def analyze_novel(
    subject: Subject,
    settings,
    alignments: Annotated[
        Path, typer.Option(help="An alignment, or a folder of them, such as that of a study.")
    ],
    out: Out,
):
    """Is the comparison abstract? Give both objects a property value that no object ever had.

    Example: relvit analyze novel runs/quick/seed0/training/model --alignments runs/quick/seed0/das --out runs/novel
    """
    from ..analysis.alignment import Alignment
    from ..analysis.novel import Novel, inject_novel

    check_names(out, Novel)
    opened = [Alignment.load(folder) for folder in _alignment_folders(alignments)]
    checkpoint = subject.open()
    distribution = subject.distribution(checkpoint)
    novel = inject_novel(checkpoint, opened, distribution, settings, progress=True)
    _save(novel, out, "novel")
    in_subspace = (novel.frame.condition == "all") & (novel.frame.baseline == "subspace")
    show("novel", novel.frame[in_subspace], text=_told("novel", novel.frame))
    say(f"all layers, the other baselines and both directions: {out / 'novel.parquet'}")


@analyze.command("probe", numbers=True)
@receives("subject", subject)
@options("settings", "analysis.probes:ProbeConfig", skip=("target",), make=dict)
def analyze_probe(
    subject: Subject,
    settings: dict,
    out: Out,
    target: Annotated[
        list[str] | None,
        typer.Option(help="Several: judgement, shape, color, object, same_object."),
    ] = None,
):
    """Accuracy of probes on the tokens of objects, layer by layer, beside a shuffled-label control.

    Targets are judgement, shape and color, unless named. A quadratic probe reads judgement or same_object.

    Example: relvit analyze probe runs/quick/seed0/training/model --out runs/probes
    """
    import pandas as pd

    from ..analysis.activations import SceneCaptures
    from ..analysis.probes import ProbeConfig, Probes, probe
    from ..figures.causal import probe_figure
    from ..figures.style import save_figure

    usual = ["judgement", "shape", "color"]
    if settings.get("form") == "quadratic":
        usual = ["judgement"]
    names: Any = target or usual
    configs = [ProbeConfig(name, **settings) for name in names]
    check_names(out, Probes)
    for config in configs:
        check_names(out / config.target, Probes)
    checkpoint = subject.open()
    distribution = subject.distribution(checkpoint)
    captures = SceneCaptures(
        checkpoint,
        distribution,
        configs[0].layers,
        compat=configs[0].compat,
        cache_gb=configs[0].cache_gb / 2,
        progress=True,
    )
    frames = []
    for config in configs:
        probes = probe(checkpoint, distribution, config, captures=captures, progress=True)
        probes.save(out / config.target)
        frames.append(probes.frame)
    frame = pd.concat(frames, ignore_index=True).assign(task=distribution.task)
    save_figure(probe_figure(frame), out / "probes")
    show("probes", frame, text=_told("probes", frame))
    say(out / "probes.png")


@analyze.command("steer", numbers=True)
@receives("subject", subject)
@options("settings", "analysis.steering:SteeringConfig")
@options("probing", "analysis.probes:ProbeConfig", skip=("target", "form", "unit", "rank"))
def analyze_steer(
    subject: Subject,
    settings,
    probing,
    out: Out,
    probes: Annotated[
        Path | None,
        typer.Option(help="Saved linear probes of the judgement; fitted now if not given."),
    ] = None,
):
    """Does the model use what the probe reads? Steer pairs along its direction and watch the answer.

    Example: relvit analyze steer runs/quick/seed0/training/model --probes runs/probes/judgement --out runs/steering
    """
    from dataclasses import replace

    from ..analysis.probes import probe
    from ..analysis.steering import Steering, steer

    check_names(out, Steering)
    fitted = _given_probes(probes, out / "judgement")
    checkpoint = subject.open()
    distribution = subject.distribution(checkpoint)
    if fitted is None:
        probing = replace(probing, scenes=settings.scenes, split=settings.split)
        fitted = probe(checkpoint, distribution, probing, progress=True)
        fitted.save(out / "judgement")
    steering = steer(checkpoint, fitted, distribution, settings, progress=True)
    _save(steering, out, "steering")
    show("steering", steering.frame, text=_told("steering", steering.frame))
    say(f"all layers and strengths: {out / 'steering.parquet'}")
    say(out / "steering.png")


def _given_probes(folder: Path | None, out: Path) -> Probes | None:
    """The saved probes; if there are none, those fitted instead must find their place in ``out`` free."""
    from ..analysis.probes import Probes

    if folder is None:
        check_names(out, Probes)
        return None
    return Probes.load(folder)


@analyze.command("correlation", numbers=True)
@options("settings", "analysis.correlation:CorrelationConfig")
def analyze_correlation(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Folders of studies or of their runs; or a table (.csv, .parquet)."),
    ],
    settings,
    out: Out,
):
    """Do models that hold shape and color apart generalize better? Over many runs, with intervals.

    A table needs the columns run, disentanglement, split and accuracy; group (the kind of model) is optional.

    Example: relvit analyze correlation runs/quick runs/small runs/clip --out runs/correlation
    """
    from ..analysis.correlation import Correlation, correlate
    from ..report import readings
    from ..report.collect import collect
    from ..report.tables import measured_text

    check_names(out, Correlation)
    correlation = correlate(collect(runs), settings)
    _save(correlation, out, "correlation")
    measured = readings.correlation(correlation.frame)
    show("correlation", correlation.frame, text=measured_text(measured))
    for warning in dict.fromkeys(correlation.frame.warning[correlation.frame.warning != ""]):
        say(f"warning: {warning}")
    say(out / "correlation.png")


@analyze.command("frozen", numbers=True)
@receives("subject", subject)
@options("settings", "analysis.similarity:SimilarityConfig")
def analyze_frozen(
    subject: Subject,
    settings,
    out: Out,
    data: RequiredPictureSet,
    backbone: Annotated[
        str | None, typer.Option(help="The backbone before fine-tuning: folder or Hub id.")
    ] = None,
):
    """How well untrained likeness of the objects' tokens tells same from different: AUC by layer.

    Example: relvit analyze frozen runs/quick/seed0/training/model --data data/photorealistic --out runs/frozen
    """
    if backbone is not None:
        check_reachable(backbone)
    from ..analysis.similarity import Similarity, measure_similarity
    from ..modeling.checkpoints import Checkpoint
    from ..report import readings
    from ..report.tables import measured_text
    from ..study.photorealistic import open_test_set

    check_names(out, Similarity)
    photos = open_test_set(data, subject.config)
    opened = subject.open()
    models = {"checkpoint": opened, "random weights": opened.randomly_initialized()}
    if backbone is not None:
        models["base"] = Checkpoint.of_backbone(backbone)
    pairs = {name: photos.pairs(checkpoint.geometry) for name, checkpoint in models.items()}
    similarity = measure_similarity(models, pairs, settings, progress=True)
    _save(similarity, out, "frozen")
    measured = readings.similarity(similarity.frame).values()
    show("frozen", _best_layers(similarity.frame), text=measured_text(measured))
    say(out / "frozen.png")


def _best_layers(frame: DataFrame) -> DataFrame:
    """The row of each model's largest AUC over all pairs."""
    overall = frame[frame.level == "all"]
    return overall.sort_values("auc").groupby("model", as_index=False).last()


@analyze.command("knockout", numbers=True)
@receives("subject", subject)
@options("settings", "analysis.knockout:KnockoutConfig")
def analyze_knockout(subject: Subject, settings, out: Out):
    """Are the heads that look at objects used? Replace their outputs, beside random heads of the same layers.

    Example: relvit analyze knockout runs/quick/seed0/training/model --heads 3 --out runs/knockout
    """
    from ..analysis.knockout import Knockout, knock_out_heads

    check_names(out, Knockout)
    checkpoint = subject.open()
    distribution = subject.distribution(checkpoint)
    knockout = knock_out_heads(checkpoint, distribution, settings, progress=True)
    _save(knockout, out, "knockout")
    show("knockout", knockout.frame, text=_told("knockout", knockout.frame))
    say(out / "knockout.png")


def check_names(out: Path, result: type[Result], *others: str) -> None:
    """Raise RelViTError, before any work, for a file of somebody else that has the name of one of a result."""
    figures = [f"{result.STEM}{ending}" for ending in (".png", ".svg")]
    for name in (*result.files(), *figures, *others):
        check_free(out / name)


def _alignment_folders(folder: Path) -> list[Path]:
    """The folder itself if it is an alignment, else those in it."""
    files = [*folder.glob("alignment.json"), *folder.glob("*/alignment.json")]
    if not files:
        raise RelViTError(
            f"no alignments in {folder}: expected one, or a folder of them, as `relvit study run` makes in "
            "RUN/das and `relvit analyze das` one by one"
        )
    return sorted(file.parent for file in files)


def _save(result, out: Path, name: str) -> None:
    """The result's files and its figure."""
    result.save(out)
    result.plot(out / name)


def _told(analysis: str, table: DataFrame) -> str:
    """The sentences of a report about the table."""
    from ..recipes.recipes import SECTIONS
    from ..report.tables import section_text

    return section_text(SECTIONS[analysis], table)
