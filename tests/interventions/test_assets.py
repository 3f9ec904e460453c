"""What the demo serves: from a run, complete, and nothing else; and the models that ship are what they say."""

from __future__ import annotations

import json
import shutil
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
import torch

from hf_relvit.analysis.align import SCORED_CONTROLS
from hf_relvit.analysis.alignment import Alignment
from hf_relvit.analysis.scores import score_alignment
from hf_relvit.errors import RelViTError
from hf_relvit.modeling.adapters import is_adapter
from hf_relvit.report.run_folder import RunFolder
from hf_relvit.spaces.interventions import app, text
from hf_relvit.spaces.interventions.app import RELEASED, models, start
from hf_relvit.spaces.interventions.assets import build_assets
from hf_relvit.spaces.interventions.engine import react
from hf_relvit.spaces.interventions.moves import first_state
from hf_relvit.spaces.interventions.served import _check_answers, open_served
from hf_relvit.spaces.interventions.state import from_query
from hf_relvit.stimuli.counterfactuals import PROPERTIES
from hf_relvit.stimuli.scenes import LABELS

SHIPPED = models()
ROOT = Path(__file__).parents[2]
BASE = ROOT / "build" / "clip-vit-b16"


def states_of(served):
    start = {served.name: first_state(served.limits)}
    for example in served.about["examples"]:
        yield example["label"], from_query(example["query"], start, {served.name: served.limits})


@pytest.mark.long
def test_built_assets_are_complete_and_plain(assets, served):
    kinds = {path.suffix for path in assets.rglob("[!.]*") if path.is_file()}
    assert kinds == {".json", ".safetensors", ".parquet"}
    about = json.loads((assets / "about.json").read_text())
    assert {row["action"] for row in about["measured"]} == {"swap", "steer", "inject"}
    assert all(
        0 <= row["ci_low"] <= row["accuracy"] <= row["ci_high"] <= 1 for row in about["measured"]
    )
    for path in assets.rglob("*.json"):
        assert "/tmp/" not in path.read_text() and str(Path.home()) not in path.read_text()
    assert len(list(states_of(served))) == 7


@pytest.mark.parametrize("condition", ["edit", "other", "random"])
def test_swaps_are_counted_as_analyses_count_them(served, condition):
    """The numbers of about.json are those of ``score_alignment`` on pairs of the test split."""
    control = "wrong_object" if condition == "other" else None
    for prop in PROPERTIES:
        pairs = served.checkpoint.distribution().pairs(prop, "test", 16)
        for layer in range(2):
            alignment = served.alignments[prop, layer]
            if condition == "random":
                alignment = alignment.random_directions()
            table = score_alignment(served.checkpoint, alignment, pairs, control)
            expected = table.set_index("condition").accuracy
            known = {"action": "swap", "what": prop, "condition": condition, "layer": layer}
            counts = [row for row in served.about["measured"] if known.items() <= row.items()]
            assert {row["before"] for row in counts} == set(LABELS)
            for row in counts:
                assert row["accuracy"] == pytest.approx(expected[row["before"]], abs=1e-4)


@pytest.mark.parametrize("name", ["color-0", "color-1"], ids=["orthogonal", "oblique"])
def test_slim_alignments_swap_as_before(assets, tmp_path_factory, name):
    run = next(
        path
        for path in tmp_path_factory.getbasetemp().glob("run-*")
        if assets.name[5:] in path.name
    )
    before, after = (Alignment.from_pretrained(folder / "das" / name) for folder in (run, assets))
    one, two = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(before.swap(one, two), after.swap(one, two), atol=1e-5)
    assert after.scale == before.scale and (after.write is None) == (before.write is None)
    assert after.rotation.shape == (20, 32)


