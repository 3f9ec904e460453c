"""`relvit analyze`: measurements on a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import CheckpointPath, Count, Out, Scenes, Task

analyze = typer.Typer(help="Measurements on a checkpoint.", no_args_is_help=True)
TrainScenes = Annotated[
    int, typer.Option(help="Scenes to fit probes on; the paper takes 4000.", min=1)
]
Compat = Annotated[str, typer.Option(help="corrected, or official for the original's quirks.")]
CacheGb = Annotated[float, typer.Option(help="Memory for activations; the rest goes to disk.")]


@analyze.command("attention")
def analyze_attention(
    checkpoint: CheckpointPath,
    out: Out,
    task: Task = None,
    config: Scenes = None,
    split: str = "test",
    n: Count = 500,
    seed: int = 0,
    compat: Compat = "corrected",
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder of photorealistic scenes to take instead.")
    ] = None,
):
    """Attention stages: tables, heat map, line chart and a viewer of single heads (not of photorealistic scenes).

    Example: relvit analyze attention runs/quick/seed0/training/model --out runs/quick/attention
    """
    from ..analysis.attention import AttentionConfig, measure_attention, save_viewer
    from ..modeling.checkpoints import Checkpoint

    opened = Checkpoint.open(checkpoint, device="auto")
    if data is None:
        scenes = opened.distribution(task, config, seed=seed).sample(split, n)
    else:
        from ..study.photorealistic import open_set

        scenes = open_set(data, config).pairs(opened.geometry)[:n]
    stages = measure_attention(opened, scenes, AttentionConfig(compat), progress=True)
    stages.save(out)
    for kind in ("png", "svg"):
        stages.plot(out / f"attention.{kind}")
    if data is None:
        save_viewer(opened, scenes, stages, out / "viewer.png")
    for name, value in stages.scores.items():
        typer.echo(f"{name:26} {value:.3f}")
    typer.echo(out / "attention.png")


@analyze.command("das")
def analyze_das(
    checkpoint: CheckpointPath,
    out: Out,
    layer: Annotated[
        list[int] | None, typer.Option(help="Block, from 0; repeat for several, all by default.")
    ] = None,
    prop: Annotated[str, typer.Option("--property", help="shape or color.")] = "color",
    task: Task = None,
    config: Scenes = None,
    split: Annotated[str, typer.Option(help="Split to score on.")] = "test",
    pairs: Annotated[int, typer.Option(help="Pairs to learn on; the paper takes 2000.")] = 2000,
    test_pairs: Annotated[int, typer.Option(help="Pairs to score on.")] = 1000,
    epochs: int = 20,
    method: Annotated[str, typer.Option(help="das, identity, boundless or full_swap.")] = "das",
    cache_gb: Annotated[
        float, typer.Option(help="Memory for activations; the rest goes to disk.")
    ] = 8.0,
    seed: int = 0,
):
    """Find the subspaces that carry a property, and how well swapping them changes the answer.

    Example: relvit analyze das runs/quick/seed0/training/model --property color --out runs/das
    """
    import pandas as pd

    from ..analysis.activations import Site
    from ..analysis.das import DASConfig, fit_alignment, score_alignment
    from ..analysis.interchange import pair_residuals
    from ..figures.causal import alignment_figure
    from ..figures.style import save_figure
    from ..files import atomic_write
    from ..modeling.checkpoints import Checkpoint
    from ..training.precision import computes_bf16

    opened = Checkpoint.open(checkpoint, device="auto")
    distribution = opened.distribution(task, config, seed=seed)
    layers = list(range(opened.depth)) if layer is None else layer
    captured = {}
    for where, n in (("train", pairs), (split, test_pairs)):
        drawn = distribution.pairs(prop, where, n)
        sites = [Site("resid_post", number) for number in layers]
        captured[where] = pair_residuals(
            opened, drawn, sites, cache_gb=cache_gb / 2, progress=where
        )
    frames = []
    for number in layers:
        settings = DASConfig(number, method=method, epochs=epochs, seed=seed, bf16=computes_bf16())
        alignment = fit_alignment(opened, captured["train"], settings, progress=True)
        alignment.save_pretrained(out / f"{prop}-{number}")
        frames += [
            score_alignment(opened, alignment, captured[split], control)
            for control in (None, "wrong_object")
        ]
    table = pd.concat(frames, ignore_index=True).assign(weights="trained")
    with atomic_write(out / "scores.parquet") as temporary:
        table.to_parquet(temporary)
    for kind in ("png", "svg"):
        save_figure(alignment_figure(table), out / f"alignment.{kind}")
    columns = [
        "layer",
        "control",
        "accuracy",
        "ci_low",
        "ci_high",
        "n",
        "base_accuracy",
        "floor",
        "size",
        "divergence",
    ]
    typer.echo(table[table.condition == "all"][columns].round(3).to_string(index=False))
    typer.echo(out / "alignment.png")


@analyze.command("novel")
def analyze_novel(
    checkpoint: CheckpointPath,
    alignments: Annotated[
        Path, typer.Option(help="An alignment, or a folder of them, such as that of a study.")
    ],
    out: Out,
    task: Task = None,
    config: Scenes = None,
    split: Annotated[str, typer.Option(help="Split to test on.")] = "test",
    pairs: Annotated[int, typer.Option(help="Pairs to test on.")] = 400,
    bank: Annotated[int, typer.Option(help="Validation pairs that give the vectors.")] = 400,
    compat: Compat = "corrected",
    seed: int = 0,
):
    """Is the comparison abstract? Give both objects a property value that no object ever had.

    Example: relvit analyze novel runs/quick/seed0/training/model --alignments runs/quick/seed0/das --out runs/novel
    """
    import pandas as pd

    from ..analysis.alignment import Alignment
    from ..analysis.novel import Novel, NovelConfig, inject_novel
    from ..modeling.checkpoints import Checkpoint
    from ..stimuli.counterfactuals import PROPERTIES

    found = [Alignment.from_pretrained(folder) for folder in _alignment_folders(alignments)]
    opened = Checkpoint.open(checkpoint, device="auto")
    distribution = opened.distribution(task, config, seed=seed)
    frames, facts = [], {}
    for prop in [
        prop for prop in PROPERTIES if any(alignment.property == prop for alignment in found)
    ]:
        vectors = distribution.pairs(prop, "validation", bank)
        test = distribution.pairs(prop, split, pairs)
        of = [alignment for alignment in found if alignment.property == prop]
        settings = NovelConfig(compat=compat, seed=seed)
        result = inject_novel(opened, of, vectors, test, settings, progress=True)
        frames.append(result.frame)
        facts[prop] = result.facts
    novel = Novel(pd.concat(frames, ignore_index=True), facts)
    _keep(novel, out, "novel")
    rows = novel.frame[(novel.frame.condition == "all") & (novel.frame.baseline == "subspace")]
    _table(
        rows,
        [
            "property",
            "layer",
            "method",
            "accuracy",
            "ci_low",
            "ci_high",
            "n",
            "base_accuracy",
            "floor",
        ],
    )
    typer.echo(f"the other baselines and both directions: {out / 'novel.parquet'}")


@analyze.command("probe")
def analyze_probe(
    checkpoint: CheckpointPath,
    out: Out,
    target: Annotated[
        list[str] | None,
        typer.Option(help="Several: judgement, shape, color, object, same_object."),
    ] = None,
    form: Annotated[str, typer.Option(help="linear or quadratic.")] = "linear",
    layer: Annotated[list[int] | None, typer.Option(help="Several; all by default.")] = None,
    task: Task = None,
    config: Scenes = None,
    split: Annotated[str, typer.Option(help="Split to test on.")] = "test",
    n_train: TrainScenes = 4000,
    n: Count = 1000,
    epochs: int = 10,
    compat: Compat = "corrected",
    cache_gb: CacheGb = 4.0,
    seed: int = 0,
):
    """What can be read from the tokens of objects, layer by layer, beside a shuffled-label control.

    Targets are judgement, shape and color, unless named. A quadratic probe reads judgement or same_object.

    Example: relvit analyze probe runs/quick/seed0/training/model --out runs/probes
    """
    import pandas as pd

    from ..analysis.activations import object_states
    from ..analysis.probes import ProbeConfig, fit_probes
    from ..figures.causal import probe_figure
    from ..figures.style import save_figure
    from ..modeling.checkpoints import Checkpoint

    targets = target or (["judgement"] if form == "quadratic" else ["judgement", "shape", "color"])
    settings = [
        ProbeConfig(t, form, compat=compat, epochs=epochs, seed=seed, cache_gb=cache_gb)
        for t in targets
    ]  # all checked before the first one is fitted
    opened = Checkpoint.open(checkpoint, device="auto")
    distribution = opened.distribution(task, config, seed=seed)
    train, test = (
        object_states(
            opened,
            distribution.sample(where, size),
            layer,
            compat=compat,
            cache_gb=cache_gb / 2,
            progress=f"{where} scenes",
        )
        for where, size in (("train", n_train), (split, n))
    )
    frames = []
    for one in settings:
        probes = fit_probes(opened, train, test, one, layers=layer, progress=True)
        probes.save(out / one.target)
        frames.append(probes.frame)
    frame = pd.concat(frames, ignore_index=True)
    for kind in ("png", "svg"):
        save_figure(probe_figure(frame), out / f"probes.{kind}")
    _table(frame, ["target", "layer", "condition", "accuracy", "ci_low", "ci_high", "n", "floor"])
    typer.echo(out / "probes.png")


@analyze.command("steer")
def analyze_steer(
    checkpoint: CheckpointPath,
    out: Out,
    probes: Annotated[
        Path | None,
        typer.Option(help="Saved linear probes of the judgement; fitted now if not given."),
    ] = None,
    alpha: Annotated[
        list[float] | None, typer.Option(help="Several; the paper's 0.5, 1 and 2 by default.")
    ] = None,
    task: Task = None,
    config: Scenes = None,
    split: Annotated[str, typer.Option(help="Split to steer.")] = "test",
    n_train: TrainScenes = 4000,
    n: Count = 400,
    compat: Compat = "corrected",
    seed: int = 0,
):
    """Does the model use what the probe reads? Push pairs along its direction and watch the answer.

    Example: relvit analyze steer runs/quick/seed0/training/model --probes runs/probes/judgement --out runs/steering
    """
    from ..analysis.probes import ProbeConfig, Probes, fit_probes
    from ..analysis.steering import SteeringConfig, steer
    from ..modeling.checkpoints import Checkpoint

    settings = SteeringConfig(tuple(alpha) if alpha else SteeringConfig.alphas)
    found = Probes.load(probes) if probes is not None else None
    opened = Checkpoint.open(checkpoint, device="auto")
    distribution = opened.distribution(task, config, seed=seed)
    train = distribution.sample("train", n_train)
    scenes = distribution.sample(split, n)
    if found is None:
        fitted = ProbeConfig(compat=compat, seed=seed)
        found = fit_probes(opened, train, scenes, fitted, progress=True)
        found.save(out / "judgement")
    steering = steer(opened, found, scenes, settings, progress=True)
    _keep(steering, out, "steering")
    columns = [
        "pair",
        "layer",
        "alpha",
        "condition",
        "accuracy",
        "ci_low",
        "ci_high",
        "n",
        "base_accuracy",
        "floor",
    ]
    _table(steering.frame, [*columns, "relative_norm"])
    typer.echo(out / "steering.png")


@analyze.command("correlation")
def analyze_correlation(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Folders of studies or of their runs; or a table (.csv, .parquet)."),
    ],
    out: Out,
    seed: int = 0,
):
    """Do models that hold shape and color apart generalize better? Over many runs, with intervals.

    A table needs the columns run, disentanglement, split and accuracy; group (the kind of model) is optional.

    Example: relvit analyze correlation runs/quick runs/small runs/clip --out runs/correlation
    """
    from ..analysis.correlation import correlate
    from ..report.collect import collect

    correlation = correlate(collect(runs), seed=seed)
    _keep(correlation, out, "correlation")
    _table(
        correlation.frame,
        [
            "split",
            "measure",
            "value",
            "ci_low",
            "ci_high",
            "n",
            "groups",
            "loo_low",
            "loo_high",
            "loo_group",
        ],
    )
    for warning in dict.fromkeys(correlation.frame.warning[correlation.frame.warning != ""]):
        typer.echo(f"warning: {warning}")
    typer.echo(out / "correlation.png")


def _alignment_folders(folder: Path) -> list[Path]:
    """The folder itself if it is an alignment, else those in it."""
    from ..errors import RelViTError

    found = sorted(
        path.parent for path in [*folder.glob("alignment.json"), *folder.glob("*/alignment.json")]
    )
    if not found:
        raise RelViTError(
            f"no alignments in {folder}: expected one, or a folder of them, as `relvit study run` makes in "
            "RUN/das and `relvit analyze das` one by one"
        )
    return found


def _keep(result, out: Path, name: str) -> None:
    """The result's files and its figure."""
    result.save(out)
    for kind in ("png", "svg"):
        result.plot(out / f"{name}.{kind}")


def _table(frame, columns: list[str]) -> None:
    typer.echo(frame[columns].round(3).to_string(index=False))
