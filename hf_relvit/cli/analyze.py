"""`relvit analyze`: measurements on a checkpoint. The options are the fields of the analyses' settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import RelViTError
from .bridge import options, receives
from .connection import check_reachable
from .options import Out, PhotorealisticSet, SceneSeed, Subject, on_terminal, subject

analyze = typer.Typer(help="Measurements on a checkpoint.", no_args_is_help=True)
ACCURACY = ["accuracy", "ci_low", "ci_high", "n"]
READ_AGAINST = ["base_accuracy", "floor"]


@analyze.command("attention")
@receives("subject", subject)
@options("settings", "analysis.attention:AttentionConfig")
def analyze_attention(subject: Subject, settings, out: Out, data: PhotorealisticSet = None):
    """Attention stages: tables, heat map, line chart and a viewer of single heads (not of photorealistic scenes).

    Example: relvit analyze attention runs/quick/seed0/training/model --out runs/quick/attention
    """
    from ..analysis.attention import measure_attention, save_viewer
    from ..stimuli.scenes import SceneTable
    from ..study.photorealistic import open_set

    photos = open_set(data, subject.config) if data is not None else None
    checkpoint = subject.open()
    if photos is None:
        scenes = subject.distribution(checkpoint).sample(settings.split, settings.scenes)
    else:
        scenes = photos.pairs(checkpoint.geometry)[: settings.scenes]
    stages = measure_attention(checkpoint, scenes, settings, progress=on_terminal())
    _save(stages, out, "attention")
    if isinstance(scenes, SceneTable):
        save_viewer(checkpoint, scenes, stages, out / "viewer.png")
    for name, value in stages.scores.items():
        typer.echo(f"{name:26} {value:.3f}")
    typer.echo(out / "attention.png")


@analyze.command("das")
@receives("subject", subject)
@options("config", "analysis.align:AlignConfig", skip=("bf16",))
def analyze_das(subject: Subject, config, out: Out):
    """Find the subspaces that carry a property, and how well swapping them changes the answer, with all controls.

    Example: relvit analyze das runs/quick/seed0/training/model --property color --out runs/das
    """
    from dataclasses import replace

    from ..analysis.align import align
    from ..files import write_table
    from ..training.precision import computes_bf16

    checkpoint = subject.open()
    distribution = subject.distribution(checkpoint)
    config = replace(config, bf16=computes_bf16())
    result = align(checkpoint, distribution, config, progress=on_terminal())
    _save(result, out, "alignment")
    table = result.frame[result.frame.condition == "all"]
    columns = ["layer", "split", "weights", "score", "control", *ACCURACY, *READ_AGAINST]
    _show(table, [*columns, "size", "divergence"])
    write_table(out / "validity.parquet", result.validity())
    typer.echo(f"one row for each alignment, with all controls: {out / 'validity.parquet'}")
    typer.echo(out / "alignment.png")


@analyze.command("novel")
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
    from ..analysis.novel import inject_novel

    opened = [Alignment.load(folder) for folder in _alignment_folders(alignments)]
    checkpoint = subject.open()
    distribution = subject.distribution(checkpoint)
    novel = inject_novel(checkpoint, opened, distribution, settings, progress=on_terminal())
    _save(novel, out, "novel")
    in_subspace = (novel.frame.condition == "all") & (novel.frame.baseline == "subspace")
    _show(novel.frame[in_subspace], ["property", "layer", "method", *ACCURACY, *READ_AGAINST])
    typer.echo(f"the other baselines and both directions: {out / 'novel.parquet'}")


@analyze.command("probe")
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
    """What can be read from the tokens of objects, layer by layer, beside a shuffled-label control.

    Targets are judgement, shape and color, unless named. A quadratic probe reads judgement or same_object.

    Example: relvit analyze probe runs/quick/seed0/training/model --out runs/probes
    """
    import pandas as pd

    from ..analysis.activations import SceneCaptures
    from ..analysis.probes import ProbeConfig, probe
    from ..figures.causal import probe_figure
    from ..figures.style import save_figure

    usual = ["judgement", "shape", "color"]
    if settings.get("form") == "quadratic":
        usual = ["judgement"]
    names: Any = target or usual
    configs = [ProbeConfig(name, **settings) for name in names]
    checkpoint = subject.open()
    distribution = subject.distribution(checkpoint)
    captures = SceneCaptures(
        checkpoint,
        distribution,
        configs[0].layers,
        compat=configs[0].compat,
        cache_gb=configs[0].cache_gb / 2,
        progress=on_terminal(),
    )
    frames = []
    for config in configs:
        probes = probe(checkpoint, distribution, config, captures=captures, progress=on_terminal())
        probes.save(out / config.target)
        frames.append(probes.frame)
    frame = pd.concat(frames, ignore_index=True)
    save_figure(probe_figure(frame), out / "probes")
    _show(frame, ["target", "layer", "condition", *ACCURACY, "floor"])
    typer.echo(out / "probes.png")


@analyze.command("steer")
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
    """Does the model use what the probe reads? Push pairs along its direction and watch the answer.

    Example: relvit analyze steer runs/quick/seed0/training/model --probes runs/probes/judgement --out runs/steering
    """
    from dataclasses import replace

    from ..analysis.probes import Probes, probe
    from ..analysis.steering import steer

    fitted = Probes.load(probes) if probes is not None else None
    checkpoint = subject.open()
    distribution = subject.distribution(checkpoint)
    if fitted is None:
        probing = replace(probing, scenes=settings.scenes, split=settings.split)
        fitted = probe(checkpoint, distribution, probing, progress=on_terminal())
        fitted.save(out / "judgement")
    steering = steer(checkpoint, fitted, distribution, settings, progress=on_terminal())
    _save(steering, out, "steering")
    columns = ["pair", "layer", "alpha", "condition", *ACCURACY, *READ_AGAINST, "relative_norm"]
    _show(steering.frame, columns)
    typer.echo(out / "steering.png")


@analyze.command("correlation")
def analyze_correlation(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Folders of studies or of their runs; or a table (.csv, .parquet)."),
    ],
    out: Out,
    seed: SceneSeed = 0,
):
    """Do models that hold shape and color apart generalize better? Over many runs, with intervals.

    A table needs the columns run, disentanglement, split and accuracy; group (the kind of model) is optional.

    Example: relvit analyze correlation runs/quick runs/small runs/clip --out runs/correlation
    """
    from ..analysis.correlation import correlate
    from ..report.collect import collect

    correlation = correlate(collect(runs), seed=seed)
    _save(correlation, out, "correlation")
    interval = ["value", "ci_low", "ci_high", "n"]
    leave_one_out = ["loo_low", "loo_high", "loo_group"]
    _show(correlation.frame, ["split", "measure", *interval, "groups", *leave_one_out])
    for warning in dict.fromkeys(correlation.frame.warning[correlation.frame.warning != ""]):
        typer.echo(f"warning: {warning}")
    typer.echo(out / "correlation.png")


@analyze.command("frozen")
@receives("subject", subject)
def analyze_frozen(
    subject: Subject,
    out: Out,
    data: Annotated[
        Path, typer.Option("--data", help="Folder of `relvit data build photorealistic`.")
    ],
    base: Annotated[
        str | None, typer.Option(help="The backbone before fine-tuning: folder or Hub id.")
    ] = None,
):
    """How well untrained likeness of the objects' tokens tells same from different: AUC by layer.

    Example: relvit analyze frozen runs/quick/seed0/training/model --data data/photorealistic --out runs/frozen
    """
    if base is not None:
        check_reachable(base)
    from ..analysis.similarity import measure_similarity
    from ..modeling import RelViTForImageClassification
    from ..modeling.checkpoints import Checkpoint
    from ..modeling.processing import fit_processor, load_processor
    from ..study.photorealistic import open_set

    photos = open_set(data, subject.config)
    opened = subject.open()
    models = {"checkpoint": opened, "random weights": opened.randomly_initialized()}
    if base is not None:
        backbone = RelViTForImageClassification.from_backbone(base).eval()
        processor = fit_processor(load_processor(base), backbone.config.image_size)
        models["base"] = Checkpoint(backbone, processor)
    pairs = {name: photos.pairs(checkpoint.geometry) for name, checkpoint in models.items()}
    similarity = measure_similarity(models, pairs, progress=on_terminal())
    _save(similarity, out, "frozen")
    overall = similarity.frame[similarity.frame.level == "all"]
    best = overall.sort_values("auc").groupby("model", as_index=False).last()
    _show(best, ["model", "layer", "auc", "ci_low", "ci_high", "n"])
    typer.echo(out / "frozen.png")


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


def _show(frame, columns: list[str]) -> None:
    typer.echo(frame[columns].round(3).to_string(index=False))
