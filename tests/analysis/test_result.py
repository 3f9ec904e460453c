"""One base of all results: what is saved opens again, from a folder or the Hub, or says in one line why not."""

import importlib
import inspect
import pkgutil
from fnmatch import fnmatch

import numpy as np
import pandas as pd
import pytest
import torch
from huggingface_hub import HfApi

import hf_relvit.analysis
from hf_relvit.analysis.activations import Site
from hf_relvit.analysis.align import Alignments
from hf_relvit.analysis.alignment import Alignment
from hf_relvit.analysis.attention import AttentionStages
from hf_relvit.analysis.battery import Battery
from hf_relvit.analysis.correlation import Correlation
from hf_relvit.analysis.diagnosis import Diagnosis
from hf_relvit.analysis.failing_stage import Criterion, Verdict
from hf_relvit.analysis.frozen_edits import FrozenEdits
from hf_relvit.analysis.knockout import Knockout
from hf_relvit.analysis.novel import Novel
from hf_relvit.analysis.probes import Probes
from hf_relvit.analysis.result import Result
from hf_relvit.analysis.results import open_result
from hf_relvit.analysis.similarity import Similarity
from hf_relvit.analysis.steering import Steering
from hf_relvit.errors import RelViTError

FACTS = {"config": {"seed": 1}}
SCORES = {"accuracy": [0.5, 0.75], "n": 4, "ci_low": 0.25, "ci_high": 0.9, "base_accuracy": 1.0}
BY_LAYER = pd.DataFrame({"layer": [0, 1], "floor": 0.0, **SCORES})
CRITERION = Criterion("behavior", "answers are right", "test", 0.9, 0.8, 1.0, 40, 0.75, "yes")


def attention():
    kinds = ["within_object", "within_pair"]
    frame = pd.DataFrame({"layer": [0, 0], "head": [0, 0], "kind": kinds, "mean": [0.5, 0.25]})
    frame = frame.assign(ci_low=0.1, ci_high=0.6)
    return AttentionStages(frame, {"perceptual_score": 0.5}, FACTS)


def battery():
    rows = {"measure": "likeness", "condition": "trained", "split": "validation", "floor": 0.5}
    numbers = {"layer": [0, 1], "value": [0.5, 0.75], "n": 4, "ci_low": 0.25, "ci_high": 0.9}
    frame = pd.DataFrame({**rows, **numbers, "chosen": False})
    return Battery(frame, {**FACTS, "task": "discrimination"})


def frozen_edits():
    rows = {
        "measure": "binding",
        "condition": "trained",
        "replacement": "other_image",
        "floor": 0.0,
    }
    numbers = {"layer": 1, "value": [0.25], "n": 4, "ci_low": 0.1, "ci_high": 0.4}
    frame = pd.DataFrame({**rows, **numbers, "split": "test", "chosen": True})
    return FrozenEdits(frame, {**FACTS, "task": "discrimination"})


def alignment():
    mask = torch.tensor([True, False])
    history = [{"loss": 0.5, "mask": 2.0}, {"loss": 0.25, "mask": 1.0}]
    facts = FACTS | {"history": history}
    return Alignment(torch.eye(2, 3), mask, Site("resid_post", 1), "color", facts=facts)


def novel():
    known = {"property": "color", "baseline": "subspace", "method": "added", "condition": "all"}
    return Novel(BY_LAYER.assign(**known), FACTS)


def probes():
    frame = BY_LAYER.assign(target="shape", form="linear", condition="trained")
    config = {"form": "linear", "target": "shape"}
    facts = {**FACTS, "config": config, "tokens": 1, "hidden_size": 3}
    return Probes(frame, {"0.trained.weight": torch.arange(6.0).reshape(2, 3)}, facts)


def steering():
    frame = BY_LAYER.assign(alpha=1.0, pair="sample", condition="flip", relative_norm=0.1)
    return Steering(frame, FACTS)


def knockout():
    known = {"kind": "within_pair", "replacement": "mean", "condition": "all", "draw": 0}
    row = {**known, "accuracy": 0.5, "n": 4, "ci_low": 0.2, "ci_high": 0.8, "base_accuracy": 0.75}
    row |= {"lost": 0.25, "lost_low": -0.5, "lost_high": 0.75}
    rows = [{**row, "heads": heads} for heads in ("strongest", "random")]
    return Knockout(pd.DataFrame(rows), FACTS)


def similarity():
    auc = {"auc": [0.5, 0.75], "ci_low": 0.25, "ci_high": 0.9}
    return Similarity(
        pd.DataFrame({"model": "base", "level": "all", "layer": [-1, 0], **auc}), FACTS
    )


def correlation():
    values = {"value": 0.5, "ci_low": 0.1, "ci_high": 0.9, "loo_low": 0.2, "loo_high": 0.8}
    row = {"split": "test", "measure": "pearson", "groups": 3, "warning": "", **values}
    runs = {"run": ["a", "b"], "group": ["a", "b"], "split": "test"}
    points = {"disentanglement": [0.25, 0.5], "accuracy": [0.5, 0.75]}
    return Correlation(pd.DataFrame([row]), pd.DataFrame({**runs, **points}), FACTS)


def alignments():
    scores = BY_LAYER.assign(property="color", split="test", condition="all", score="cause")
    scores = scores.assign(control="none", weights="trained")
    return Alignments(scores, (alignment(),), (alignment(),), FACTS)


def diagnosis(stages=True):
    verdict = Verdict("none", {"test": "none"}, (CRITERION,), ("why",), ("pipeline",), ("do",))
    tables = {name: BY_LAYER.assign(table=name) for name in Diagnosis.TABLES}
    return Diagnosis(verdict, tables, attention() if stages else None, FACTS)