@pytest.mark.long
def test_numbers_that_a_run_has_are_not_counted_again(tmp_path, assets, served):
    """Of a study with all tables, and made in its own folder: about.json says what they say."""
    run = tmp_path / "whole"
    shutil.copytree(assets, run)
    (run / "about.json").unlink()
    (run / "training" / "config.json").write_text(json.dumps({}))
    (run / "training" / "history.json").write_text(json.dumps({"log": []}))
    numbers = {"n": 50, "accuracy": 0.5, "ci_low": 0.4, "ci_high": 0.6, "floor": 0.1, "layer": 1}
    alike = [numbers | {"condition": before} for before in ("all", *LABELS)]
    tables = {"steering/steering": [], "novel/color/novel": []}
    for alpha, condition in product((1.0, 2.0), ("flip", "agree", "shuffled")):
        pushed = {"alpha": alpha, "pair": "sample", "condition": condition}
        tables["steering/steering"].append(numbers | pushed)
    for method, row in product(("added", "random"), alike):
        known = {"property": "color", "baseline": "subspace", "method": method}
        tables["novel/color/novel"].append(row | known)
    scored = {"property": "color", "split": "test", "score": "cause", "weights": "trained"}
    controls = ("none", *SCORED_CONTROLS, "shuffled_labels")
    tables["das/color-1/scores"] = [
        row | scored | {"control": control} for control, row in product(controls, alike)
    ]
    for name, rows in tables.items():
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_parquet(run / f"{name}.parquet")
    build_assets(run, run, title="Whole")
    about = json.loads((run / "about.json").read_text())
    read = {(row["action"], row["what"], row["condition"]) for row in about["measured"]}
    assert about["title"] == "Whole" and {row["accuracy"] for row in about["measured"]} >= {0.5}
    assert {
        *[("swap", "color", name) for name in ("edit", "other", "tokens", "labels")],
        ("inject", "color added", "edit"),
        ("inject", "color added", "noise"),
        ("inject", "color random", "edit"),
        *[("steer", f"sample {alpha}", name) for alpha in (1, 2) for name in ("edit", "shuffled")],
    } <= read
    again = open_served(run)
    for label, state in states_of(again):
        said = text.often(about, state)
        whose = "" if state.action == "steer" else " whose pair was "
        if state.layer == 1 and state.prop == "color" and "Over 50 test scenes" in said:
            assert f"Over 50 test scenes{whose}" in said, label
    assert sorted(again.alignments) == sorted(served.alignments)


def test_a_head_of_no_numbers_is_not_served(assets):
    served = open_served(assets)
    with torch.no_grad():
        for parameter in served.model.classifier.parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(RelViTError, match=r"answers of .* that are not finite"):
        _check_answers(served)


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(RelViTError, match="expected a run of a study"):
        build_assets(tmp_path / "nothing", tmp_path / "out")
    (tmp_path / "training" / "model").mkdir(parents=True)
    (tmp_path / "training" / "model" / "config.json").write_text("{}")
    (tmp_path / "training" / "history.json").write_text("{}")
    with pytest.raises(RelViTError, match="no alignments"):
        build_assets(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unfinished_folder_is_not_served(tmp_path, assets):
    (tmp_path / "half" / "training" / "model").mkdir(parents=True)
    (tmp_path / "whole").symlink_to(assets)
    assert [folder.name for folder in models(tmp_path)] == ["whole"]


def test_a_model_that_does_not_open_is_left_out_with_a_line(tmp_path, assets, capsys):
    """Such as an adapter whose backbone cannot be had; alone it is an error."""
    broken = tmp_path / "broken"
    shutil.copytree(assets, broken)
    (broken / "training" / "model" / "model.safetensors").write_bytes(b"")
    assert list(app._opened([broken, assets], None)) == [assets.name]
    said = capsys.readouterr().err
    assert said.count("not served: ") == 1 and str(broken) in said.splitlines()[-1]
    with pytest.raises(RelViTError, match="broken"):
        app._opened([broken], None)


def test_nothing_to_serve():
    with pytest.raises(RelViTError, match=r"no models to serve|needs gradio"):
        start([])


def test_models_ship():
    assert RELEASED / "scratch-discrimination" in SHIPPED


@pytest.mark.parametrize("folder", SHIPPED, ids=[folder.name for folder in SHIPPED])
def test_shipped_examples_do_what_their_labels_say(folder):
    if is_adapter(RunFolder(folder).training.model) and not BASE.is_dir():
        pytest.skip(f"{BASE.name} is not built: make {BASE.relative_to(ROOT)}/model.safetensors")
    served = open_served(folder, base=BASE)
    for label, state in states_of(served):
        prediction, outcome = react(served, state)
        assert prediction.answer == prediction.truth or "never showed" in label, label
        flipped = (outcome.same["edit"][state.layer] > 0.5) != prediction.answer
        if label.endswith(("it flips", "moves it, too")):
            assert flipped, label
        elif label.endswith("it stays"):
            assert not flipped, label


@pytest.mark.long
def test_a_large_model_is_counted_from_its_tables_alone(assets, tmp_path, monkeypatch):
    """What a study has not measured would take hours here."""
    monkeypatch.setattr("hf_relvit.spaces.interventions.assets.is_large", lambda checkpoint: True)
    run = tmp_path / "large"
    shutil.copytree(assets, run)
    (run / "about.json").unlink()
    (run / "training" / "config.json").write_text(json.dumps({}))
    (run / "training" / "history.json").write_text(json.dumps({"log": []}))
    build_assets(run, run)
    assert json.loads((run / "about.json").read_text())["measured"] == []
    shutil.rmtree(run / "probes")
    with pytest.raises(RelViTError, match="has no probes of the judgement"):
        build_assets(run, tmp_path / "out")
