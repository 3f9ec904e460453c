"""A split as an experiment for people: a folder with pictures and a page of jsPsych, which opens offline.

1. Draw scenes of a split, and some of the training split for practice; write their pictures.
2. Write ``experiment.json``, which draws the same scenes again, and ``index.html`` with the trials in it.
3. Every person answers in an order of their own and keeps ``answers-NAME.csv``: ``participant, row, answer, rt``.
4. ``read_answers`` reads such files and refuses whatever is not of this experiment.

jsPsych (de Leeuw, 2015; MIT license) lies beside the page. Nothing leaves the person's computer.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from ..errors import RelViTError
from ..files import atomic_write, write_json
from ..geometry import geometry
from ..limits import check_count
from ..schemas import ExperimentFacts, read_as
from ..stimuli.distribution import SceneDistribution
from ..stimuli.rendering import render
from ..stimuli.scenes import LABELS, SceneTable
from ..stimuli.tasks import task_of
from .pages import write_page

FACTS = "experiment.json"
PAGE = "index.html"
COLUMNS = ("participant", "row", "answer", "rt")
PICTURE = 448  # least side on the screen, pixels
MAX_BYTES = 5_000_000
"""Of a file of answers; one of 1,000 trials has 40 kB."""


@dataclass(frozen=True)
class ExperimentConfig:
    """Scenes and times of an experiment.

    Raises:
        RelViTError: a number below 1; no practice is 0.
    """

    split: str = "test"
    """Of the scenes."""
    scenes: int = 60
    """Trials; rounded up, so that all answers are equally frequent."""
    practice: int = 8
    """Trials before, with feedback, on scenes of the training split."""
    shown_ms: int | None = None
    """Milliseconds that a picture is shown; by default until the answer."""
    fixation_ms: int = 500
    """Milliseconds of the cross before each picture."""

    def __post_init__(self):
        check_count("scenes", self.scenes, least=1)
        check_count("practice", self.practice)
        check_count("fixation_ms", self.fixation_ms)
        if self.shown_ms is not None:
            check_count("shown_ms", self.shown_ms, least=1)


def write_experiment(distribution: SceneDistribution, config: ExperimentConfig, out: Path) -> Path:
    """Write the folder of an experiment; see the head of this module.

    Args:
        distribution: of the scenes, with the objects of this package.
        config: see ExperimentConfig.
        out: the folder.

    Returns:
        The path of the page.

    Raises:
        RelViTError: a split that does not exist.
    """
    scenes = _scenes(distribution, config.split, config.scenes)
    trials = {"practice": [], "test": _pictures(scenes, out, "test")}
    if config.practice:
        practice = _scenes(distribution, "train", config.practice)
        trials["practice"] = _pictures(practice, out, "practice")
    facts: ExperimentFacts = {
        "task": distribution.task,
        "geometry": distribution.geometry.name,
        "combinations": distribution.combinations,
        "seed": distribution.seed,
        "split": config.split,
        "scenes": len(scenes),
        "pictures": _fingerprint(scenes),
    }
    _copy_jspsych(out / "jspsych")
    task = task_of(distribution.task)
    page = write_page(
        out / PAGE,
        "experiment.html",
        title=task.question,
        lead=task.rule,
        answers=dict(zip(LABELS, task.answers)),
        times={"shown": config.shown_ms, "fixation": config.fixation_ms},
        side=_side(distribution.geometry.image_size),
        trials=trials,
        fingerprint=facts["pictures"],
    )
    write_json(out / FACTS, facts)
    return page


def _scenes(distribution: SceneDistribution, split: str, count: int) -> SceneTable:
    """At least so many scenes, as many of each answer."""
    balance = task_of(distribution.task).balance
    rounded = -(-count // balance) * balance
    return distribution.sample(split, rounded)


def _pictures(scenes: SceneTable, out: Path, kind: str) -> list[dict[str, Any]]:
    """Write a PNG file per scene; the trials, which name the right answer in practice alone."""
    (out / kind).mkdir(parents=True, exist_ok=True)
    trials = []
    for row, pixels in enumerate(render(scenes)):
        name = f"{kind}/{row:04}.png"
        with atomic_write(out / name) as temporary:
            Image.fromarray(pixels).save(temporary, format="PNG")
        trial: dict[str, Any] = {"row": row, "picture": name}
        if kind == "practice":
            trial["right"] = LABELS[scenes.label[row]]
        trials.append(trial)
    return trials


def _fingerprint(scenes: SceneTable) -> str:
    """Of the pixels of all pictures."""
    return hashlib.sha256(render(scenes).tobytes()).hexdigest()[:16]


def _side(pixels: int) -> int:
    """Side of a picture on the screen: a whole multiple of its pixels."""
    return -(-PICTURE // pixels) * pixels


def _copy_jspsych(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with as_file(files("hf_relvit.report") / "jspsych") as library:
        for file in library.iterdir():
            with atomic_write(folder / file.name) as temporary:
                shutil.copyfile(file, temporary)


def open_experiment(folder: Path) -> SceneTable:
    """The scenes of an experiment, drawn again.

    Raises:
        RelViTError: a folder without an experiment, or one of which this version would draw other pictures.
    """
    facts: ExperimentFacts = read_as(folder / FACTS, ExperimentFacts)
    distribution = SceneDistribution(
        facts["task"],
        geometry(facts["geometry"]),
        facts["combinations"],
        seed=facts["seed"],
    )
    scenes = distribution.sample(facts["split"], facts["scenes"])
    if _fingerprint(scenes) != facts["pictures"]:
        raise RelViTError(
            f"{folder} holds other pictures than this version draws: use the version that made it"
        )
    return scenes


def read_answers(files: Sequence[Path], scenes: SceneTable) -> pd.DataFrame:
    """The answers of people, a row per trial: ``participant, row, answer, rt`` (milliseconds), ``right``.

    Args:
        files: that people kept, one or more per person.
        scenes: of ``open_experiment``.

    Raises:
        RelViTError: a file that is missing, too large or no such table; a picture or an answer that does not exist; a
            picture that somebody answered twice.
    """
    frames = [_read_file(file, len(scenes)) for file in files]
    answers = pd.concat(frames, ignore_index=True)
    twice = answers[answers.duplicated(["participant", "row"])]
    if len(twice):
        first = twice.iloc[0]
        raise RelViTError(
            f"{first.participant} answered picture {first.row} twice: keep one file per person and session"
        )
    label = np.array(LABELS)[scenes.label[answers.row]]
    return answers.assign(right=answers.answer == label)


def _read_file(file: Path, count: int) -> pd.DataFrame:
    cure = "give the files that the page of the experiment saved, unchanged"
    if not file.is_file() or file.stat().st_size > MAX_BYTES:
        raise RelViTError(f"{file} is no file of answers: {cure}")
    try:
        table = pd.read_csv(file, dtype={"participant": str, "answer": str})
        table = table[list(COLUMNS)].astype({"row": int, "rt": float})
    except (ValueError, KeyError, UnicodeDecodeError) as error:
        wanted = ", ".join(COLUMNS)
        raise RelViTError(f"{file} is no table of {wanted}: {cure}") from error
    strange = table[~table.row.between(0, count - 1) | ~table.answer.isin(LABELS)]
    if len(strange):
        row = strange.iloc[0]
        raise RelViTError(
            f"{file}: answer {row.answer!r} to picture {row.row} of {count}; expected {' or '.join(LABELS)}: {cure}"
        )
    return table
