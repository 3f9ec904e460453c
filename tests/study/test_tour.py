"""The tour of a run: measured on fresh scenes, told with its controls, resumable; what a run lacks is left out."""

import numpy as np
import pytest
import yaml
from tiny import SMALL_CAUSAL, TINY

from hf_relvit.claims import Reading
from hf_relvit.errors import RelViTError
from hf_relvit.figures.tour import shares_figure, swap_figure
from hf_relvit.geometry import geometry
from hf_relvit.measurements import Measurement
from hf_relvit.report.run_folder import RunFolder
from hf_relvit.report.tour_page import attention_words
from hf_relvit.stimuli.distribution import SceneDistribution
from hf_relvit.study.grid import plan
from hf_relvit.study.run import run_study
from hf_relvit.study.tour import TourConfig, clearest, tour
from hf_relvit.training.config import TrainConfig
from hf_relvit.training.run import train

CONFIG = TourConfig(scenes=8)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run with every analysis, and one that was trained alone."""
    folder = tmp_path_factory.mktemp("runs")
    settings = {**TINY, "combinations": 32, "images": 32, "evaluations": 1}
    causal = {**SMALL_CAUSAL, "analyses": ["das", "probes", "steering"]}
    (folder / "grid.yaml").write_text(
        yaml.safe_dump({"preset": "quick", **settings, "causal": causal})
    )
    run_study(plan(str(folder / "grid.yaml")), folder / "study", say=str)
    train(TrainConfig(**settings), folder / "alone", progress=False)
    return folder / "study" / "seed0", folder / "alone"


@pytest.fixture(scope="module")
def taken(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "tour"
    said = []
    page = tour(runs[0], runs[1], out, CONFIG, say=said.append)
    return page, said


def test_every_number_has_its_n_its_interval_and_its_controls(runs, taken):
    page, _ = taken
    text = page.read_text()
    assert text.count("<img") >= 6 and "n = 8" in text
    fresh = RunFolder(page.parent / "main")
    for name in ("alignment", "novel", "steering"):
        table = fresh.table(name)
        assert (table.ci_low <= table.accuracy).all() and (table.accuracy <= table.ci_high).all()
        assert table.n.max() == 8
    controls = set(fresh.table("alignment").control)
    assert controls == {"none", "wrong_object", "random_tokens", "random_directions"}
    assert "no effect is claimed" in text or "more often than in all controls" in text
    assert "At a glance" in text and "alone" in text


def test_scenes_are_fresh(runs, taken):
    page, _ = taken
    trained = RunFolder.open(runs[0]).training.settings().distribution()
    facts = RunFolder(page.parent / "main").stages.facts
    assert facts["provenance"]["seed"] == CONFIG.seed != trained.seed


def test_a_second_tour_measures_nothing_again(runs, taken, monkeypatch):
    page, said = taken
    assert not any("before" in line for line in said)
    monkeypatch.setattr("hf_relvit.study.tour._measured", lambda *_: pytest.fail("measured again"))
    again = []
    assert tour(runs[0], runs[1], page.parent, CONFIG, say=again.append) == page
    assert sum("finished before" in line for line in again) == len(again) - 1


def test_what_a_run_lacks_is_left_out(runs, tmp_path):
    page = tour(runs[1], None, tmp_path / "tour", CONFIG, say=str)
    text = page.read_text()
    assert "First objects" in text and "Does one swap" not in text and "At a glance" not in text


def test_other_settings_are_not_mixed(runs, taken):
    page, _ = taken
    with pytest.raises(RelViTError, match="another scenes"):
        tour(runs[0], None, page.parent, TourConfig(scenes=16), say=str)


@pytest.mark.parametrize(
    "run, options, words",
    [("/nowhere", {}, "no finished run"), (None, {"base": "somewhere"}, "leave --base out")],
)
def test_bad_input_is_one_line_and_leaves_nothing(runs, tmp_path, run, options, words):
    out = tmp_path / "tour"
    with pytest.raises(RelViTError, match=words) as caught:
        tour(run or runs[1], None, out, CONFIG, say=str, **options)
    assert "\n" not in str(caught.value) and not out.exists()


def test_the_pair_that_is_drawn_flips_under_no_control():
    # pairs: spoiled by every way; becomes different alone; becomes same alone; nothing happens
    same = {
        "before": np.array([0.9, 0.9, 0.1, 0.1]),
        "swap": np.array([0.0, 0.0, 0.8, 0.2]),
        "wrong_object": np.array([0.1, 0.8, 0.2, 0.1]),
        "random_directions": np.array([0.9, 0.9, 0.1, 0.1]),
    }
    label = np.array([1, 1, 0, 0])
    assert clearest(same, label, label) == 2
    first = {way: values[[0, 1, 3]] for way, values in same.items()}
    assert clearest(first, label[[0, 1, 3]], label[[0, 1, 3]]) == 1


def reading(**parts):
    measured = {
        name: Measurement(name, value, value - 0.1, value + 0.1, 20, floor=0.0)
        for name, value in parts.items()
    }
    return Reading("color", "test", 2, measured, ("wrong_object",))


def test_figures_show_what_was_measured():
    pairs = SceneDistribution("discrimination", geometry("quick"), 32).pairs("color", "test", 2)
    found = reading(effect=0.8, wrong_object=0.1)
    same = {"before": 0.1, "swap": 0.9, "wrong_object": 0.2, "random_directions": 0.1}
    figure = swap_figure(
        [pairs.base[:1].pixels()[0], pairs.source[:1].pixels()[0]],
        [pairs.base.patches()[0, 0], pairs.source.patches()[0, 0]],
        pairs.base.geometry,
        same,
        found,
    )
    answers = figure.axes[2]
    dots = [line.get_xdata()[0] for line in answers.lines if line.get_marker() == "o"]
    assert dots == [0.1, 0.9, 0.2, 0.1]
    assert [label.get_text() for label in answers.get_yticklabels()][:2] == ["no edit", "swap"]
    shares = shares_figure([found, found], "swap").axes[0]
    assert [line.get_xdata()[0] for line in shares.lines if line.get_marker() == "o"] == [0.8, 0.1]


def test_attention_is_told_with_its_interval(taken):
    page, _ = taken
    words = attention_words(RunFolder(page.parent / "main").stages)
    assert words.count("95 % interval") == 2 and words.count("n = 8 scenes") == 2
