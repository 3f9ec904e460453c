"""From a preset to a report: data, training, evaluation, attention stages, report.html."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..geometry import geometry as scene_geometry
from ..provenance import provenance, read_json, whole_file, write_json
from ..training.config import TrainConfig, resolve
from .cells import run_cell

ATTENTION_SCENES = 500  # the paper's: 250 same, 250 different


def run_study(
    preset: str, out: Path, *, file: Path | None = None, say: Callable[[str], object] = print, **overrides
) -> Path:
    """Run what is not finished yet, then write the report.

    Args:
        preset: of ``training.config.PRESETS``.
        out: folder with a cell for each step: ``data``, ``training``, ``evaluation``, ``attention``.
        file: YAML file of settings; ``overrides`` override it.
        say: is told what happens.

    Returns:
        The path of ``report.html``.

    Raises:
        RelViTError: bad settings, or ``out`` holds a study of other settings.
    """
    config = resolve(preset, file, **overrides)
    out = Path(out)
    settings = config.to_dict()
    cells = {"data": _data, "training": _training, "evaluation": _evaluation, "attention": _attention}
    for i, (name, work) in enumerate(cells.items(), 1):
        heading = f"[{i}/5] {name}"

        def announced(folder: Path, work=work, heading=heading) -> None:
            say(f"{heading} ...")
            work(config, folder)

        if not run_cell(out / name, settings, announced):
            say(f"{heading}: finished before")
    say("[5/5] report ...")
    from .report import write_report

    return write_report(out, preset, config)


def _data(config: TrainConfig, folder: Path) -> None:
    from ..dataset_builders.build import build  # pyright: ignore[reportMissingImports]

    build(
        config.task,
        f"{config.geometry}-{config.combinations}",
        folder,
        n_train=config.n_eval if config.fresh else config.n_train,
        n_eval=config.n_eval,
        seed=config.seed,
        num_proc=1,
        masks=config.objects,
        palette=config.palette,
    )


def _training(config: TrainConfig, folder: Path) -> None:
    from ..training.run import train

    train(config, folder)


def _checkpoint(folder: Path):
    from ..modeling.processing import load_checkpoint

    return load_checkpoint(str(folder.parent / "training" / "model"))


def _evaluation(config: TrainConfig, folder: Path) -> None:
    from ..dataset_builders.build import open_folder  # pyright: ignore[reportMissingImports]
    from ..training.evaluation import evaluate

    model, processor = _checkpoint(folder)
    splits = open_folder(folder.parent / "data", f"{config.geometry}-{config.combinations}")
    table = evaluate(model, processor, {k: v for k, v in splits.items() if k != "train"}, progress=True)
    with whole_file(folder / "accuracy.parquet") as temporary:
        table.to_parquet(temporary)
    write_json(folder / "provenance.json", provenance(seed=config.seed, processor=model.config.processor_fingerprint))


def _attention(config: TrainConfig, folder: Path) -> None:
    from ..analysis.attention import attention_stages, save_viewer
    from ..stimuli.scenes import sample
    from ..training.run import object_set

    model, processor = _checkpoint(folder)
    objects = object_set(config)
    scenes = sample(
        config.task,
        scene_geometry(config.geometry),
        "test",
        ATTENTION_SCENES,
        combinations=config.combinations,
        seed=config.seed,
        objects=objects,
    )
    stages = attention_stages(model, processor, scenes, objects=objects, progress=True)
    stages.save(folder)
    for kind in ("png", "svg"):
        stages.plot(folder / f"attention.{kind}")
    save_viewer(model, processor, scenes, stages, folder / "viewer.png", objects=objects)


def finished(out: Path) -> dict:
    """The settings of the study in a folder."""
    return read_json(Path(out) / "training" / "config.json")
