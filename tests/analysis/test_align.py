"""The recipe of an alignment: every control of the study, each capture once, the same numbers in any order."""

import dataclasses

import pandas as pd
import pytest

from hf_relvit.analysis import scores
from hf_relvit.analysis.align import (
    SCORED_CONTROLS,
    AlignConfig,
    Alignments,
    PairCaptures,
    align,
)
from hf_relvit.analysis.alignment_methods import DASConfig, fit_alignment
from hf_relvit.analysis.scores import _answers, score_alignment
from hf_relvit.analysis.subspaces import BASELINES, SIZED
from hf_relvit.analysis.validity import agreement
from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.stimuli.distribution import SceneDistribution
from hf_relvit.training.config import TrainConfig, vit
from hf_relvit.training.run import build_model

SMALL = AlignConfig(pairs=16, test_pairs=16, epochs=1, layers=(0, 1), unmapped=None)
SCENES = SceneDistribution("discrimination", GEOMETRIES["quick"], 128)
REPLACED = ("mean", "noise", "other_image")


@pytest.fixture(scope="module")
def checkpoint():
    return Checkpoint(*build_model(TrainConfig(backbone=vit(2, 32, 2))))


@pytest.fixture(scope="module")
def result(checkpoint):
    return align(checkpoint, SCENES, SMALL)


def test_every_control_of_a_study_is_scored_on_every_split(result):
    frame = result.frame[result.frame.condition == "all"]
    assert sorted(set(zip(frame.layer, frame.weights, frame.split, frame.score, frame.control))) == sorted(
        (layer, *row)
        for layer in (0, 1)
        for split in ("test", "test_compositional")
        for row in (
            ("random", split, "cause", "none"),
            ("trained", split, "cause", "none"),
            ("trained", split, "cause", "random_tokens"),
            ("trained", split, "cause", "random_directions"),
            ("trained", split, "cause", "shuffled_labels"),
            *[("trained", split, "cause", each) for each in REPLACED],
            ("trained", split, "cause", "wrong_object"),
            ("trained", split, "isolate", "none"),
        )
    )  # fmt: skip
    assert [each.site.layer for each in result.alignments] == [0, 1]
    assert all(each.model is not None for each in result.random)
    assert {each.model for each in result.random}.isdisjoint(
        {each.model for each in result.alignments}
    )


def test_it_is_what_its_parts_give(checkpoint, result):
    das = DASConfig(epochs=1)
    train = SCENES.pairs("color", "train", 16)
    alignment = fit_alignment(checkpoint, train, 1, das)
    assert alignment.rotation.equal(result.alignments[1].rotation)
    assert alignment.facts["config"] == {"layer": 1, **dataclasses.asdict(das)}
    scored = score_alignment(checkpoint, alignment, SCENES.pairs("color", "test", 16))
    frame = result.frame
    own = frame[(frame.layer == 1) & (frame.split == "test") & (frame.weights == "trained")]
    own = own[(own.control == "none") & (own.score == "cause")].drop(columns="weights")
    pd.testing.assert_frame_equal(own.reset_index(drop=True), scored, check_exact=True)


def test_one_layer_with_shared_captures_gives_the_same_rows(checkpoint, result):
    captures = PairCaptures(checkpoint, SCENES, [0, 1], pairs=16, test_pairs=16)
    for layer in (1, 0):
        for network in ("random", "trained"):
            one = dataclasses.replace(SMALL, layers=(layer,), networks=(network,))
            part = align(checkpoint, SCENES, one, captures=captures)
            rows = result.frame[(result.frame.layer == layer) & (result.frame.weights == network)]
            pd.testing.assert_frame_equal(part.frame, rows.reset_index(drop=True), check_exact=True)


def test_captures_are_made_once_and_the_least_recently_used_are_dropped(checkpoint, monkeypatch):
    captures = PairCaptures(checkpoint, SCENES, [1], pairs=16, test_pairs=8, kept=2)
    train = captures.get("color", "train")
    test = captures.get("color", "test")
    assert captures.get("color", "train") is train and len(train.pairs) == 16
    captures.get("color", "test", isolate=True)  # drops the test pairs, not the training pairs
    assert captures.get("color", "train", weights="trained") is train
    assert captures.get("color", "test") is not test
    assert captures.get("shape", "test", isolate=True).pairs.property == "shape"


