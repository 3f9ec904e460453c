"""The experiment for people in a real browser: from a file, without a network, to the table that a person keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from hf_relvit.geometry import GEOMETRIES
from hf_relvit.report.experiment import (
    ExperimentConfig,
    open_experiment,
    read_answers,
    write_experiment,
)
from hf_relvit.stimuli.distribution import SceneDistribution
from hf_relvit.stimuli.scenes import LABELS

pytest.importorskip("playwright", reason="playwright is not installed: make test-browser")
pytestmark = pytest.mark.timeout(120)
KEYS = {"same": "f", "different": "j"}


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)])
def test_a_person_who_knows_the_answers(tmp_path, chromium, size):
    distribution = SceneDistribution("rmts", GEOMETRIES["quick"])
    config = ExperimentConfig(scenes=8, practice=4, fixation_ms=1)
    page_file = write_experiment(distribution, config, tmp_path / "experiment")
    scenes = open_experiment(page_file.parent)
    practice = distribution.sample("train", 4)
    width, height = size
    page = chromium.new_page(viewport={"width": width, "height": height})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: _leaves(request.url, problems))
    page.goto(f"{page_file.as_uri()}?participant=ada")
    _go_on(page, "practice")
    _answer(page, "practice", practice.label)
    _go_on(page, "start")
    _answer(page, "test", scenes.label)
    with page.expect_download() as kept:
        page.get_by_text("Save them again").click()
    assert kept.value.suggested_filename == "answers-ada.csv"
    kept.value.save_as(tmp_path / "answers-ada.csv")
    page.close()
    assert problems == []
    answers = read_answers([tmp_path / "answers-ada.csv"], scenes)
    assert sorted(answers.row) == list(range(8))
    assert answers.right.all() and (answers.rt > 0).all()
    assert set(answers.participant) == {"ada"}


def _go_on(page, words: str) -> None:
    page.get_by_role("button", name=words).click()


def _answer(page, part: str, label) -> None:
    """Give the right answer to every picture of a part, in the order in which they come."""
    for _ in label:
        picture = page.locator(f"img[src^='{part}']")
        picture.wait_for()
        name = picture.get_attribute("src")
        row = int(Path(name).stem)
        page.keyboard.press(KEYS[LABELS[label[row]]])
        page.wait_for_function("name => !document.querySelector(`img[src='${name}']`)", arg=name)


def _leaves(url: str, problems: list[str]) -> None:
    """Note a request that leaves the folder."""
    if not url.startswith(("file:", "blob:", "data:")):
        problems.append(url)