RESULTS = [
    attention,
    battery,
    frozen_edits,
    alignment,
    alignments,
    novel,
    probes,
    steering,
    knockout,
    similarity,
    correlation,
    diagnosis,
]
each_result = pytest.mark.parametrize("make", RESULTS, ids=lambda make: make.__name__)


def same(one, other) -> bool:
    """Whether two contents are equal to the last bit."""
    if isinstance(one, pd.DataFrame):
        return one.equals(other)
    if isinstance(one, torch.Tensor):
        return one.equal(other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, Result):
        return same_result(one, other)
    return one == other


def same_result(one: Result, other: Result) -> bool:
    first, second = vars(one.contents()), vars(other.contents())
    return type(one) is type(other) and same(first, second)


def test_every_result_of_the_package_is_tested_here():
    found = set()
    for module in pkgutil.iter_modules(hf_relvit.analysis.__path__):
        members = vars(importlib.import_module(f"hf_relvit.analysis.{module.name}")).values()
        found |= {item for item in members if inspect.isclass(item) and issubclass(item, Result)}
    concrete = {item for item in found if not inspect.isabstract(item) and hasattr(item, "STEM")}
    assert concrete == {type(make()) for make in RESULTS}


@each_result
def test_what_is_saved_opens_without_the_name_of_its_class(make, tmp_path):
    result = make()
    result.save(tmp_path)
    opened = open_result(tmp_path)
    assert type(opened) is type(result)
    assert same(opened.to_frame(), result.to_frame())


@each_result
def test_what_is_saved_opens_again(make, tmp_path):
    result = make()
    result.save(tmp_path)
    names = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("[!.]*.*")]
    patterns = type(result).files()
    assert all(any(fnmatch(name, pattern) for pattern in patterns) for name in names)
    assert all(any(fnmatch(name, pattern) for name in names) for pattern in patterns)
    assert same_result(type(result).load(tmp_path), result)
    again = type(result).from_pretrained(tmp_path.parent, subfolder=tmp_path.name)
    assert same_result(again, result)
    assert isinstance(result.to_frame(), pd.DataFrame) and len(result.to_frame())


@each_result
def test_it_is_drawn_in_both_formats_or_in_the_one_that_is_named(make, tmp_path):
    make().plot(tmp_path / "both.v2")
    make().plot(tmp_path / "one.svg")
    names = {path.name for path in tmp_path.glob("[!.]*")}
    assert names == {"both.v2.png", "both.v2.svg", "one.svg"}
    assert (tmp_path / "both.v2.svg").read_bytes() == (tmp_path / "one.svg").read_bytes()


@pytest.mark.filterwarnings("ignore:It seems that you are about to commit a data file")
@each_result
def test_it_opens_from_the_hub(make, tmp_path, hub):
    result = make()
    result.save(tmp_path)
    (tmp_path / "secret.json").write_text("{}")
    api = HfApi()
    api.create_repo("relvit/run")
    api.upload_folder(repo_id="relvit/run", folder_path=tmp_path, path_in_repo="cells/one")
    opened = type(result).load("relvit/run", subfolder="cells/one")
    assert same_result(opened, result)
    with pytest.raises(RelViTError, match=r"of a run, name where it is, for instance subfolder="):
        type(result).load("relvit/run")


@each_result
def test_a_half_written_result_does_not_open(make, tmp_path, monkeypatch):
    result = make()
    result.save(tmp_path)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hf_relvit.analysis.result.save_file", full)
    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(RelViTError, match=r"full|free some space"):
        result.save(tmp_path)
    with pytest.raises(RelViTError, match=f"no {type(result).TITLE} in"):
        type(result).load(tmp_path)


@pytest.mark.parametrize("broken", ["[]", "{}", "", "null", '"text"', '{"facts": '])
@each_result
def test_broken_values_are_one_line(make, broken, tmp_path):
    result = make()
    result.save(tmp_path)
    (tmp_path / f"{type(result).STEM}.json").write_text(broken)
    if broken == "{}" and isinstance(
        result, Novel | Steering | Knockout | Similarity | FrozenEdits
    ):
        assert type(result).load(tmp_path).facts == {}  # of these, no fact is needed to open them
        return
    with pytest.raises(RelViTError) as error:
        type(result).load(tmp_path)
    assert "\n" not in str(error.value)


@each_result
def test_broken_tables_and_tensors_are_one_line(make, tmp_path):
    result = make()
    result.save(tmp_path)
    for name in [path for path in type(result).files()[:-1] if "*" not in path]:
        whole = (tmp_path / name).read_bytes()
        for part in (b"", whole[:40], whole[:-9]):
            (tmp_path / name).write_bytes(part)
            with pytest.raises(RelViTError, match="cannot"):
                type(result).load(tmp_path)
        (tmp_path / name).write_bytes(whole)
    assert same_result(type(result).load(tmp_path), result)


@each_result
@pytest.mark.parametrize("subfolder", ["../secret", "/etc"])
def test_a_subfolder_stays_in_the_run(make, subfolder, tmp_path):
    with pytest.raises(RelViTError, match="leads out of"):
        type(make()).load(tmp_path, subfolder=subfolder)


def test_a_diagnosis_without_attention_opens_without(tmp_path):
    result = diagnosis(stages=False)
    result.save(tmp_path)
    opened = Diagnosis.load(tmp_path)
    assert opened.stages is None
    assert np.isnan(opened.verdict.criteria[0].control)


def test_a_folder_that_is_not_there_is_no_bad_hub_id():
    with pytest.raises(
        RelViTError, match="cannot open the probes runs/p/judgement: there is no such"
    ):
        Probes.load("runs/p/judgement")
