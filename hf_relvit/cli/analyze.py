"""`relvit analyze`: measurements on a checkpoint."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import Checkpoint, Count, Out, Scenes, Task, scenes_of

analyze = typer.Typer(help="Measurements on a checkpoint.", no_args_is_help=True)


@analyze.command("attention")
def analyze_attention(
    checkpoint: Checkpoint,
    out: Out,
    task: Task = None,
    config: Scenes = None,
    split: str = "test",
    n: Count = 500,
    seed: int = 0,
    compat: Annotated[str, typer.Option(help="corrected, or official for the original's quirks.")] = "corrected",
):
    """Attention stages: tables, heat map, line chart and a viewer of single heads.

    Example: relvit analyze attention runs/quick/seed0/training/model --out runs/quick/attention
    """
    from ..analysis.attention import AttentionConfig, attention_stages, save_viewer
    from ..modeling.processing import load_checkpoint
    from ..stimuli.scenes import sample

    model, processor = load_checkpoint(checkpoint)
    task, _, geometry, combinations = scenes_of(model, task, config)
    scenes = sample(task, geometry, split, n, combinations=combinations, seed=seed)
    stages = attention_stages(model, processor, scenes, AttentionConfig(compat), progress=True)
    stages.save(out)
    for kind in ("png", "svg"):
        stages.plot(out / f"attention.{kind}")
    save_viewer(model, processor, scenes, stages, out / "viewer.png")
    for name, value in stages.scores.items():
        typer.echo(f"{name:26} {value:.3f}")
    typer.echo(out / "attention.png")


@analyze.command("das")
def analyze_das(
    checkpoint: Checkpoint,
    out: Out,
    layer: Annotated[int, typer.Option(help="Block, from 0; the site is the residual stream after it.")],
    prop: Annotated[str, typer.Option("--property", help="shape or color.")] = "color",
    task: Task = None,
    config: Scenes = None,
    split: Annotated[str, typer.Option(help="Split to score on.")] = "test",
    pairs: Annotated[int, typer.Option(help="Pairs to learn on; the paper takes 2000.")] = 2000,
    test_pairs: Annotated[int, typer.Option(help="Pairs to score on.")] = 1000,
    epochs: int = 20,
    method: Annotated[str, typer.Option(help="das, identity, boundless or full_swap.")] = "das",
    cache_gb: Annotated[float, typer.Option(help="Memory for activations; the rest goes to disk.")] = 4.0,
    seed: int = 0,
):
    """Find the subspace that carries a property, and how well swapping it changes the answer.

    Example: relvit analyze das runs/quick/seed0/training/model --layer 0 --out runs/das
    """
    from ..analysis.das import DASConfig, fit_alignment, score_alignment
    from ..modeling.processing import load_checkpoint
    from ..provenance import whole_file
    from ..stimuli.counterfactuals import sample_counterfactuals

    model, processor = load_checkpoint(checkpoint)
    task, _, geometry, combinations = scenes_of(model, task, config)
    train, test = (
        sample_counterfactuals(task, geometry, prop, where, n, combinations=combinations, seed=seed)
        for where, n in (("train", pairs), (split, test_pairs))
    )
    settings = DASConfig(layer, method=method, epochs=epochs, seed=seed, cache_gb=cache_gb)
    alignment = fit_alignment(model, processor, train, settings, progress=True)
    alignment.save_pretrained(out)
    table = score_alignment(model, processor, alignment, test, cache_gb=cache_gb, progress=True)
    with whole_file(out / "scores.parquet") as temporary:
        table.to_parquet(temporary)
    columns = ["condition", "accuracy", "ci_low", "ci_high", "n", "base_accuracy", "floor", "divergence"]
    typer.echo(f"{alignment.size} of {alignment.width} directions\n{table[columns].round(3).to_string(index=False)}")
