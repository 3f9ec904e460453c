"""One reading of a table for report, card and Space, and one rule of what may be claimed from it."""

import dataclasses
import math
import re
from importlib.resources import files
from types import SimpleNamespace

import pandas as pd
import pytest

from hf_relvit.claims import exceeds_controls
from hf_relvit.figures.causal import probe_figure
from hf_relvit.measurements import Measurement
from hf_relvit.recipes.recipes import SECTIONS
from hf_relvit.report import run_page
from hf_relvit.report.card import run_card, sections
from hf_relvit.report.pages import write_page
from hf_relvit.report.readings import accuracy as readings_of
from hf_relvit.report.readings import accuracy_rows, correlation, seed_rows, similarity
from hf_relvit.report.results import RunResults
from hf_relvit.report.tables import accuracy_text, over_seeds, section_text
from hf_relvit.stimuli.tasks import TASKS


def measured(low, high, floor=None):
    return Measurement("effect", (low + high) / 2, low, high, 200, floor=floor)


@pytest.mark.parametrize(
    ("effect", "controls", "holds"),
    [
        (measured(0.6, 0.8), [measured(0.3, 0.5)], True),
        (measured(0.6, 0.8), [measured(0.3, 0.6)], False),  # they touch
        (measured(0.6, 0.8), [measured(0.3, 0.5), measured(0.5, 0.7)], False),  # one of two
        (measured(0.55, 0.64), [measured(0.52, 0.66)], False),  # the better value, not above
        (measured(0.6, 0.8, floor=0.6), [measured(0.3, 0.5)], False),  # doing nothing is a control
        (measured(0.6, 0.8, floor=0.5), [], True),
        (measured(0.6, 0.8), [], False),  # nothing to compare with
        (measured(0.6, 0.8), [measured(math.nan, math.nan)], False),
    ],
)
def test_an_effect_needs_an_interval_above_all_of_its_controls(effect, controls, holds):
    assert exceeds_controls(effect, controls) is holds


def table(columns, rows, control):
    """Rows whose effect is at .8 and whose named control is at ``control``; all intervals reach .05 to both sides."""
    frame = pd.DataFrame([dict(zip(columns.split(), row)) for row in rows])
    frame.loc[frame.accuracy.isna(), "accuracy"] = control
    around = {"ci_low": frame.accuracy - 0.05, "ci_high": frame.accuracy + 0.05}
    return frame.assign(**around, n=400, floor=0.2, base_accuracy=0.5)


def alignment(control):
    rows = [
        ("color", 1, "test", score, name, weights, condition, accuracy)
        for condition in ("all", "same", "different")
        for score, name, weights, accuracy in (
            ("cause", "none", "trained", 0.8),
            ("cause", "wrong_object", "trained", None),
            ("cause", "random_tokens", "trained", 0.3),
            ("cause", "none", "random", 0.3),
            ("isolate", "none", "trained", 0.9),
        )
    ]
    columns = "property layer split score control weights condition accuracy"
    return table(columns, rows, control)


def novel(control):
    methods = {"known": 0.8, "added": 0.8, "interpolated": 0.7, "sampled": 0.8, "random": None}
    rows = [("shape", 0, "all", "subspace", *item) for item in methods.items()]
    return table("property layer condition baseline method accuracy", rows, control)


def probes(control):
    rows = [("color", "trained", 2, 0.8), ("color", "shuffled", 2, None)]
    return table("target condition layer accuracy", rows, control)


def steering(control):
    values = {"flip": 0.8, "shuffled": None, "agree": 0.1}
    rows = [(condition, 3, 1.0, "sample", accuracy) for condition, accuracy in values.items()]
    return table("condition layer alpha pair accuracy", rows, control)


def knockout(control):
    frame = pd.DataFrame(
        {"heads": heads, "draw": draw, "lost": lost}
        for heads, draw, lost in (("strongest", 0, 0.8), ("random", 0, 0.1), ("random", 1, control))
    )
    frame = frame.assign(kind="within_pair", replacement="mean", condition="all")
    frame = frame.assign(lost_low=frame.lost - 0.05, lost_high=frame.lost + 0.05)
    around = {"accuracy": 1 - frame.lost, "ci_low": 0.1, "ci_high": 0.3, "base_accuracy": 1.0}
    return frame.assign(n=400, **around)


TABLES = {
    "alignment": alignment,
    "novel": novel,
    "probes": probes,
    "steering": steering,
    "knockout": knockout,
}
RUN = {
    "config": {"task": "discrimination", "geometry": "quick", "combinations": 32, "images": 64,
               "backbone": "clip", "fresh": True, "learning_rate": 0.1, "batch_size": 2,
               "schedule": "cosine", "seed": 0, "disentanglement": None, "pipeline": None},
    "processor": "0123",
    "validation": {"accuracy": 0.5, "ci_low": 0.4, "ci_high": 0.6, "n": 32},
    "versions": {"hf_relvit": "0"},
}  # fmt: skip


