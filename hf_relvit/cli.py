"""The `relvit` command. Each command imports what it needs when it runs, so that `--help` is immediate."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .errors import RelViTError

Out = Annotated[Path, typer.Option("--out", help="Folder for the results.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML file of settings; options override it.")]
Seed = Annotated[int | None, typer.Option(help="Of weights, scenes and their order.")]
Count = Annotated[int, typer.Option("-n", help="Scenes.", min=1)]
Masks = Annotated[Path | None, typer.Option(help="Folder of your own mask PNGs (black is object).")]
Palette = Annotated[Path | None, typer.Option(help="JSON file of your own colors.")]
Task = Annotated[str | None, typer.Option(help="discrimination or rmts; by default what the model was trained on.")]
Scenes = Annotated[str | None, typer.Option(help="GEOMETRY-COMBINATIONS; by default what the model was trained on.")]
Checkpoint = Annotated[str, typer.Argument(help="Checkpoint folder or Hub id.")]

INTERRUPTED = 130  # what typer makes of Ctrl-C

app = typer.Typer(
    help="How do vision transformers see relations between objects?\n\n"
    "Start here: relvit study run quick --out runs/quick",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data = typer.Typer(help="Stimulus sets: build, look at.", no_args_is_help=True)
analyze = typer.Typer(help="Measurements on a checkpoint.", no_args_is_help=True)
study = typer.Typer(help="Everything from stimuli to report.", no_args_is_help=True)
app.add_typer(data, name="data")
app.add_typer(analyze, name="analyze")
app.add_typer(study, name="study")


def _scenes(model, task: str | None, config: str | None):
    """Task, name, geometry and combinations of the scenes: what is given, else what the model was trained on."""
    from .geometry import parse_config

    known = model.config.scenes or {}
    task = task or known.get("task")
    if known and config is None:
        config = f"{known['geometry']}-{known['combinations']}"
    if not task or not config:
        raise RelViTError("the checkpoint does not say what it was trained on: name it with --task and --config")
    return task, config, *parse_config(config)


@data.command("build")
def data_build(
    task: Annotated[str, typer.Argument(help="discrimination or rmts.")],
    config: Annotated[str, typer.Option(help="GEOMETRY-COMBINATIONS, such as b16-32 or quick-256.")],
    out: Out,
    n_train: Annotated[int, typer.Option(help="Training scenes.")] = 6400,
    n_eval: Annotated[int, typer.Option(help="Scenes in each other split.")] = 6400,
    seed: int = 0,
    processes: Annotated[int, typer.Option(help="Worker processes.", min=1)] = 2,
    masks: Masks = None,
    palette: Palette = None,
):
    """Write a dataset folder (Parquet and card) that plain `load_dataset` opens.

    Example: relvit data build rmts --config b16-32 --out data/rmts
    """
    from .dataset_builders.build import build  # pyright: ignore[reportMissingImports]

    folder = build(
        task, config, out, n_train=n_train, n_eval=n_eval, seed=seed, num_proc=processes, masks=masks, palette=palette
    )
    typer.echo(f'{folder}\nopen it with: load_dataset("{out}", "{config}", split="test")')


@data.command("preview")
def data_preview(
    task: Annotated[str, typer.Argument(help="discrimination or rmts.")],
    config: Annotated[str, typer.Option(help="GEOMETRY-COMBINATIONS, such as b16-32 or quick-256.")],
    out: Annotated[Path, typer.Option("--out", help="PNG file.")] = Path("preview.png"),
    split: str = "train",
    n: Count = 16,
    seed: int = 0,
    masks: Masks = None,
    palette: Palette = None,
):
    """Draw a labelled contact sheet.

    Example: relvit data preview rmts --config b16-32 --split test_compositional
    """
    from .geometry import parse_config
    from .provenance import whole_file
    from .stimuli.objects import open_objects
    from .stimuli.preview import contact_sheet
    from .stimuli.scenes import sample

    objects = open_objects(masks, palette)
    geometry, combinations = parse_config(config)
    rounded = -(-n // 4) * 4
    scenes = sample(task, geometry, split, rounded, combinations=combinations, seed=seed, objects=objects)
    with whole_file(out) as temporary:
        contact_sheet(scenes[:n], objects).save(temporary, format="PNG")
    typer.echo(out)


@app.command()
def train(
    preset: Annotated[str, typer.Argument(help="quick, quick-rmts, small, b16, b14 or b32.")],
    out: Out,
    config: ConfigFile = None,
    task: Annotated[str | None, typer.Option(help="discrimination or rmts.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Folder or Hub id of a pretrained model.")] = None,
    combinations: Annotated[int | None, typer.Option(help="Training combinations of shape and color.")] = None,
    images: Annotated[int | None, typer.Option(help="Images seen in training.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak.")] = None,
    seed: Seed = None,
    report_to: Annotated[str | None, typer.Option(help="Any tracker of transformers, such as trackio.")] = None,
):
    """Fine-tune a backbone, or train one from scratch. An interrupted run goes on where it was.

    Every setting of docs/paper_index.md may stand in the file of --config.

    Example: relvit train b16 --backbone openai/clip-vit-base-patch16 --out runs/clip
    """
    from .training.config import resolve
    from .training.run import train as run

    overrides = dict(
        task=task,
        backbone=backbone,
        combinations=combinations,
        images=images,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        report_to=report_to,
    )
    typer.echo(f"checkpoint: {run(resolve(preset, config, **overrides), out)}")


@app.command()
def evaluate(
    checkpoint: Checkpoint,
    task: Task = None,
    config: Scenes = None,
    n: Count = 1024,
    seed: int = 0,
    out: Annotated[Path | None, typer.Option("--out", help="Parquet file for the table.")] = None,
    data_folder: Annotated[Path | None, typer.Option("--data", help="Folder of `relvit data build` to read.")] = None,
):
    """Accuracy on every split, with intervals, base accuracy and floor.

    Example: relvit evaluate runs/quick/seed0/training/model
    """
    from .modeling.processing import load_checkpoint
    from .provenance import whole_file
    from .study.tables import accuracy_text
    from .training import evaluation

    model, processor = load_checkpoint(checkpoint)
    task, config, geometry, combinations = _scenes(model, task, config)
    if data_folder is None:
        splits = evaluation.scene_splits(task, geometry, n, combinations=combinations, seed=seed)
    else:
        from .dataset_builders.build import open_folder  # pyright: ignore[reportMissingImports]

        splits = {name: rows for name, rows in open_folder(data_folder, config).items() if name != "train"}
    table = evaluation.evaluate(model, processor, splits, progress=True)
    if out is not None:
        with whole_file(out) as temporary:
            table.to_parquet(temporary)
    typer.echo(accuracy_text(table))


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
    from .analysis.attention import AttentionConfig, attention_stages, save_viewer
    from .modeling.processing import load_checkpoint
    from .stimuli.scenes import sample

    model, processor = load_checkpoint(checkpoint)
    task, _, geometry, combinations = _scenes(model, task, config)
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
    from .analysis.das import DASConfig, fit_alignment, score_alignment
    from .modeling.processing import load_checkpoint
    from .provenance import whole_file
    from .stimuli.counterfactuals import sample_counterfactuals

    model, processor = load_checkpoint(checkpoint)
    task, _, geometry, combinations = _scenes(model, task, config)
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


@study.command("run")
def study_run(
    study: Annotated[str, typer.Argument(help="A preset (quick, quick-rmts, small, b16, b14, b32) or a grid.yaml.")],
    out: Out,
    config: ConfigFile = None,
    images: Annotated[int | None, typer.Option(help="Images seen in training.")] = None,
    seed: Seed = None,
    seeds: Annotated[int, typer.Option(help="Runs of each setting, with seeds from --seed upwards.")] = 1,
    causal: Annotated[bool, typer.Option(help="Alignments, novel representations, probes, steering.")] = True,
):
    """Build, train, evaluate, analyze, write report.html. An interrupted study goes on where it was.

    Example: relvit study run quick --out runs/quick
    """
    from .study.plan import plan
    from .study.run import run_study

    planned = plan(study, seeds=seeds, file=config, causal=causal, images=images, seed=seed)
    report = run_study(planned, out, say=typer.echo)
    typer.echo(f"report: {report}")


@app.command()
def env():
    """Versions and machine, for bug reports."""
    from .provenance import provenance

    facts = provenance()
    for name, value in {**facts.pop("versions"), **facts}.items():
        typer.echo(f"{name:14} {value}")


def main(arguments: list[str] | None = None) -> None:
    """Run the command; bad input is one line and exit code 2, Ctrl-C is 130."""
    try:
        code = app(arguments, standalone_mode=False)
    except RelViTError as error:
        print(f"relvit: {error}", file=sys.stderr)
        code = 2
    except typer.TyperException as error:
        error.show()
        code = 2
    if code == INTERRUPTED:
        print("relvit: interrupted; what is finished is kept, run the same command to go on", file=sys.stderr)
    sys.exit(code or 0)
