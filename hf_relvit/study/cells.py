"""Which cells a run has, in the order of their needs, and the work of the first four."""

from __future__ import annotations

import dataclasses
import os
from functools import partial
from pathlib import Path

from ..report.run_folder import (
    ATTENTION,
    DATA,
    EVALUATION,
    TRAINING,
    RunFolder,
    write_accuracy,
)
from ..training.config import TrainConfig
from .cell import Cell
from .grid import Run, Study

ATTENTION_SCENES = 500  # the paper's: 250 same, 250 different


def cells_of(plan: Run, study: Study, folder: Path) -> list[Cell]:
    """The cells of a run in the order of their needs; ``folder`` is the run's."""
    config = plan.config
    run = RunFolder(folder)
    cells = [
        Cell(DATA, partial(_data, config)),
        Cell(TRAINING, partial(_training, config)),
        Cell(EVALUATION, partial(_evaluation, config, run), (DATA, TRAINING)),
        Cell(ATTENTION, partial(_attention, config, run), (TRAINING,)),
    ]
    cells = [dataclasses.replace(cell, settings=config.to_dict()) for cell in cells]
    if study.photorealistic is not None:
        from .photorealistic import photorealistic_cells

        cells += photorealistic_cells(config, study.photorealistic, folder)
    if study.causal is not None:
        from .causal import causal_cells

        cells += causal_cells(config, study.causal, folder)
    return cells


def _data(config: TrainConfig, folder: Path) -> None:
    from ..building.build import build
    from ..building.settings import BuildConfig

    cores = os.cpu_count() or 1
    processes = min(cores // 2, config.n_eval // 500)  # does not change the rows
    settings = BuildConfig(
        config.task,
        f"{config.styled_geometry}-{config.combinations}",
        n_train=config.n_eval if config.fresh else config.n_train,
        n_eval=config.n_eval,
        seed=config.seed,
        masks=config.objects,
        palette=config.palette,
    )
    build(settings, folder, processes=max(processes, 1))


def _training(config: TrainConfig, folder: Path) -> None:
    from ..report.card import write_training_card
    from ..training.run import train

    write_training_card(train(config, folder))


def _evaluation(config: TrainConfig, run: RunFolder, folder: Path) -> None:
    from ..building.dataset_folder import open_folder
    from ..training.evaluation import evaluate
    from ..training.precision import training_autocast

    checkpoint = run.checkpoint()
    splits = open_folder(run.cell(DATA), f"{config.styled_geometry}-{config.combinations}")
    tests = {split: scenes for split, scenes in splits.items() if split != "train"}
    with training_autocast(config):
        table = evaluate(checkpoint, tests, progress=True)
    write_accuracy(folder, table, seed=config.seed, processor=checkpoint.processor.fingerprint)


def _attention(config: TrainConfig, run: RunFolder, folder: Path) -> None:
    from ..analysis.attention import measure_attention, save_viewer
    from ..training.precision import training_autocast

    checkpoint = run.checkpoint()
    scenes = config.distribution().sample("test", ATTENTION_SCENES)
    with training_autocast(config):
        stages = measure_attention(checkpoint, scenes, progress=True)
    stages.save(folder)
    stages.plot(folder / "attention")
    save_viewer(checkpoint, scenes, stages, folder / run.viewer.name)
