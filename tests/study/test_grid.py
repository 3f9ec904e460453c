import dataclasses

import pytest

from hf_relvit.analysis.steering import SteeringConfig
from hf_relvit.errors import RelViTError
from hf_relvit.recipes.probes import FORMS, probe_cell
from hf_relvit.recipes.recipe import Subject
from hf_relvit.recipes.recipes import RECIPES, fits
from hf_relvit.stimuli.discrimination import DISCRIMINATION
from hf_relvit.stimuli.tasks import TASKS
from hf_relvit.study.cells import cells_of
from hf_relvit.study.grid import CausalConfig, Run, plan
from hf_relvit.training.config import PRESETS, TrainConfig


def grid(tmp_path, text):
    file = tmp_path / "grid.yaml"
    file.write_text(text)
    return str(file)


def test_a_preset_is_one_run():
    study = plan("quick")
    assert [run.name for run in study.runs] == ["seed0"]
    assert study.runs[0].config == PRESETS["quick"]
    assert study.causal == CausalConfig()
    assert plan("quick", causal=False).causal is None


def test_a_grid_is_every_combination_and_seed(tmp_path):
    text = "preset: quick\nimages: 512\ngrid: {task: [discrimination, rmts], combinations: [32, 128]}\nseeds: 2\n"
    study = plan(grid(tmp_path, text + "causal: {pairs: 8}"), seed=3, images=None)
    assert len(study.runs) == 8
    one = plan(
        grid(tmp_path, text), seed=4, seeds=1
    )  # a part of the grid, such as for one of several machines
    assert [run.name for run in one.runs[:2]] == [
        "discrimination-32-seed4",
        "discrimination-128-seed4",
    ]
    assert [run.name for run in study.runs[:3]] == [
        "discrimination-32-seed3",
        "discrimination-32-seed4",
        "discrimination-128-seed3",
    ]
    assert study.runs[-1].config.task == "rmts"
    assert {run.config.images for run in study.runs} == {512}
    assert study.causal.pairs == 8


def test_values_may_have_names(tmp_path):
    text = "grid: {disentanglement: {without: null, 'at 2': {layer: 2}}, pipeline: [null]}"
    study = plan(grid(tmp_path, text))
    assert [run.name for run in study.runs] == ["without-none-seed0", "at_2-none-seed0"]
    assert [run.config.disentanglement for run in study.runs] == [None, {"layer": 2}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grid: {seed: []}", "expected a list or mapping with at least one value"),
        ("grid: {task: rmts}", "expected a list or mapping with at least one value"),
        ("grid: {combinations: [32, 32]}", "names the run '32-seed0' twice"),
        (
            "{grid: {seed: [0, 1]}, seeds: 2}",
            "runs '0-seed1' and '1-seed1' of the grid have the same settings",
        ),
        (
            "grid: {combinations: {a: 32, b: 32}}",
            "runs 'a-seed0' and 'b-seed0' of the grid have the same settings",
        ),
        ("grid: {combination: [32]}", "did you mean 'combinations'"),
        ("seeds: 0", "seeds 0: expected 1 or more"),
        ("causal: {pair: 3}", "unknown key 'causal pair'"),
        ("causal: {method: dsa}", "causal method 'dsa'"),
        ("causal: {pairs: 0}", "causal pairs 0: expected at least 1"),
        (
            "causal: {analyses: [dass]}",
            "unknown causal analysis 'dass': expected some of das, das_random",
        ),
        (
            "causal: {analyses: [das, steering]}",
            "causal analysis 'steering' builds on 'probes': add it",
        ),
        ("causal: {settings: {dass: {}}}", "unknown causal analysis 'dass'"),
        ("causal: {settings: {probes: {epoch: 3}}}", "unknown key 'causal settings probes epoch'"),
        ("causal: {settings: {probes: {epochs: 0}}}", "epochs 0: expected at least 1"),
        (
            "causal: {settings: {probes: {epochs: ten}}}",
            "causal settings probes epochs 'ten': expected a number",
        ),
        (
            "causal: {settings: {novel: {methods: [addd]}}}",
            "novel methods .*: expected one of known, added",
        ),
        ("causal: {settings: {das: {property: shape}}}", "das property: the study decides it"),
        ("causal: {settings: [probes]}", "causal settings .*: Expected a mapping"),
        ("causal: {layers: []}", "causal layers \\[\\]: name at least one"),
        ("preset: quik", "did you mean 'quick'"),
        (f"grid: {{combinations: {{{'x' * 300}: 32}}}}", "306 letters: name its values"),
        ("disentanglement: {layers: 1}", "unknown key 'layers' in disentanglement: did you mean"),
        (
            "pipeline: {within_pair: [9]}",
            "within_pair contains 9: expected a block between 0 and 5",
        ),
        ("readout: map", "readout 'map' for backbone vit: expected one of"),
        (
            "backbone: {model_type: vit, num_attention_heads: 0}",
            "num_attention_heads is 0: expected",
        ),
    ],
)
def test_a_bad_grid_is_one_line_with_the_cure(tmp_path, text, message):
    with pytest.raises(RelViTError, match=message) as error:
        plan(grid(tmp_path, text))
    assert "\n" not in str(error.value)