@pytest.mark.parametrize("analysis", TABLES)
@pytest.mark.parametrize(("control", "holds"), [(0.4, True), (0.72, False)])
def test_report_and_card_claim_by_the_rule_and_alike(analysis, control, holds):
    frame = TABLES[analysis](control)
    (reading,) = SECTIONS[analysis].read(frame)
    assert reading.holds() is holds
    prose = SECTIONS[analysis].tell(frame)
    assert ("no effect is claimed" in prose) is not holds

    results = RunResults(**RUN, tables={analysis: frame.to_dict("records")})
    (section,) = sections(results)
    assert section.rows == list(reading.parts.values())  # the same objects as the prose is made of
    (conclusion,) = section.conclusions
    assert ("no effect is claimed" in conclusion) is not holds
    effect = f"{reading.effect.value:.0%}"
    assert effect in prose
    terminal = section_text(SECTIONS[analysis], frame)
    assert terminal.endswith(prose)
    for part in reading.parts.values():
        assert f"{part.name} " in terminal
        assert f"{part.value:.3f}  {part.interval:>15}" in terminal
    assert f"| {reading.effect.value:.3f} |" in run_card(results).text


def test_random_weights_have_their_own_floor():
    frame = alignment(0.4)
    frame.loc[frame.weights == "random", "floor"] = 0.45
    (reading,) = SECTIONS["alignment"].read(frame)
    assert (reading.effect.floor, reading.effect.base_floor) == (0.2, 0.45)
    text = run_card(RunResults(**RUN, tables={"alignment": frame.to_dict("records")})).text
    assert "0.300 (its own floor 0.450)" in text
    assert SECTIONS["alignment"].read(alignment(0.4))[0].effect.base_floor is None


@pytest.mark.parametrize("value", ["a|b", "<img src=x>", "[x](y)", "a\nb", "*b*", "`c`"])
def test_values_cannot_break_the_table_of_a_card(value):
    config = RUN["config"] | {"geometry": value, "backbone": value, "pipeline": {"x": value}}
    text = run_card(RunResults(**RUN | {"config": config})).text
    rows = [line for line in text.splitlines() if line.startswith("| scenes")]
    assert len(rows) == 1
    assert rows[0].replace("\\|", "").count("|") == 3
    assert "<img" not in text.replace("`<img src=x>`", "").replace("'<img src=x>'", "").replace(
        "`{x: <img src=x>}`", ""
    )


def test_the_terminal_and_the_readings_show_the_same_numbers():
    """Whole splits only, each with the interval that pages show; a kind of pairs is a row of its own."""
    numbers = {"ci_low": 0.81234, "ci_high": 0.95678, "n": 64, "auc": 0.97, "floor": 0.5}
    numbers |= {"base_accuracy": 0.51, "majority": 0.75}
    table = pd.DataFrame(
        {"split": split, "condition": condition, "accuracy": 0.9, **numbers}
        for split in ("test", "test_ood_shape", "of-mine")
        for condition in ("all", "difference_shape")
    )
    rows = accuracy_rows(table)
    assert [row.pairs for row in rows[:2]] == ["all", "differ in shape only"]
    assert [row.majority for row in rows] == [0.75] * 6
    whole = readings_of(table)
    assert [measured.name for measured in whole] == ["IID test", "new shapes", "of-mine"]
    _, *lines = accuracy_text(table).splitlines()
    for line, measured in zip(lines, whole, strict=True):
        assert line.split() == [
            *measured.name.split(),
            "0.900",
            measured.interval,
            "64",
            "0.970",
            "0.510",
            "0.50",
        ]
    assert whole[0].interval == "0.812–0.957"


TEMPLATES = [*files("hf_relvit.report").iterdir(), *files("hf_relvit.model_cards").iterdir()]


@pytest.mark.parametrize(
    "template",
    [file for file in TEMPLATES if file.name.endswith((".html", ".md"))],
    ids=lambda file: file.name,
)
def test_no_page_formats_a_row_of_a_table(template):
    """Pages show measurements; a column of a table in a template could be shown in another form elsewhere."""
    assert not re.search(r"\.\w*(ci_low|ci_high|base_accuracy)", template.read_text("utf-8"))