def test_the_unedited_model_answers_each_base_once(checkpoint, monkeypatch):
    """Every control asks for these answers: as many passes as a swap takes, for the same numbers."""
    asked = []

    def counted(model, data, batch_size):
        asked.append(data)
        return _answers(model, data, batch_size)

    monkeypatch.setattr(scores, "_answers", counted)
    one = dataclasses.replace(
        SMALL, layers=(0,), networks=("trained",), unmapped=("jitter",), shuffled=False
    )
    align(checkpoint, SCENES, one)
    # on two splits, the pairs and those of isolate; unmapped ones share the bases of the pairs
    assert len(asked) == 4
    assert len({id(data.unedited) for data in asked}) == 4


@pytest.mark.parametrize("method", BASELINES)
def test_baselines_go_through_the_same_recipe(checkpoint, method):
    size = 3 if method in SIZED else None
    config = dataclasses.replace(SMALL, method=method, size=size, networks=("trained",))
    found = align(checkpoint, SCENES, config)
    assert set(found.frame.method) == {method} and found.random == ()
    assert all(len(each.facts["history"]) == 0 for each in found.alignments)
    shuffled = {"shuffled_labels"} if method == "mean_difference" else set()
    assert set(found.frame.control) == {"none", *SCORED_CONTROLS, *REPLACED} | shuffled


def test_closed_forms_go_through_the_same_recipe_with_every_control(checkpoint):
    config = dataclasses.replace(SMALL, method="closed_form", scenes=64)
    found = align(checkpoint, SCENES, config)
    rows = found.frame[(found.frame.condition == "all") & (found.frame.layer == 1)]
    controls = ["none", *SCORED_CONTROLS, *REPLACED, "none"]
    controls += ["shuffled_labels", "none"]
    assert rows[rows.split == "test"].control.tolist() == controls
    for trained, random in zip(found.alignments, found.random):
        assert trained.write is not None and random.scale == trained.scale
        assert trained.facts["objects"] == 128
    shared = PairCaptures(checkpoint, SCENES, [0, 1], pairs=16, test_pairs=16, scenes=64)
    again = align(checkpoint, SCENES, config, captures=shared)
    pd.testing.assert_frame_equal(again.frame, found.frame, check_exact=True)


def test_every_method_is_aligned_to_shuffled_labels_unless_told_not_to(checkpoint, result):
    assert (result.frame.control == "shuffled_labels").sum() == 2 * 2 * 3
    assert result.validity().excess_shuffled.notna().all()
    without = dataclasses.replace(SMALL, layers=(1,), networks=("trained",), shuffled=False)
    frame = align(checkpoint, SCENES, without).frame
    assert "shuffled_labels" not in set(frame.control)


def test_several_searches_tell_how_far_they_agree(checkpoint, tmp_path):
    asked = dataclasses.replace(SMALL, networks=("trained",), shuffled=False, seeds=3)
    found = align(checkpoint, SCENES, asked)
    assert len(found.alignments) == 2, "the first seed's are kept"
    again = [
        align(checkpoint, SCENES, dataclasses.replace(asked, seeds=1, seed=s)) for s in range(3)
    ]
    expected = agreement([each.alignments[0] for each in again]).iloc[0]
    found.save(tmp_path)
    table = Alignments.load(tmp_path).validity()
    row = table[table.layer == 0].iloc[0]
    assert row.seeds == 3 and row.angle_mean == pytest.approx(expected["mean"], abs=1e-6)
    assert "angle_mean" not in again[0].validity()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"property": "size"}, "unknown property 'size': expected one of shape, color"),
        ({"scored_controls": ("wrong",)}, "unknown scored_controls 'wrong'"),
        ({"networks": ()}, r"networks \(\): expected some of trained, random"),
        ({"networks": ("randon",)}, "did you mean 'random'"),
        ({"pairs": 0}, "pairs 0: expected at least 1"),
        ({"layers": ()}, "name some"),
        ({"method": "pca"}, "need a number of directions"),
        ({"seeds": 0}, "seeds 0"),
        ({"method": "closed_form", "seeds": 5}, "seeds 5 for method 'closed_form'"),
    ],
)
def test_bad_settings_are_one_line(wrong, message):
    with pytest.raises(RelViTError, match=message):
        AlignConfig(**wrong)


def test_a_layer_that_is_not_there_is_refused_before_any_work(checkpoint):
    with pytest.raises(RelViTError, match="layer 2 of a model with 2 blocks: expected 0 to 1"):
        align(checkpoint, SCENES, dataclasses.replace(SMALL, layers=(0, 2)))
