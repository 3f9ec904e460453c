"""`relvit analyze` and the cells of a study are one recipe: the same columns, and every control of the study."""

from __future__ import annotations

import pandas as pd
import pytest

from hf_relvit import cli
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.recipes.alignment import ALIGNMENT, RANDOM_ALIGNMENT
from hf_relvit.recipes.knockout import KNOCKOUT
from hf_relvit.recipes.novel import NOVEL
from hf_relvit.recipes.probes import PROBES
from hf_relvit.recipes.recipe import Sizes, Subject
from hf_relvit.recipes.recipes import RECIPES
from hf_relvit.recipes.steering import STEERING
from hf_relvit.training.config import TrainConfig, vit
from hf_relvit.training.run import build_model

EVERY_CONTROL = {
    "replacements": ("mean", "noise", "other_image"),
    "unmapped": ("position", "jitter", "noise", "other_object"),
    "shuffled": True,
}
"""Those of an alignment that `relvit analyze das` scores, and a study where its settings name them."""
COMMANDS = {
    ("das", "--property", "color", "--layer", 1, "--pairs", 16, "--test-pairs", 8, "--epochs", 1): (
        (ALIGNMENT, RANDOM_ALIGNMENT),
        ("score", "control", "weights", "condition", "split"),
    ),
    ("novel", "--alignments", "das/color-1", "--bank", 16, "--pairs", 16): (
        (NOVEL,),
        ("method", "baseline", "condition"),
    ),
    ("probe", "--train-scenes", 32, "--scenes", 16): ((PROBES,), ("condition",)),
    ("steer", "--scenes", 16): ((STEERING,), ("condition", "pair")),
    ("knockout", "--heads", 1, "--draws", 1, "--scenes", 16): (
        (KNOCKOUT,),
        ("kind", "heads", "replacement", "condition"),
    ),
}
"""Command -> the recipes that make its rows in a study, and the columns that name its conditions and controls."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with the cells of all recipes: a study's own settings, and one with every control."""
    folder = tmp_path_factory.mktemp("run")
    config = TrainConfig(backbone=vit(2, 32, 2) | {"initializer_range": 0.3}, combinations=32)
    checkpoint = Checkpoint(*build_model(config))
    checkpoint.save(folder / "model")
    sizes = Sizes(pairs=16, test_pairs=8, epochs=1, scenes=32, test_scenes=16)
    settings = {
        "das": EVERY_CONTROL,
        "das_random": EVERY_CONTROL,
        "knockout": {"heads": 1, "draws": 1},
    }
    distribution = checkpoint.distribution()
    for name, given in (("usual", {"knockout": settings["knockout"]}), ("every", settings)):
        subject = Subject(
            folder / name, distribution, [1], sizes, 0, lambda: checkpoint, settings=given
        )
        for recipe in RECIPES.values():
            for part in recipe.parts(subject):
                part.run().save(folder / name / part.cell)
    return folder


def rows_of(folder, recipes):
    """The rows of a study's cells."""
    tables = []
    for recipe in recipes:
        cells = f"{recipe.name}/**/*.parquet" if recipe.name != "das" else "das/color-1/*.parquet"
        tables += [pd.read_parquet(file) for file in sorted(folder.glob(cells))]
    return pd.concat(tables, ignore_index=True)


def conditions(table, names):
    return set(table[[*names]].itertuples(index=False, name=None))


@pytest.mark.long
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_command_has_the_columns_and_all_controls_of_a_study(run, tmp_path, command):
    name, *arguments = command
    recipes, keys = COMMANDS[command]
    arguments = [run / "every" / value if value == "das/color-1" else value for value in arguments]
    words = ["analyze", name, run / "model", *arguments, "--out", tmp_path / "out"]
    with pytest.raises(SystemExit) as end:
        cli.main([str(word) for word in words])
    assert end.value.code == 0
    file = {"das": "scores.parquet", "probe": "*/probes.parquet"}.get(name, "*.parquet")
    made = pd.concat([pd.read_parquet(each) for each in (tmp_path / "out").glob(file)])
    usual = rows_of(run / "usual", recipes)
    every = rows_of(run / "every", recipes)
    assert set(made.columns) == set(usual.columns) == set(every.columns)
    assert conditions(usual, keys) <= conditions(made, keys)
    assert conditions(every, keys) == conditions(made, keys)
