"""`relvit analyze`: measurements on a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Checkpoint, Count, Out, Scenes, Task, scenes_of

analyze = typer.Typer(help="Measurements on a checkpoint.", no_args_is_help=True)
TrainScenes = Annotated[int, typer.Option(help="Scenes to fit probes on; the paper takes 4000.", min=1)]
Compat = Annotated[str, typer.Option(help="corrected, or official for the original's quirks.")]
CacheGb = Annotated[float, typer.Option(help="Memory for activations; the rest goes to disk.")]


@analyze.command("attention")
def analyze_attention(
    checkpoint: Checkpoint,
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
    from ..analysis.attention import AttentionConfig, attention_stages, save_viewer
    from ..modeling.processing import load_checkpoint
    from ..stimuli.scenes import sample

    model, processor = load_checkpoint(checkpoint, device="auto")
    if data is None:
        task, _, geometry, combinations = scenes_of(model, task, config)
        scenes = sample(task, geometry, split, n, combinations=combinations, seed=seed)
    else:
        from ..study.photorealistic import open_set

        scenes = open_set(data, config).pairs(model.config.geometry)[:n]
    stages = attention_stages(model, processor, scenes, AttentionConfig(compat), progress=True)
    stages.save(out)
    for kind in ("png", "svg"):
        stages.plot(out / f"attention.{kind}")
    if data is None:
        save_viewer(model, processor, scenes, stages, out / "viewer.png")
    for name, value in stages.scores.items():
        typer.echo(f"{name:26} {value:.3f}")
    typer.echo(out / "attention.png")


@analyze.command("das")
def analyze_das(
    checkpoint: Checkpoint,
    out: Out,
    layer: Annotated[list[int] | None, typer.Option(help="Block, from 0; repeat for several, all by default.")] = None,
    prop: Annotated[str, typer.Option("--property", help="shape or color.")] = "color",
    task: Task = None,
    config: Scenes = None,
    split: Annotated[str, typer.Option(help="Split to score on.")] = "test",
    pairs: Annotated[int, typer.Option(help="Pairs to learn on; the paper takes 2000.")] = 2000,
    test_pairs: Annotated[int, typer.Option(help="Pairs to score on.")] = 1000,
    epochs: int = 20,
    method: Annotated[str, typer.Option(help="das, identity, boundless or full_swap.")] = "das",
    cache_gb: Annotated[float, typer.Option(help="Memory for activations; the rest goes to disk.")] = 8.0,
    seed: int = 0,
):
    """Find the subspaces that carry a property, and how well swapping them changes the answer.

    Example: relvit analyze das runs/quick/seed0/training/model --property color --out runs/das
    """
    import pandas as pd

    from ..analysis.activations import Site, blocks
    from ..analysis.causal_figures import alignment_figure
    from ..analysis.das import DASConfig, fit_alignment, score_alignment
    from ..analysis.figures import save_figure
    from ..analysis.interchange import pair_residuals
    from ..modeling.processing import load_checkpoint
    from ..provenance import whole_file
    from ..stimuli.counterfactuals import sample_counterfactuals
    from ..training.run import computes_bf16

    model, processor = load_checkpoint(checkpoint, device="auto")
    task, _, geometry, combinations = scenes_of(model, task, config)
    layers = list(range(len(blocks(model)))) if layer is None else layer
    captured = {}
    for where, n in (("train", pairs), (split, test_pairs)):
        drawn = sample_counterfactuals(task, geometry, prop, where, n, combinations=combinations, seed=seed)
        sites = [Site("resid_post", number) for number in layers]
        captured[where] = pair_residuals(model, processor, drawn, sites, cache_gb=cache_gb / 2, progress=where)
    frames = []
    for number in layers:
        settings = DASConfig(number, method=method, epochs=epochs, seed=seed, bf16=computes_bf16())
        alignment = fit_alignment(model, processor, captured["train"], settings, progress=True)
        alignment.save_pretrained(out / f"{prop}-{number}")
        frames += [
            score_alignment(model, processor, alignment, captured[split], control)
            for control in (None, "wrong_object")
        ]
    table = pd.concat(frames, ignore_index=True).assign(weights="trained")
    with whole_file(out / "scores.parquet") as temporary:
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
    checkpoint: Checkpoint,
    alignments: Annotated[Path, typer.Option(help="An alignment, or a folder of them, such as that of a study.")],
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
    from ..analysis.novel import Novel, NovelConfig, novel_representations
    from ..modeling.processing import load_checkpoint
    from ..stimuli.counterfactuals import PROPERTIES, sample_counterfactuals

    opened = [Alignment.from_pretrained(folder) for folder in _alignment_folders(alignments)]
    model, processor = load_checkpoint(checkpoint, device="auto")
    task, _, geometry, combinations = scenes_of(model, task, config)
    frames, facts = [], {}
    for prop in [prop for prop in PROPERTIES if any(alignment.property == prop for alignment in opened)]:
        vectors, test = (
            sample_counterfactuals(task, geometry, prop, where, n, combinations=combinations, seed=seed)
            for where, n in (("validation", bank), (split, pairs))
        )
        of = [alignment for alignment in opened if alignment.property == prop]
        settings = NovelConfig(compat=compat, seed=seed)
        result = novel_representations(model, processor, of, vectors, test, settings, progress=True)
        frames.append(result.frame)
        facts[prop] = result.facts
    novel = Novel(pd.concat(frames, ignore_index=True), facts)
    _keep(novel, out, "novel")
    rows = novel.frame[(novel.frame.condition == "all") & (novel.frame.baseline == "subspace")]
    _table(rows, ["property", "layer", "method", "accuracy", "ci_low", "ci_high", "n", "base_accuracy", "floor"])
    typer.echo(f"the other baselines and both directions: {out / 'novel.parquet'}")


@analyze.command("probe")
def analyze_probe(
    checkpoint: Checkpoint,
    out: Out,
    target: Annotated[
        list[str] | None, typer.Option(help="Several: judgement, shape, color, object, same_object.")
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

    from ..analysis.causal_figures import probe_figure
    from ..analysis.figures import save_figure
    from ..analysis.probes import ProbeConfig, fit_probes
    from ..analysis.readouts import object_states
    from ..modeling.processing import load_checkpoint
    from ..stimuli.scenes import sample

    targets = target or (["judgement"] if form == "quadratic" else ["judgement", "shape", "color"])
    settings = [
        ProbeConfig(t, form, compat=compat, epochs=epochs, seed=seed, cache_gb=cache_gb) for t in targets
    ]  # all checked before the first one is fitted
    model, processor = load_checkpoint(checkpoint, device="auto")
    task, _, geometry, combinations = scenes_of(model, task, config)
    train, test = (
        object_states(
            model,
            processor,
            sample(task, geometry, where, size, combinations=combinations, seed=seed),
            layer,
            compat=compat,
            cache_gb=cache_gb / 2,
            progress=f"{where} scenes",
        )
        for where, size in (("train", n_train), (split, n))
    )
    frames = []
    for one in settings:
        probes = fit_probes(model, processor, train, test, one, layers=layer, progress=True)
        probes.save(out / one.target)
        frames.append(probes.frame)
    frame = pd.concat(frames, ignore_index=True)
    for kind in ("png", "svg"):
        save_figure(probe_figure(frame), out / f"probes.{kind}")
    _table(frame, ["target", "layer", "condition", "accuracy", "ci_low", "ci_high", "n", "floor"])
    typer.echo(out / "probes.png")


@analyze.command("steer")
def analyze_steer(
    checkpoint: Checkpoint,
    out: Out,
    probes: Annotated[
        Path | None, typer.Option(help="Saved linear probes of the judgement; fitted now if not given.")
    ] = None,
    alpha: Annotated[list[float] | None, typer.Option(help="Several; the paper's 0.5, 1 and 2 by default.")] = None,
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
    from ..modeling.processing import load_checkpoint
    from ..stimuli.scenes import sample

    settings = SteeringConfig(tuple(alpha) if alpha else SteeringConfig.alphas)
    found = Probes.load(probes) if probes is not None else None
    model, processor = load_checkpoint(checkpoint, device="auto")
    task, _, geometry, combinations = scenes_of(model, task, config)
    train, scenes = (
        sample(task, geometry, where, size, combinations=combinations, seed=seed)
        for where, size in (("train", n_train), (split, n))
    )
    if found is None:
        fitted = ProbeConfig(compat=compat, seed=seed)
        found = fit_probes(model, processor, train, scenes, fitted, progress=True)
        found.save(out / "judgement")
    steering = steer(model, processor, found, scenes, settings, progress=True)
    _keep(steering, out, "steering")
    columns = ["pair", "layer", "alpha", "condition", "accuracy", "ci_low", "ci_high", "n", "base_accuracy", "floor"]
    _table(steering.frame, [*columns, "relative_norm"])
    typer.echo(out / "steering.png")


@analyze.command("correlation")
def analyze_correlation(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of studies or of their runs; or a table (.csv, .parquet).")
    ],
    out: Out,
    seed: int = 0,
):
    """Do models that hold shape and color apart generalize better? Over many runs, with intervals.

    A table needs the columns run, disentanglement, split and accuracy; group (the kind of model) is optional.

    Example: relvit analyze correlation runs/quick runs/small runs/clip --out runs/correlation
    """
    from ..analysis.correlation import correlate
    from ..study.collect import collect

    correlation = correlate(collect(runs), seed=seed)
    _keep(correlation, out, "correlation")
    _table(
        correlation.frame,
        ["split", "measure", "value", "ci_low", "ci_high", "n", "groups", "loo_low", "loo_high", "loo_group"],
    )
    for warning in dict.fromkeys(correlation.frame.warning[correlation.frame.warning != ""]):
        typer.echo(f"warning: {warning}")
    typer.echo(out / "correlation.png")


def _alignment_folders(folder: Path) -> list[Path]:
    """The folder itself if it is an alignment, else those in it."""
    from ..errors import RelViTError

    found = sorted(path.parent for path in [*folder.glob("alignment.json"), *folder.glob("*/alignment.json")])
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
