"""Experiments for people: pictures of the scenes, files of answers, and people beside models."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny_checkpoints import saved_checkpoints
from walk import run_quietly

from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.report.experiment import (
    ExperimentConfig,
    open_experiment,
    read_answers,
    write_experiment,
)
from hf_relvit.stimuli.distribution import SceneDistribution
from hf_relvit.stimuli.rendering import render
from hf_relvit.stimuli.scenes import LABELS
from hf_relvit.study.people import compare_people
from hf_relvit.tables import select
from hf_relvit.training.evaluation import predict

SCENES = SceneDistribution("discrimination", GEOMETRIES["quick"])


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people") / "experiment"
    write_experiment(SCENES, ExperimentConfig(scenes=31, practice=3), folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return saved_checkpoints(tmp_path_factory.mktemp("models")) / "ours"


def kept(folder, name: str, wrong=(), rows=range(32)):
    """The file of a person who errs on some pictures."""
    label = open_experiment(folder).label.astype(bool)
    label[list(wrong)] ^= True
    table = pd.DataFrame({"participant": name, "row": rows})
    table["answer"] = [LABELS[int(label[row])] for row in rows]
    table["rt"] = 500.0
    file = folder.parent / f"answers-{name}.csv"
    table.to_csv(file, index=False)
    return file


def test_the_pictures_are_those_of_the_scenes_and_the_page_does_not_tell_answers(experiment):
    scenes = open_experiment(experiment)
    assert len(scenes) == 32 and len(list(experiment.glob("practice/*.png"))) == 4
    assert np.bincount(scenes.label).tolist() == [16, 16]
    for row, pixels in enumerate(render(scenes)):
        assert np.array_equal(Image.open(experiment / f"test/{row:04}.png"), pixels)
    page = (experiment / "index.html").read_text()
    assert page.count('"right":') == 4, "of practice alone"
    assert "http://" not in page and "https://" not in page


def test_people_and_a_model(experiment, model):
    files = [kept(experiment, "ada", wrong=[0, 1, 2, 3]), kept(experiment, "bob", wrong=[2, 3, 4])]
    checkpoint = Checkpoint.open(model)
    observers, pairs = compare_people(experiment, files, {"vit": checkpoint})
    whole = select(observers, condition="all").set_index("observer")
    assert whole.accuracy["ada"] == 28 / 32 and whole.n["ada"] == 32
    assert (whole.ci_low < whole.accuracy).all() and whole.median_rt["ada"] == 500
    scenes = open_experiment(experiment)
    right = predict(checkpoint, scenes).argmax(-1) == scenes.label
    assert whole.accuracy["vit"] == right.mean()
    by_kind = select(observers, observer="ada")
    assert by_kind.n.sum() == 2 * 32, "all, and the kinds of differences"
    assert list(pairs.kind) == ["two people", "person and model", "person and model"]
    people = pairs.iloc[0]
    assert people.agreement == 29 / 32 and 0.4 < people.kappa < 0.8


def test_pictures_that_only_one_person_saw_do_not_count(experiment):
    files = [kept(experiment, "ada", rows=range(20)), kept(experiment, "bob", rows=range(10, 32))]
    _, pairs = compare_people(experiment, files, {})
    assert pairs.n.item() == 10
    apart = [kept(experiment, "ada", rows=range(10)), files[1]]
    with pytest.raises(RelViTError, match="0 pictures in common"):
        compare_people(experiment, apart, {})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("participant,row\nada,1\n", "no table of"),
        ("participant,row,answer,rt\nada,99,same,5\n", "picture 99 of 32"),
        ("participant,row,answer,rt\nada,1,yes,5\n", "'yes'"),
        ("participant,row,answer,rt\nada,one,same,5\n", "no table of"),
        ("participant,row,answer,rt\nada,1,same,5\nada,1,same,5\n", "twice"),
        ("", "no table of"),
        ("\x00\xff", "no table of"),
    ],
)
def test_files_that_are_no_answers_end_in_one_line(experiment, tmp_path, text, words):
    file = tmp_path / "answers.csv"
    file.write_text(text)
    with pytest.raises(RelViTError, match=words):
        read_answers([file], open_experiment(experiment))


def test_other_pictures_and_missing_files_end_in_one_line(experiment, tmp_path):
    with pytest.raises(RelViTError, match="no file of answers"):
        read_answers([tmp_path / "nothing.csv"], open_experiment(experiment))
    facts = json.loads((experiment / "experiment.json").read_text())
    other = tmp_path / "other"
    other.mkdir()
    (other / "experiment.json").write_text(json.dumps({**facts, "pictures": "0"}))
    with pytest.raises(RelViTError, match="other pictures"):
        open_experiment(other)
    (other / "experiment.json").write_text(json.dumps({**facts, "geometry": "huge"}))
    with pytest.raises(RelViTError, match="huge"):
        open_experiment(other)


def test_the_commands(experiment, model, tmp_path, capsys):
    out = tmp_path / "exported"
    options = ["--config", "quick-256", "--scenes", "4", "--practice", "0", "--out", str(out)]
    assert run_quietly(["people", "export", "rmts", *options]) == 0
    assert (out / "index.html").exists() and not (out / "practice").exists()
    file = kept(experiment, "ada", wrong=[1, 2])
    asked = ["people", "compare", str(experiment), str(file), "--model", str(model)]
    assert run_quietly([*asked, "--out", str(tmp_path / "compared"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {row["observer"] for row in shown["observers"]} == {"ada", model.name}
    assert shown["pairs"][0]["n"] == 32
    assert (tmp_path / "compared" / "people.png").exists()