def test_causal_analyses_can_be_chosen(tmp_path):
    def names(analyses):
        study = plan(grid(tmp_path, f"causal: {{layers: [1], analyses: {analyses}}}"))
        return [cell.name for cell in cells_of(study.runs[0], study, tmp_path)]

    assert names("[das]")[4:] == ["das/shape-1", "das/color-1"]
    few = [
        "probes/judgement",
        "probes/shape",
        "probes/color",
        "probes/object",
        "probes/same_object",
        "steering",
    ]
    assert names("[steering, probes]")[4:] == few  # in the order of their needs


def test_a_recipe_has_further_settings_and_only_its_cells_and_those_that_read_them_depend_on_them(
    tmp_path,
):
    def cells(text):
        study = plan(grid(tmp_path, f"causal: {{layers: [1]{text}}}"))
        return {cell.name: cell for cell in cells_of(study.runs[0], study, tmp_path)}

    before = cells("")
    after = cells(", settings: {probes: {epochs: 3, unit: token}}")
    changed = {name for name, cell in after.items() if cell.settings != before[name].settings}
    assert changed == {name for name in after if name.startswith(("probes/", "steering"))}
    given = after["steering"].settings["causal"]["settings"]
    assert given == {"probes": {"epochs": 3, "unit": "token"}}
    assert "settings" not in before["steering"].settings["causal"]  # as in older studies


def test_the_settings_of_a_recipe_have_the_types_of_its_config():
    causal = CausalConfig(settings={"steering": {"alphas": [1, 2]}})
    subject = Subject(None, None, [0], causal, 3, None, causal.settings)
    config = subject.config("steering", SteeringConfig, alphas=(5.0,), scenes=16)
    assert config == SteeringConfig((1.0, 2.0), scenes=16)


@pytest.fixture
def above(monkeypatch):
    """A task without counterfactual pairs."""
    task = dataclasses.replace(DISCRIMINATION, name="above", swaps=None)
    monkeypatch.setitem(TASKS, "above", task)


def test_a_task_without_counterfactual_pairs_has_the_analyses_that_need_none(above, tmp_path):
    study = plan(grid(tmp_path, "task: above\ncausal: {layers: [1]}"))
    names = [cell.name for cell in cells_of(study.runs[0], study, tmp_path)]
    assert names[4:] == [*map(probe_cell, FORMS), "steering"]
    assert [name for name, recipe in RECIPES.items() if fits(recipe, "above")] == [
        "probes",
        "steering",
        "knockout",
    ]