def test_report_comparison_card_and_terminal_show_one_accuracy_alike(tmp_path):
    """The same table on all of them: value, interval and scenes as one text."""
    numbers = {"ci_low": 0.81234, "ci_high": 0.95678, "n": 64, "auc": 0.97, "floor": 0.5}
    numbers |= {"base_accuracy": 0.51, "majority": 0.5}
    rows = [
        {"split": split, "condition": "all", "accuracy": value, **numbers}
        for split, value in (("test", 0.912), ("test_ood_shape", 0.877), ("photorealistic", 0.855))
    ]
    frame = pd.DataFrame(rows)
    runs = over_seeds(frame.assign(run="seed0"))
    page = write_page(
        tmp_path / "comparison.html",
        "comparison.html",
        study="s",
        title="t",
        pages={},
        rows=seed_rows(runs),
        overview={},
        settings={},
        correlation=None,
        kinds=1,
        sections=SECTIONS,
    )
    comparison = page.read_text()
    card = run_card(RunResults(**RUN, tables={"accuracy": rows})).text
    terminal = accuracy_text(frame)
    for measured in readings_of(frame):
        value = f"{measured.value:.3f}"
        cells = f"<td>{measured.name}</td><td>{value}</td><td>{measured.interval}</td>"
        assert cells in comparison
        low, high = measured.interval.split("–")
        assert f"| {measured.name} | {value} | {low} to {high} | 64 |" in card
        assert re.search(rf"{measured.name} +{value} +{measured.interval} +64", terminal)
    head = run_page._cards(
        {"test": readings_of(frame)[0], "test_ood_shape": readings_of(frame)[1]},
        SimpleNamespace(scores={"perceptual_score": 0.5, "relational_score": 0.5}),
    )
    assert head[0][0] == "91.2%"
    assert head[1] == ("87.7%", "hardest test: new shapes")


def test_similarity_is_read_at_the_best_layer_of_each_model():
    rows = [
        {"model": model, "level": level, "layer": layer, "auc": auc, "n": 32, "floor": 0.5}
        for model, aucs in {"base": (0.6, 0.9), "random": (0.7, 0.5)}.items()
        for layer, auc in enumerate(aucs, start=-1)
        for level in ("all", "color")
    ]
    frame = pd.DataFrame(rows)
    frame = frame.assign(ci_low=frame.auc - 0.1, ci_high=frame.auc + 0.1)
    found = similarity(frame)
    assert [measured.name for measured in found.values()] == ["base (layer 0)", "random (layer -1)"]
    assert found["base"].interval == "0.800–1.000"


def test_a_correlation_is_a_measurement_too():
    row = {"split": "test", "measure": "pearson", "value": -0.5, "ci_low": -0.9, "ci_high": 0.1}
    (measured,) = correlation(pd.DataFrame([{**row, "n": 12}]))
    assert measured == Measurement("IID test, pearson", -0.5, -0.9, 0.1, 12)


@pytest.mark.parametrize("analysis", TABLES)
def test_where_nothing_can_be_read_nothing_is_said(analysis):
    empty = TABLES[analysis](0.4).iloc[:0]
    if analysis == "steering":
        empty = empty.astype({"accuracy": float})
    told = section_text(SECTIONS[analysis], empty)
    assert told == "Nothing was measured that the rest could be read against."


def test_the_reason_names_the_control_that_was_reached():
    """Not another one, and not doing nothing where that was never measured."""
    reading = SECTIONS["probes"].read(probes(0.4))[0]
    for change, words in (
        ({"controls": ()}, "no control was measured"),
        ({"controls": ("shuffled",)}, "the control (shuffled labels, up to nan%)"),
    ):
        effect = dataclasses.replace(reading.effect, floor=None)
        control = measured(math.nan, math.nan)
        shuffled = dataclasses.replace(control, name="shuffled labels")
        parts = {"effect": effect, "shuffled": shuffled}
        changed = dataclasses.replace(reading, parts=parts, **change)
        assert words in changed.conclusion("it works")


@pytest.mark.parametrize("task", ["discrimination", "rmts", "sosd", "above"])
def test_probes_of_the_judgement_name_the_relation_of_the_task(task, monkeypatch):
    above = dataclasses.replace(
        TASKS["discrimination"], question="Is A above B?", pair_question="", swaps=None
    )
    monkeypatch.setitem(TASKS, "above", above)
    asked = "is A above B?" if task == "above" else "is the pair same?"
    frame = probes(0.4).assign(target="judgement")
    results = RunResults(**RUN | {"config": {**RUN["config"], "task": task}})
    tables = {"probes": frame.to_dict("records")}
    (section,) = sections(dataclasses.replace(results, tables=tables))
    assert section.rows[0].name == f"{asked} (layer 2)"
    assert asked in SECTIONS["probes"].tell(frame.assign(task=task))
    figure = probe_figure(frame.assign(task=task, form="linear"))
    assert figure.axes[0].get_title("left").startswith(asked)
    assert "does the relation hold?" in SECTIONS["probes"].tell(frame)
