"""The causal cells of a run: the recipes with the sizes of its study."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

from ..analysis.align import check_layers
from ..modeling.checkpoint_errors import open_backbone_config
from ..recipes.recipe import Part, Recipe, Subject
from ..recipes.recipes import RECIPES, fits
from ..report.run_folder import TRAINING, RunFolder
from ..training.config import TrainConfig
from ..training.resolved import scratch_backbone
from .cell import Cell
from .grid import CausalConfig


def causal_cells(config: TrainConfig, causal: CausalConfig, run: Path) -> list[Cell]:
    """The cells of a run beyond attention, in the order of their needs; ``run`` is its folder.

    Analyses that the task cannot have are left out: swaps need counterfactual pairs, and equally many tokens of
    every object. The report says so.
    """
    subject = Subject(
        run,
        config.distribution(),
        study_layers(config, causal),
        causal,
        config.seed,
        RunFolder(run).checkpoint,
        causal.settings,
    )
    cells = []
    for name, recipe in RECIPES.items():
        if name in causal.analyses and fits(recipe, config.task, config.geometry):
            settings = _settings(config, causal, recipe)
            for part in recipe.parts(subject):
                needs = (TRAINING, *part.needs)
                cells.append(Cell(part.cell, partial(_do, part), needs, settings))
    return cells


def _do(part: Part, folder: Path) -> None:
    part.run().save(folder)


def _settings(config: TrainConfig, causal: CausalConfig, recipe: Recipe) -> dict[str, Any]:
    """All that the results of a recipe depend on."""
    depth = dataclasses.asdict(causal)
    given = depth.pop("settings")
    del depth["cache_gb"], depth["analyses"]  # no result depends on them
    if causal.method == "das":  # the only method of the first version, whose cells do not name it
        del depth["method"]
    own = {name: given[name] for name in (*recipe.needs, recipe.name) if given.get(name)}
    if own:
        depth["settings"] = own
    return {**config.to_dict(), "causal": depth}


def study_layers(config: TrainConfig, causal: CausalConfig) -> list[int]:
    """The blocks to look at: those of the study, or all that the backbone has."""
    depth = _depth(config)
    layers = range(depth) if causal.layers is None else causal.layers
    return check_layers(layers, depth)


def _depth(config: TrainConfig) -> int:
    backbone = config.backbone
    if isinstance(backbone, dict):
        return scratch_backbone(backbone, config.distribution().geometry).num_hidden_layers
    origin = open_backbone_config(backbone)
    return getattr(origin, "vision_config", origin).num_hidden_layers
