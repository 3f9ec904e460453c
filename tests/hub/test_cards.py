import dataclasses
import json
import re

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries

from hf_relvit.hub.runs import collect_files
from hf_relvit.manifest import write_manifest
from hf_relvit.report.card import MARK, base_model, run_card
from hf_relvit.report.results import RunResults, collect_results
from hf_relvit.report.run_folder import RunFolder


@pytest.fixture
def staged(study):
    return collect_files(study, "relvit/tiny")


def test_every_accuracy_stands_with_interval_n_and_seeds_beside_random_weights_and_floor(staged):
    text = staged.files["README.md"].decode()
    table = staged.results.table("accuracy").query("condition == 'all'")
    assert len(table) == 6
    for row in table.itertuples():
        interval = f"{row.ci_low:.3f} to {row.ci_high:.3f}"
        assert (
            f"| {row.accuracy:.3f} | {interval} | {row.n} | 1 | {row.base_accuracy:.3f} | {row.floor:.3f} |"
            in text
        )


def test_every_analysis_has_its_section_and_its_control(staged):
    text = staged.files["README.md"].decode()
    for words in (
        "color, layer 0, IID test: answer follows the swap",
        "shape, layer 0, IID test: control, the other object",
        "color, layer 0: known values",
        "is the pair same? (layer 0)",
        "control, shuffled labels (layer 0)",
        "pair: answer flips",
        "pair: control, shuffled probe",
        "perceptual score",
    ):
        row = next(line for line in text.splitlines() if words in line)
        assert re.fullmatch(
            r"\| .+ \| [01]\.\d{3} \| [01]\.\d{3} to [01]\.\d{3} \| \d+ \| 1 \| .+ \| .+ \|", row
        )
    swap = next(
        line for line in text.splitlines() if "color, layer 0, IID test: answer follows" in line
    )
    assert "not measured" not in swap  # the random-weights control is in the study


def test_the_card_says_what_it_was_made_of_and_how_to_open_it(staged):
    text = staged.files["README.md"].decode()
    data = staged.results.data
    assert (
        f"stimuli version {data['version']}, config `quick-32`, seed 0, checksum `{data['checksum']}`"
        in text
    )
    assert (
        "relvit data build discrimination --config quick-32 --n-train 32 --n-eval 32 --seed 0 --out DIR"
        in text
    )
    assert 'Checkpoint.open("relvit/tiny")' in text
    assert 'Alignment.from_pretrained("relvit/tiny", subfolder="das/color-0")' in text
    assert staged.results.processor in text
    assert "{{" not in text
    assert "{%" not in text
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert {"figures/accuracy.png", "attention/viewer.png", "figures/history.png"} <= set(pictures)
    own = {name for name in pictures if "://" not in name}
    assert own <= set(staged.files)


def test_the_metadata_round_trips(staged):
    data = ModelCard(staged.files["README.md"].decode()).data
    assert data.pipeline_tag == "image-classification"
    assert data.library_name == "transformers"
    assert data.datasets == ["relvit/counterfactuals", "relvit/discrimination"]
    assert MARK in data.tags
    assert data.base_model is None
    scores = {(r.dataset_type, r.dataset_split): r for r in data.eval_results}
    test = staged.results.table("accuracy").query("condition == 'all' and split == 'test'").iloc[0]
    found = scores["relvit/discrimination", "test"]
    assert found.metric_value == pytest.approx(test.accuracy, abs=1e-6)
    assert found.dataset_revision == "v1.0.0"
    assert found.metric_name == "accuracy"
    assert found.metric_args["n"] == 32
    assert found.metric_args["ci_low"] == pytest.approx(test.ci_low, abs=1e-6)
    assert found.metric_args["random_weights"] == pytest.approx(test.base_accuracy)
    swaps = [r for r in data.eval_results if r.metric_type == "interchange_accuracy"]
    assert [r.dataset_split for r in swaps] == ["test_color", "test_shape"]
    entries = parse_eval_result_entries(yaml.safe_load(staged.files[".eval_results/relvit.yaml"]))
    assert len(entries) == len(data.eval_results)
    assert entries[1].dataset_id == "relvit/discrimination"
    assert "n = 32, 1 seed" in entries[1].notes


def test_the_base_model_is_named_if_it_is_on_the_hub(staged):
    results = staged.results
    for backbone, base in {
        "openai/clip-vit-base-patch16": "openai/clip-vit-base-patch16",
        "clip": None,
    }.items():
        card = run_card(
            dataclasses.replace(results, config={**results.config, "backbone": backbone})
        )
        assert card.data.base_model == base
        assert f"fine-tuned from `{backbone}`" in card.text


def test_a_folder_is_no_base_model_though_its_path_looks_like_an_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert base_model({"backbone": "build/clip"}) == "build/clip"
    (tmp_path / "build" / "clip").mkdir(parents=True)
    assert base_model({"backbone": "build/clip"}) is None


def test_photorealistic_pairs_have_a_section_if_the_run_was_tested_on_them(staged, run):
    assert "photorealistic" not in staged.files["README.md"].decode().lower()
    rows = staged.results.table("accuracy").query("split == 'test'").assign(split="photorealistic")
    cell = run / "photorealistic" / "accuracy"
    cell.mkdir(parents=True)
    rows.to_parquet(cell / "accuracy.parquet")
    assert "photorealistic" not in collect_results(RunFolder(run)).tables  # not finished
    write_manifest(cell, {})
    results = collect_results(RunFolder(run))
    assert [row["condition"] for row in results.tables["photorealistic"]] == ["all"]
    again = RunResults.from_json(results.to_json(), "relvit/tiny")
    assert again.to_json() == results.to_json()
    (row,) = (
        line for line in run_card(results).text.splitlines() if line.startswith("| photorealistic")
    )
    assert f"| {rows.accuracy.iloc[0]:.3f} |" in row


def test_a_training_alone_has_a_card_with_its_validation(staged):
    alone = dataclasses.replace(staged.results, tables={}, attention={}, data=None)
    card = run_card(alone)
    assert "## Numbers" not in card.text
    assert "n = 32; guessing gives 0.5" in card.text
    assert card.data.eval_results is None
    assert card.data.datasets is None  # a folder has no owner


def test_results_are_plain_json_and_come_back(staged):
    text = staged.files["results.json"].decode()
    json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
    again = RunResults.from_json(text, "relvit/tiny")
    assert (
        again.table("accuracy").accuracy.tolist()
        == staged.results.table("accuracy").accuracy.tolist()
    )
    assert again.to_json() == text
    assert set(again.tables) == {"accuracy", "alignment", "novel", "probes", "steering"}
