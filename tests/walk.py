"""Every command of the command line, found in the app, and arguments with which a test can afford to run it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from own_folder import image_folder
from tiny import TINY
from typer.main import get_command

from hf_relvit import cli
from hf_relvit.building.build import build
from hf_relvit.building.settings import BuildConfig
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.training.config import TrainConfig, vit
from hf_relvit.training.run import build_model


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(words of the command, the command) of all commands below a group."""
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))
    if not hasattr(group, "commands"):
        yield path, group


COMMANDS = dict(commands(get_command(cli.app)))
READING = {
    ("env",),
    ("study", "plan"),  # --out is the folder that it looks at
    ("push",),
    ("release",),
    ("data", "push"),
    ("space", "push"),
}
"""Commands that write nothing on this machine."""
SERVING = {("demo",)}
"""Commands that go on until they are stopped."""
WRITING = sorted(COMMANDS.keys() - READING - SERVING)
FILES = {
    ("evaluate",): "table.parquet",
    ("data", "preview"): "sheet.png",
    ("data", "check"): "check.png",
}
"""Commands whose --out is a file, and a name for it."""

SMALL = dict(images=32, batch_size=16, n_eval=32, warmup_steps=1, evaluations=1, combinations=32)
LAYER = ["--layer", "1"]
PAIRS = ["--pairs", "8", "--test-pairs", "8", "--epochs", "1", *LAYER]
PROBES = ["--train-scenes", "32", "--scenes", "16", "--epochs", "1", *LAYER]


def prepare(folder: Path) -> dict[tuple[str, ...], list[str]]:
    """Arguments of the commands that write, all but --out; what they read is made in ``folder``."""
    settings = folder / "tiny.yaml"
    settings.write_text(yaml.safe_dump({**TINY, **SMALL}))
    spread = vit(2, 32, 2) | {"initializer_range": 0.3}
    torch.manual_seed(0)
    built = build_model(TrainConfig(backbone=spread, combinations=32))
    checkpoint = str(folder / "model")
    Checkpoint(*built).save(checkpoint)
    (folder / "runs.csv").write_text(
        "run,disentanglement,split,accuracy\na,.1,test,.5\nb,.2,test,.7\nc,.3,test,.6\n"
    )
    study = ["study", "run", "quick", "--settings", str(settings), "--no-causal"]
    run_quietly([*study, "--out", str(folder / "study")])
    build(BuildConfig("photorealistic", "tiny"), folder / "photorealistic", say=str)
    das = ["analyze", "das", checkpoint, "--property", "color", *PAIRS]
    run_quietly([*das, "--out", str(folder / "das")])
    measure = [
        "measure",
        checkpoint,
        "--train-scenes",
        "32",
        "--validation-scenes",
        "16",
        "--scenes",
    ]
    measure += ["16", "--attention-scenes", "4", "--draws", "5", "--combinations", "32"]
    run_quietly([*measure, "--out", str(folder / "battery")])
    export = ["people", "export", "rmts", "--config", "quick-32", "--scenes", "4"]
    run_quietly([*export, "--out", str(folder / "experiment")])
    answers = folder / "answers.csv"
    rows = [f"ada,{row},same,500" for row in range(4)]
    answers.write_text("\n".join(["participant,row,answer,rt", *rows]))
    photos = ["--data", str(folder / "photorealistic")]
    built_in = ["rmts", "--config", "quick-32"]
    return {
        ("train",): ["train", "quick", "--settings", str(settings)],
        ("evaluate",): ["evaluate", checkpoint, "-n", "16"],
        ("diagnose",): ["diagnose", checkpoint, "--pairs", "8", "--scenes", "16", *LAYER]
        + ["--test-pairs", "8", "--train-scenes", "32", "--epochs", "1"],
        ("study", "run"): study,
        ("tour",): ["tour", str(folder / "study" / "seed0"), "--scenes", "8"],
        ("study", "compact"): ["study", "compact", str(folder / "study" / "seed0")],
        ("data", "build"): ["data", "build", *built_in, "--n-train", "8", "--n-eval", "8"]
        + ["--processes", "1"],
        ("data", "preview"): ["data", "preview", *built_in, "-n", "4"],
        ("data", "check"): ["data", "check", str(image_folder(folder / "own"))]
        + ["--image-size", "64", "--patch-size", "8"],
        ("data", "import"): ["data", "import", str(folder / "own"), "--split", "train"],
        ("measure",): measure,
        ("board",): ["board", str(folder / "battery" / "record.jsonl")],
        ("people", "export"): [*export, "--practice", "4"],
        ("people", "compare"): ["people", "compare", str(folder / "experiment"), str(answers)]
        + ["--model", checkpoint],
        ("hub", "compare"): ["hub", "compare", str(folder / "study" / "seed0")],
        ("analyze", "attention"): ["analyze", "attention", checkpoint, "--scenes", "8"],
        ("analyze", "das"): das,
        ("analyze", "novel"): ["analyze", "novel", checkpoint, "--pairs", "8", "--bank", "8"]
        + ["--alignments", str(folder / "das")],
        ("analyze", "probe"): ["analyze", "probe", checkpoint, *PROBES],
        ("analyze", "steer"): ["analyze", "steer", checkpoint, "--scenes", "16", *LAYER]
        + ["--train-scenes", "32", "--epochs", "1"],
        ("analyze", "knockout"): ["analyze", "knockout", checkpoint, "--scenes", "8"]
        + ["--heads", "1", "--draws", "1", "--replacement", "mean"],
        ("analyze", "correlation"): ["analyze", "correlation", str(folder / "runs.csv")],
        ("analyze", "frozen"): ["analyze", "frozen", checkpoint, *photos],
    }


def run_quietly(arguments: list[str]) -> int:
    """The exit code of a command."""
    try:
        cli.main(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    raise AssertionError("a command that does not exit")


def snapshot(folder: Path) -> dict[str, bytes]:
    """The files below a folder, by name."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def strangers(folder: Path, names: list[str]) -> dict[str, bytes]:
    """Put files of somebody else into a folder; what is there then."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"mine: {name}".encode())
    return snapshot(folder)
