"""One file knows what a run looks like on disk; what is missing there is one line."""

import ast
import re
from pathlib import Path

import pandas as pd
import pytest

import hf_relvit
from hf_relvit.errors import RelViTError
from hf_relvit.files import write_json
from hf_relvit.recipes.alignment import alignment_cell
from hf_relvit.recipes.recipes import SECTIONS
from hf_relvit.report.run_folder import (
    RunFolder,
    StudyFolder,
    layout_page,
)
from hf_relvit.training.training_folder import TrainingFolder

PACKAGE = Path(hf_relvit.__file__).parent
ROOT = PACKAGE.parent
OWNERS = {PACKAGE / "report" / "run_folder.py", PACKAGE / "training" / "training_folder.py"}
READERS = [
    path
    for folder in ("report", "study", "hub", "cli")
    for path in sorted((PACKAGE / folder).glob("*.py"))
    if path not in OWNERS
]
READERS += [PACKAGE / "spaces" / "interventions" / name for name in ("assets.py", "served.py")]
READERS += [ROOT / "examples" / "keep_results.py"]
LITERAL = re.compile(
    r"accuracy\.parquet|history\.json|attention\.json"
    r"|(das|das_random|training|evaluation|novel|probes|steering|photorealistic|attention)/[{*a-z]"
)


def literals(path):
    """Strings of a file that name a place in a run; prose, which has spaces, may."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and " " not in text and LITERAL.search(text):
            yield f"{path.name}:{node.lineno} {text!r}"


@pytest.mark.parametrize("path", READERS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_other_file_names_a_place_in_a_run(path):
    assert list(literals(path)) == []


def test_the_search_finds_what_it_looks_for():
    assert list(literals(PACKAGE / "report" / "run_folder.py"))


def test_the_page_in_the_docs_is_made_of_the_class():
    assert (ROOT / "docs" / "run_folder.md").read_text(encoding="utf-8") == layout_page()


LACKING = {
    "config": lambda run: run.config,
    "history": lambda run: run.history,
    "checkpoint": lambda run: run.checkpoint(),
    "processor": lambda run: run.training.processor_fingerprint,
    "accuracy": lambda run: run.table("accuracy"),
    "attention": lambda run: run.table("attention"),
    "photorealistic": lambda run: run.table("photorealistic"),
    "stages": lambda run: run.stages,
    "alignment": lambda run: run.alignment("color", 2),
    "probes": lambda run: run.probes(),
    "evaluation": lambda run: run.evaluation_provenance,
    "open": lambda run: RunFolder.open(run.path),
    **{name: lambda run, name=name: run.table(name) for name in SECTIONS},
}


@pytest.mark.parametrize("what", LACKING)
def test_what_half_a_run_lacks_is_one_line(tmp_path, what):
    with pytest.raises(RelViTError) as error:
        LACKING[what](RunFolder(tmp_path / "seed0"))
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_what_is_optional_is_empty(tmp_path):
    run = RunFolder(tmp_path)
    assert run.causal_tables() == {}
    assert run.attention_scores == {}
    assert run.data_manifest is None
    assert run.alignment_folders() == []
    assert not run.finished(alignment_cell("color", 0))


@pytest.mark.parametrize("name", ["accuracy", "photorealistic", *SECTIONS])
def test_a_table_of_an_older_version_is_one_line(tmp_path, name):
    places = {
        "accuracy": "evaluation/accuracy.parquet",
        "photorealistic": "photorealistic/accuracy/accuracy.parquet",
        **{name: section.tables.replace("*", "x") for name, section in SECTIONS.items()},
    }
    places["alignment"] = "das/color-0/scores.parquet"
    file = tmp_path / places[name]
    file.parent.mkdir(parents=True)
    pd.DataFrame({"condition": ["all"], "layer": [0]}).to_parquet(file)
    with pytest.raises(RelViTError, match=r"has no column .* older version") as error:
        RunFolder(tmp_path).table(name)
    assert "\n" not in str(error.value)
    file.write_bytes(b"PAR1 and no more")
    with pytest.raises(RelViTError, match="cannot read the table"):
        RunFolder(tmp_path).table(name)


def test_attention_of_an_older_version_is_one_line(tmp_path):
    for name in ("attention.json", "DONE.json"):
        write_json(tmp_path / "attention" / name, {"scores": {}})
    with pytest.raises(RelViTError, match=r"attention\.json is of an older version"):
        _ = RunFolder(tmp_path).attention_scores


def test_runs_of_a_study_are_found_and_told_apart(tmp_path):
    for name in ("seed1", "seed0"):
        write_json(tmp_path / name / "training" / "config.json", {})
    runs = StudyFolder(tmp_path).runs()
    assert [run.name for run in runs] == ["seed0", "seed1"]
    with pytest.raises(RelViTError, match="holds 2 runs"):
        RunFolder.open(tmp_path)
    with pytest.raises(RelViTError, match=r"holds no finished run \(config\.json is missing\)"):
        RunFolder.open(tmp_path / "seed0")


def test_a_training_alone_is_a_run(tmp_path):
    training = TrainingFolder(tmp_path)
    for file in (training.config_file, training.history_file, training.model / "config.json"):
        write_json(file, {})
    run = RunFolder.open(tmp_path)
    assert run.training_alone
    assert run.training.path == tmp_path
