"""From a preset or a grid to a report, cell by cell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..geometry import geometry as scene_geometry
from ..provenance import provenance, whole_file, write_json
from ..training.config import TrainConfig
from .cells import run_cell
from .plan import Run, Study

ATTENTION_SCENES = 500  # the paper's: 250 same, 250 different


def run_study(study: Study, out: Path, *, say: Callable[[str], object] = print) -> Path:
    """Do the cells that are not done yet, then write the report.

    Each run has a folder of its own, with a folder for each cell: ``data``, ``training``, ``evaluation``,
    ``attention`` and the causal ones (``study.causal``). A cell is finished or not there; see ``cells.run_cell``.

    Args:
        study: of ``plan.plan``.
        out: folder of the study.
        say: is told what happens.

    Returns:
        The path of ``report.html``.

    Raises:
        RelViTError: ``out`` holds cells of other settings.
    """
    out = Path(out)
    for run in study.runs:
        where = f"{run.name}, " if len(study.runs) > 1 else ""
        cells = cells_of(run, study, out / run.name)
        for i, (name, (settings, work)) in enumerate(cells.items(), 1):
            heading = f"[{where}{i}/{len(cells)}] {name}"

            def announced(folder: Path, work=work, heading=heading) -> None:
                say(f"{heading} ...")
                work(folder)

            if not run_cell(out / run.name / name, settings, announced):
                say(f"{heading}: finished before")
    say("report ...")
    from .report import write_report

    return write_report(study, out)


def cells_of(run: Run, study: Study, folder: Path) -> dict[str, tuple[dict, Callable[[Path], object]]]:
    """The cells of a run in the order of their needs: name -> (settings, work)."""
    settings = run.config.to_dict()
    first: dict[str, Callable[[TrainConfig, Path], None]] = {
        "data": _data,
        "training": _training,
        "evaluation": _evaluation,
        "attention": _attention,
    }
    cells: dict[str, tuple[dict, Callable[[Path], object]]] = {
        name: (settings, lambda cell, work=work: work(run.config, cell)) for name, work in first.items()
    }
    if study.causal is not None:
        from .causal import causal_cells

        cells |= causal_cells(run.config, study.causal, folder)
    return cells


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

    model, processor = _checkpoint(folder)
    objects = config.open_objects()
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
