"""Pages made for many readers, the tour and the leaderboard, claim what the one rule allows, and nothing else."""

from types import SimpleNamespace

import pandas as pd
import pytest
from report.test_readings import RUN, TABLES

from hf_relvit.hub.leaderboard import _leaderboard, save
from hf_relvit.recipes.recipes import SECTIONS
from hf_relvit.report.pages import write_page
from hf_relvit.report.results import RunResults
from hf_relvit.report.tour_page import Guest, _cards, _glance

CONTROLS = ["wrong_object", "random_tokens", "random", "shuffled"]
TOLD = ("alignment", "novel", "steering")
"""The analyses that a tour measures anew."""
CLAIMS = {section.claim for section in SECTIONS.values()}
"""The clauses that say that there is an effect."""


def guest(**tables):
    """A run on the tour whose measurements are made up."""
    fresh = SimpleNamespace(table_files=tables.get, table=tables.__getitem__)
    fresh.table_files = lambda name: [name] if name in tables else []
    return Guest(SimpleNamespace(name="made up"), fresh, None)


def glance_of(tmp_path, guests):
    """The last chapter of the page, rendered."""
    page = write_page(
        tmp_path / "report.html",
        "tour.html",
        title="t",
        lead="l",
        cards=_cards(guests["main"]),
        images={"stimuli": ""},
        rule="r",
        main={"images": {"attention": ""}, "words": {"attention": ""}},
        contrast=None,
        origin="",
        names=dict.fromkeys(guests, "made up"),
        glance=_glance(guests),
        foot=[],
    )
    return page.read_text().split("At a glance")[1]


@pytest.mark.parametrize("analysis", TOLD)
@pytest.mark.parametrize(("control", "holds"), [(0.4, True), (0.72, False)])
def test_the_tour_claims_by_the_rule(tmp_path, analysis, control, holds):
    visitor = guest(**{analysis: TABLES[analysis](control)})
    words = visitor.tell(analysis)
    assert ("no effect is claimed" in words) is not holds
    if analysis != "novel":  # whose words name the kinds of values that work
        assert any(claim in words for claim in CLAIMS) is holds
    (row,) = _glance({"main": visitor})
    assert row["runs"]["main"]["holds"] is holds
    page = glance_of(tmp_path, {"main": visitor})
    assert (page.count("<td>yes</td>"), page.count("<td>no</td>")) == (holds, not holds)
    assert page.count('class="holds"') == holds


def test_a_second_run_on_the_tour_has_its_own_verdict():
    guests = {
        name: guest(steering=TABLES["steering"](control))
        for name, control in (("main", 0.72), ("contrast", 0.4))
    }
    (row,) = _glance(guests)
    assert [cell["holds"] for cell in row["runs"].values()] == [False, True]


@pytest.mark.parametrize("analysis", [*TOLD, "probes"])
def test_without_rows_of_controls_nothing_is_claimed(analysis):
    """No row of the table of a control: shares alone say nothing."""
    frame = TABLES[analysis](0.0).assign(floor=float("nan"))
    named = frame.isin(CONTROLS).any(axis=1)
    alone = frame[~named]
    readings = SECTIONS[analysis].read(alone)
    assert not any(reading.holds() for reading in readings)
    words = SECTIONS[analysis].tell(alone)
    assert not any(claim in words for claim in CLAIMS)
    assert "no effect is claimed" in words


@pytest.mark.parametrize("control", [0.4, 0.72])
def test_the_leaderboard_puts_figures_side_by_side_and_claims_nothing(tmp_path, control):
    """It has no control of any figure, so neither its page nor its text may say that there is an effect."""
    numbers = {"ci_low": 0.8, "ci_high": 0.9, "n": 64, "auc": 0.9, "floor": 0.5, "majority": 0.5}
    runs = {}
    for number in range(3):
        rows = {"split": "test", "condition": "all", "accuracy": 0.85 + number / 100, **numbers}
        alignments = TABLES["alignment"](control)
        alignments["accuracy"] += number / 100
        both = pd.concat([alignments, alignments.assign(property="shape")])
        tables = {
            "accuracy": [{**rows, "base_accuracy": 0.5}],
            "alignment": both.to_dict("records"),
        }
        config = {**RUN["config"], "images": 64 + number}
        runs[f"run {number}"] = RunResults(**{**RUN, "config": config}, tables=tables)
    board = _leaderboard("discrimination", runs)
    assert board.correlation is not None
    page = save([board], tmp_path).read_text()
    for text in (page, board.text()):
        assert not any(claim in text for claim in CLAIMS)
        assert "0.800–0.900" in text
    assert "read from the results" in page.lower() and "nothing was measured again" in page