TEN_VALUES = [f"setting{number}: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]" for number in range(12)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds: 99999", "^99,999 runs: did you mean that many"),
        ("{seeds: 500, grid: {combinations: [32, 64, 128]}}", "^1,500 runs: did you mean"),
        ("{large: true, seeds: 1000000}", r"runs of a study 1000000: .* expected at most 100000"),
        (
            f"{{large: true, seeds: 1000, grid: {{{', '.join(TEN_VALUES)}}}}}",
            "runs of a study 1000000000000000: ",
        ),
        ("images: 2000000000", "images 2000000000: expected int <= 1000000000"),
        (
            "{seeds: 4, images: 512000000}",
            "^4 runs, 2,048,000,000 training images, about 7 days for a ViT-B/16 on one H200: did",
        ),
        ("large: 3", "large 3: expected true or false"),
    ],
)
def test_absurd_sizes_are_asked_about_before_any_run_is_made(tmp_path, monkeypatch, text, message):
    made = []
    monkeypatch.setattr(
        "hf_relvit.study.grid.Run", lambda *fields: made.append(fields) or Run(*fields)
    )
    with pytest.raises(RelViTError, match=message) as error:
        plan(grid(tmp_path, text))
    assert len(made) <= 4
    assert "\n" not in str(error.value)


def test_a_large_study_is_planned_when_asked_for(tmp_path):
    study = plan(grid(tmp_path, "{seeds: 1100, large: true}"))
    assert len(study.runs) == 1100
    assert study.work == "1,100 runs, 70,400,000 training images"
    assert study.distinct_settings == [study.runs[0].config]
    assert plan("quick", seeds=1100, large=True).runs == study.runs


def test_runs_are_compared_in_a_time_that_grows_with_their_number(tmp_path, monkeypatch):
    """Pairs of runs would be 604,450 comparisons."""
    compared = []
    equal = TrainConfig.__eq__
    monkeypatch.setattr(
        TrainConfig, "__eq__", lambda one, other: compared.append(1) or equal(one, other)
    )
    plan("quick", seeds=1100, large=True)
    assert len(compared) < 1100


def test_options_of_a_study_leave_what_the_grid_chose(tmp_path):
    text = "{seeds: 2, causal: {pairs: 8}}"
    assert len(plan(grid(tmp_path, text)).runs) == 2
    assert plan(grid(tmp_path, text), causal=True).causal.pairs == 8
    assert plan(grid(tmp_path, text), causal=False).causal is None
    assert plan(grid(tmp_path, "causal: false"), causal=True).causal is None


def test_the_analyses_of_a_study_can_be_given_beside_its_grid(tmp_path):
    given = {"pairs": 16, "layers": [0], "settings": {"probes": {"epochs": 3}}}
    study = plan(grid(tmp_path, "causal: {pairs: 8, epochs: 2}"), analyses=given)
    assert study.causal == CausalConfig(epochs=2, **given)
    assert plan("quick", analyses={"method": "closed_form"}).causal.method == "closed_form"


@pytest.mark.parametrize("text", ["causal: false", "{causal: {pairs: 8}}"])
def test_settings_of_analyses_that_are_not_made_are_refused(tmp_path, text):
    with pytest.raises(RelViTError, match="causal pairs of a study without analyses: leave out"):
        plan(grid(tmp_path, text), analyses={"pairs": 16}, causal=False)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pairs": 0}, "causal pairs 0: expected at least 1"),
        ({"layers": [9]}, "causal layers .9.: expected 0 to 5"),
        ({"analyses": ["dass"]}, "unknown causal analysis 'dass'"),
        ({"settings": "probes"}, "causal settings 'probes': Expected a mapping"),
    ],
)
def test_bad_settings_of_analyses_are_one_line(given, message):
    with pytest.raises(RelViTError, match=message) as error:
        plan("quick", analyses=given)
    assert "\n" not in str(error.value)


def test_runs_are_chosen_by_name(tmp_path):
    grid = tmp_path / "grid.yaml"
    grid.write_text("preset: quick\ngrid: {combinations: [16, 32]}\nseeds: 2\n")
    whole = plan(str(grid))
    part = whole.only("*-seed1")
    assert [run.name for run in part.runs] == ["16-seed1", "32-seed1"]
    assert part.runs[0] in whole.runs
    assert whole.only("*") == whole
    with pytest.raises(RelViTError, match="no run of grid is called 'seed1': expected a name such"):
        whole.only("seed1")
